"""The forms of a job's settings, and what they say in the terms of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import DateTimeLocalField, Field, IntegerField, SelectField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from app.models import Job, JobSchedule
from app.recurrence import WEEKDAYS, RecurrenceError, Schedule, next_after
from app.sentences import reminder_name, translated
from app.settings import REMINDERS

TYPED = "typed"
LOCAL_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_MOST_MINUTES = 31 * 24 * 60
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
        return True

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
        [Optional(), NumberRange(0, _MOST_MINUTES)],
    )


class ReminderForm(FlaskForm):  # type: ignore[misc]
    reminder = SelectField(_l("Remind while overdue"), validate_choice=True)

    def offer(self, global_reminder: str) -> ReminderForm:
        """Fill in the choices; the first one follows the global setting."""
        follow = _("As set globally (%(reminder)s)", reminder=reminder_name(global_reminder))
        choices = {"": follow} | {each: reminder_name(each) for each in REMINDERS}
        self.reminder.choices = [SelectChoice(value, label) for value, label in choices.items()]
        return self


class ScheduleForm(FlaskForm):  # type: ignore[misc]
    repeat = StringField(_l("Repeat"), [InputRequired(), Length(max=60)])
    days = SelectMultipleField(
        _l("Allowed weekdays (none: all)"),
        choices=[SelectChoice(value, label) for value, label in DAYS.items()],
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    zone = StringField(_l("Time zone"), [InputRequired(), Length(max=60)])
    first = DateTimeLocalField(_l("First run, in that zone"), [InputRequired()], format=LOCAL_FORMATS)

    def schedule(self, now: datetime) -> Schedule | None:
        """The schedule as entered; None after putting the error beside the field it is about."""
        try:
            zone = self.zone.data.strip()
            # The zone is checked before the time is read in it.
            probe = Schedule(
                repeat=self.repeat.data.strip(), days=frozenset(self.days.data), zone=zone, anchor_at=now
            )
            anchor_at = in_zone(self.first.data, zone)
            entered = Schedule(repeat=probe.repeat, days=probe.days, zone=zone, anchor_at=anchor_at)
            next_after(entered, now)
        except RecurrenceError as problem:
            _blame(self, problem)
            return None
        return entered


def _blame(form: ScheduleForm, problem: RecurrenceError) -> None:
    fields: dict[str, Field] = {
        "repeat": form.repeat,
        "days": form.days,
        "zone": form.zone,
        "anchor_at": form.first,
    }
    text = translated(problem)
    target = fields.get(problem.field, form.repeat)
    target.errors = [*target.errors, text[:1].upper() + text[1:]]


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


def filled_schedule_form(row: JobSchedule | None, zone: str) -> ScheduleForm:
    """The form as a user finds it: what is stored, else a start that fits most."""
    if row is None:
        return ScheduleForm(formdata=None, repeat="1D", days=[], zone=zone)
    try:
        local = row.anchor_at.astimezone(ZoneInfo(row.zone)).replace(tzinfo=None)
    except (KeyError, ValueError, OSError):
        local = row.anchor_at.replace(tzinfo=None)
    days = [each for each in row.days.split(",") if each]
    return ScheduleForm(formdata=None, repeat=row.repeat, days=days, zone=row.zone, first=local)


def store_schedule(job: Job, entered: Schedule, now: datetime) -> str:
    """Put the typed schedule in place of the one before; what it says, for the audit log."""
    row = typed_row(job)
    if row is None:
        row = JobSchedule(source=TYPED)
        job.schedules.append(row)
    row.repeat, row.zone, row.anchor_at, row.set_at = entered.repeat, entered.zone, entered.anchor_at, now
    row.days = ",".join(each for each in WEEKDAYS if each in entered.days)
    return schedule_words(row)


def schedule_words(row: JobSchedule | None) -> str:
    return f"{row.repeat} {row.days or 'all days'} {row.zone}" if row else "-"
