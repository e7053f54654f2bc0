"""The forms of a job's settings, and what they say in the terms of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    Field,
    IntegerField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields import SelectChoice
from wtforms.validators import Length, NumberRange, Optional

from app.models import Job, JobSchedule
from app.notify import cleaning
from app.sentences import reminder_name
from app.settings import REMINDERS

TYPED = "typed"
LOCAL_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
# Near the ends of the calendar a time can't be shown in every zone, nor anything be reckoned with it.
YEARS = range(1980, 2200)
LONGEST_NOTES = 4000
MOST_MINUTES = 31 * 24 * 60
DAYS = {
    "mon": _l("Monday"),
    "tue": _l("Tuesday"),
    "wed": _l("Wednesday"),
    "thu": _l("Thursday"),
    "fri": _l("Friday"),
    "sat": _l("Saturday"),
    "sun": _l("Sunday"),
}


class EndForm(FlaskForm):  # type: ignore[misc]
    """A form whose field `until` names the end of something, or nothing."""

    def validate_end(self, zone: str, now: datetime) -> bool:
        """Whether the form can be used; what is wrong stands beside its field."""
        if not self.validate():
            return False
        until_at = self.until_at(zone)
        if until_at is not None and until_at <= now:
            self.until.errors = [_("This time is over already.")]
            return False
        return all_in_calendar(self.until)

    def until_at(self, zone: str) -> datetime | None:
        return in_zone(self.until.data, zone) if self.until.data else None


class PauseForm(EndForm):
    until = DateTimeLocalField(_l("Until (empty: until resumed)"), [Optional()], format=LOCAL_FORMATS)


class AcknowledgeForm(EndForm):
    until = DateTimeLocalField(_l("Until (empty: until it recovers)"), [Optional()], format=LOCAL_FORMATS)

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        # The form to pause stands on the same page, where an id may be used once.
        self.until.id = self.until.label.field_id = "acknowledge-until"


class ToleranceForm(FlaskForm):  # type: ignore[misc]
    minutes = IntegerField(
        _l("Tolerance in minutes (empty: the global one)"),
        [Optional(), NumberRange(0, MOST_MINUTES)],
    )


class ReminderForm(FlaskForm):  # type: ignore[misc]
    reminder = SelectField(_l("Remind while overdue"), validate_choice=True)

    def offer(self, global_reminder: str) -> ReminderForm:
        """Fill in the choices; the first one follows the global setting."""
        follow = _("As set globally (%(reminder)s)", reminder=reminder_name(global_reminder))
        choices = {"": follow} | {each: reminder_name(each) for each in REMINDERS}
        self.reminder.choices = [SelectChoice(value, label) for value, label in choices.items()]
        return self


class NotesForm(FlaskForm):  # type: ignore[misc]
    # Browsers send two characters for a line break; one is kept, and counted.
    notes = TextAreaField(
        _l("Notes for those who look after it"),
        [Optional(), Length(max=LONGEST_NOTES)],
        filters=[lambda text: text and text.replace("\r\n", "\n")],
    )

    @property
    def text(self) -> str | None:
        return cleaning.lines(self.notes.data or "").strip("\n") or None


class PublishForm(FlaskForm):  # type: ignore[misc]
    is_published = BooleanField(_l("Show on the public status page"))
    public_name = StringField(_l("Shown as"), [Optional(), Length(max=120)])

    def validate(self, *args: Any, **given: Any) -> bool:
        """Strangers are not shown a name that nobody chose for them."""
        if not super().validate(*args, **given):
            return False
        if self.is_published.data and not self.name:
            self.public_name.errors = [_("Enter the name that strangers may read.")]
            return False
        return True

    @property
    def name(self) -> str | None:
        return cleaning.one_line(self.public_name.data or "") or None


def all_in_calendar(*fields: Field) -> bool:
    """Whether the years of what was entered can be reckoned with; what is wrong stands beside its field."""
    wrong = [each for each in fields if each.data and each.data.year not in YEARS]
    for each in wrong:
        each.errors = [_("Expected: a date between the years 1980 and 2199.")]
    return not wrong


def in_zone(local: datetime, zone: str) -> datetime:
    """A wall-clock time of a zone as a moment; ValueError never: times at the edge are held there."""
    try:
        return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:
        return local.replace(tzinfo=UTC)


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))


def typed_row(job: Job) -> JobSchedule | None:
    return next((each for each in job.schedules if each.source == TYPED), None)
