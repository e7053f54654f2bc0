"""The forms of settings that are chosen on pages, and saving what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, IntegerField, SelectField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, NumberRange

from app import access, audit, clock, stored_settings
from app.db import database
from app.sentences import reminder_name
from app.settings import REMINDERS
from app.stored_settings import AUDIT_DAYS, GROUP_LIMIT, REMINDER, REPORT_DAYS, TOLERANCE, Current

_MOST_MINUTES = 31 * 24 * 60
_MOST_DAYS = 36_500
_EXPECTED_MINUTES = _l("Expected: a whole number of minutes from 0 to 44640, which is 31 days.")
_EXPECTED_LIMIT = _l("Expected: a whole number from 0 to 10000.")
_EXPECTED_DAYS = _l("Expected: a whole number of days from 1 to 36500.")
_ACTIONS = {
    TOLERANCE: "global tolerance changed",
    REMINDER: "global reminder changed",
    GROUP_LIMIT: "grouping of messages changed",
    REPORT_DAYS: "retention of reports changed",
    AUDIT_DAYS: "retention of the audit log changed",
}


class _SettingForm(FlaskForm):  # type: ignore[misc]
    """A form whose fields stand for settings; what a variable has fixed can't be changed here."""

    fields_of: ClassVar[Mapping[str, str]] = {}

    def locked(self) -> dict[str, str]:
        """The fields that can't be changed, each with the variable that was set."""
        given = access.settings().given
        return {
            field: stored_settings.variable(name) for field, name in self.fields_of.items() if name in given
        }

    def validate_unlocked(self) -> bool:
        """Whether what was entered can be saved; what is wrong stands beside its field."""
        valid: bool = self.validate()
        for field, variable in self.locked().items():
            if self.chosen()[self.fields_of[field]] != getattr(access.settings(), self.fields_of[field]):
                blamed: Field = self._fields[field]
                blamed.errors = [_("Set by %(variable)s. It can be changed there only.", variable=variable)]
                valid = False
        return valid

    def chosen(self) -> dict[str, Any]:
        """The settings as entered, by their names."""
        return {name: self._fields[field].data for field, name in self.fields_of.items()}


class GlobalToleranceForm(_SettingForm):
    fields_of: ClassVar[Mapping[str, str]] = {"minutes": TOLERANCE}
    minutes = IntegerField(
        _l("Tolerance in minutes"),
        [InputRequired(_EXPECTED_MINUTES), NumberRange(0, _MOST_MINUTES, _EXPECTED_MINUTES)],
    )

    def chosen(self) -> dict[str, Any]:
        minutes = self.minutes.data
        return {TOLERANCE: minutes * 60 if isinstance(minutes, int) else None}


class GlobalReminderForm(_SettingForm):
    fields_of: ClassVar[Mapping[str, str]] = {"reminder": REMINDER}
    reminder = SelectField(_l("Remind while overdue"), [InputRequired()])

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.reminder.choices = [SelectChoice(each, reminder_name(each)) for each in REMINDERS]


class GroupLimitForm(_SettingForm):
    fields_of: ClassVar[Mapping[str, str]] = {"limit": GROUP_LIMIT}
    limit = IntegerField(
        _l("Messages sent one by one"),
        [InputRequired(_EXPECTED_LIMIT), NumberRange(0, 10_000, _EXPECTED_LIMIT)],
    )


class RetentionForm(_SettingForm):
    fields_of: ClassVar[Mapping[str, str]] = {"report_days": REPORT_DAYS, "audit_days": AUDIT_DAYS}
    report_days = IntegerField(
        _l("Days that reports are kept"),
        [InputRequired(_EXPECTED_DAYS), NumberRange(1, _MOST_DAYS, _EXPECTED_DAYS)],
    )
    audit_days = IntegerField(
        _l("Days that the audit log is kept"),
        [InputRequired(_EXPECTED_DAYS), NumberRange(1, _MOST_DAYS, _EXPECTED_DAYS)],
    )


def filled_forms() -> dict[str, _SettingForm]:
    """The forms of the page Monitoring, as things are."""
    chosen = access.settings_in_force()
    return {
        "tolerance": GlobalToleranceForm(formdata=None, minutes=chosen.tolerance_seconds // 60),
        "reminder": GlobalReminderForm(formdata=None, reminder=chosen.reminder),
        "grouping": GroupLimitForm(formdata=None, limit=chosen.group_limit),
    }


def filled_retention_form() -> RetentionForm:
    chosen = access.settings_in_force()
    return RetentionForm(
        formdata=None, report_days=chosen.report_retention_days, audit_days=chosen.audit_retention_days
    )


def save(chosen: Mapping[str, Any]) -> list[str]:
    """Store what is new of these settings, each with its trace; the names of what has changed.

    What a variable has fixed is left out.
    """
    now, settings, actor = clock.utcnow(), access.settings(), access.actor()
    changed = []
    with database().writing() as rows:
        for name, value in chosen.items():
            if name in settings.given:
                continue
            before = stored_settings.choose(rows, settings, name, value, by=actor, now=now)
            if before != str(value):
                changed.append(name)
                audit.note(
                    rows,
                    actor=actor,
                    action=_ACTIONS[name],
                    target=name,
                    before=before,
                    after=str(value),
                    now=now,
                    address=access.address(),
                )
    current: Current = current_app.extensions["chosen_settings"]
    current.forget()
    return changed
