"""The form of a message text, and what the message would look like."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import SelectField, StringField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from app import clock
from app.models import Alert
from app.notify import Message, texts
from app.notify.cleaning import lines, one_line
from app.notify.templates import LONGEST_BODY, LONGEST_TITLE, TemplateError, Wording, check
from app.settings import Settings

MADE_UP = 0
_DIGITS = 18


def _tidied(given: str | None) -> str | None:
    return one_line(given) if given else given


def _clean(given: str | None) -> str | None:
    return lines(given).strip() if given else given


def _number(given: object) -> int:
    """An alert that has gone since the page was opened is no reason to refuse a text."""
    text = str(given or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else MADE_UP


class WordingForm(FlaskForm):  # type: ignore[misc]
    title = StringField(_l("Title"), [DataRequired(), Length(max=LONGEST_TITLE)], filters=[_tidied])
    body = TextAreaField(_l("Text"), [DataRequired(), Length(max=LONGEST_BODY)], filters=[_clean])
    example = SelectField(_l("Show it with"), coerce=_number, default=MADE_UP, validate_choice=False)

    def offer(self, examples: list[tuple[Alert, str, str]], made_up: str) -> None:
        known = [SelectChoice(alert.id, f"{job} – {server}") for alert, job, server in examples]
        self.example.choices = [SelectChoice(MADE_UP, made_up), *known]

    def validate_title(self, field: StringField) -> None:
        _check(field.data)

    def validate_body(self, field: TextAreaField) -> None:
        _check(field.data)

    @property
    def wording(self) -> Wording:
        return Wording(self.title.data or "", self.body.data or "")


def _check(text: str | None) -> None:
    try:
        check(text or "")
    except TemplateError as problem:
        raise ValidationError(str(problem)) from problem


def example_facts(kind: str, now: datetime) -> dict[str, object]:
    """A backup such as there may be, so that every placeholder has something to show."""
    expected_at, good_at = now - timedelta(hours=14), now - timedelta(days=1, hours=14)
    failed = kind == "failed"
    return {
        "job": "Photos",
        "server": "nas-attic",
        "state": {"recovered": "ok", "failed": "failed"}.get(kind, "overdue"),
        "previousState": "overdue",
        "source": "declared",
        "expectedAt": clock.iso(expected_at),
        "untilAt": clock.iso(expected_at),
        "overdueAt": clock.iso(expected_at + timedelta(hours=1)),
        "toleranceSeconds": 3600,
        "lastGoodAt": clock.iso(now if kind == "recovered" else good_at),
        "lastReportAt": clock.iso(now if kind in ("recovered", "failed") else good_at),
        "sinceAt": clock.iso(now),
        "outcome": "Error" if failed else "Success",
        "errorsCount": 1 if failed else 0,
        "warningsCount": 2 if failed else 0,
        "error": "No space left on device: /backup/photos" if failed else None,
    }


def shown(
    kind: str, language: str, wording: Wording | None, settings: Settings, now: datetime, alert: Alert | None
) -> Message:
    """The message in these words, about a real alert or a made-up one."""
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    return texts.compose(
        kind,
        alert.facts if alert else example_facts(kind, now),
        message_id="example",
        occurred_at=alert.created_at if alert else now,
        url=f"{base}/jobs/{alert.job_id if alert else 1}",
        zone=settings.timezone,
        language=language,
        wording=wording,
    )
