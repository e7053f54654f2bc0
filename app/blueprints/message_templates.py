"""Message texts: which messages are told in words of one's own, and what those say."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import access, channel_forms, clock, message_templates, trace, wording_forms
from app.db import database
from app.models import Alert, MessageTemplate
from app.notify import Message
from app.notify.templates import KINDS, LANGUAGES, PLACEHOLDERS, Wording
from app.wording_forms import WordingForm

_WHEN = {
    "overdue": _l("A backup did not happen: sent once, when it becomes overdue."),
    "reminder": _l("It still has not happened, or still fails: sent again, as the job or the settings say."),
    "failed": _l("A backup ran and failed, or was stopped before it was complete."),
    "recovered": _l("A good backup has come after all."),
}
# What to begin with: our own words, whole.
_OWN = Wording("{title}", "{text}")
_TEXT = "/<kind>/<language>"

bp = Blueprint("message_templates", __name__, url_prefix="/settings/messages")


@bp.get("")
@access.viewer
def index() -> str:
    with database().reading() as rows:
        changed = {(each.kind, each.language): each for each in rows.scalars(select(MessageTemplate))}
    return render_template(
        "message_templates/index.html", kinds=_WHEN, languages=_languages(), changed=changed
    )


def _languages() -> dict[str, str]:
    return {each: channel_forms.language_name(each) for each in LANGUAGES}


@bp.get(_TEXT)
@access.administrator
def edit_page(kind: str, language: str) -> str:
    _known(kind, language)
    with database().reading() as rows:
        stored = rows.get(MessageTemplate, (kind, language))
        found = Wording(stored.title, stored.body) if stored else _OWN
        form = _form(rows, kind, WordingForm(formdata=None, title=found.title, body=found.body))
    return _page(form, kind, language, _preview(form, kind, language))


def _known(kind: str, language: str) -> None:
    if kind not in KINDS or language not in LANGUAGES:
        abort(404)


def _form(rows: Session, kind: str, form: WordingForm) -> WordingForm:
    form.offer(message_templates.examples(rows, kind), _("An example we made up"))
    return form


def _page(form: WordingForm, kind: str, language: str, preview: Message | None) -> str:
    with database().reading() as rows:
        stored = rows.get(MessageTemplate, (kind, language))
    return render_template(
        "message_templates/edit.html",
        form=form,
        kind=kind,
        language=language,
        language_name=channel_forms.language_name(language),
        when=_WHEN[kind],
        stored=stored,
        placeholders=PLACEHOLDERS,
        preview=preview,
        spoken=language,
    )


def _preview(form: WordingForm, kind: str, language: str) -> Message:
    alert = None
    if form.example.data:
        with database().reading() as rows:
            found = rows.get(Alert, form.example.data)
            alert = found if found and found.job_id and found.kind == kind else None
    return wording_forms.shown(kind, language, form.wording, access.settings(), clock.utcnow(), alert)


@bp.post(_TEXT)
@access.administrator
def save(kind: str, language: str) -> ResponseReturnValue:
    """Saves, or only shows the message when that button was pressed."""
    _known(kind, language)
    form = _sent_form(kind)
    if not form.validate():
        return _page(form, kind, language, None), 400
    if "preview" in request.form:
        return _page(form, kind, language, _preview(form, kind, language))
    if form.wording == _OWN:
        return _forget(kind, language)
    now = clock.utcnow()
    with database().writing() as rows:
        before = _told(rows.get(MessageTemplate, (kind, language)))
        message_templates.store(rows, kind, language, form.wording, access.actor(), now)
        after = f"{form.wording.title}\n{form.wording.body}"
        _note(rows, "message text changed", kind, language, before, after)
    flash(_("Saved. The next message of this kind uses these words."), "success")
    return redirect(url_for("message_templates.index"))


def _sent_form(kind: str) -> WordingForm:
    with database().reading() as rows:
        return _form(rows, kind, WordingForm())


@bp.post(f"{_TEXT}/preview")
@access.administrator
def preview(kind: str, language: str) -> str:
    """The message alone, or what stands in its way, for the page to put in while somebody types."""
    _known(kind, language)
    form = _sent_form(kind)
    message = _preview(form, kind, language) if form.validate() else None
    return render_template("message_templates/preview.html", form=form, preview=message, spoken=language)


@bp.get(f"{_TEXT}/reset")
@access.administrator
def confirm_reset(kind: str, language: str) -> str:
    _known(kind, language)
    with database().reading() as rows:
        stored = rows.get(MessageTemplate, (kind, language)) or abort(404)
    own = wording_forms.shown(kind, language, None, access.settings(), clock.utcnow(), None)
    return render_template(
        "message_templates/reset.html",
        stored=stored,
        own=own,
        language_name=channel_forms.language_name(language),
    )


@bp.post(f"{_TEXT}/reset")
@access.administrator
def reset(kind: str, language: str) -> ResponseReturnValue:
    _known(kind, language)
    return _forget(kind, language)


def _forget(kind: str, language: str) -> ResponseReturnValue:
    with database().writing() as rows:
        stored = rows.get(MessageTemplate, (kind, language))
        if stored is not None:
            _note(rows, "message text reset", kind, language, before=_told(stored))
            rows.delete(stored)
    flash(_("Messages of this kind use our own text."), "success")
    return redirect(url_for("message_templates.index"))


def _told(stored: MessageTemplate | None) -> str | None:
    return f"{stored.title}\n{stored.body}" if stored else None


def _note(
    rows: Session,
    action: str,
    kind: str,
    language: str,
    before: str | None = None,
    after: str | None = None,
) -> None:
    trace.note(rows, action, f"{kind} ({language})", before=before, after=after)
