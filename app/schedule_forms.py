"""The form of a job's schedule, and what it says in the terms of the database."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    DateTimeLocalField,
    Field,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
)
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from app import clock
from app.job_forms import DAYS, LOCAL_FORMATS, MOST_MINUTES, all_in_calendar, in_zone, typed_row
from app.models import Job, JobSchedule
from app.recurrence import WEEKDAYS, RecurrenceError, Schedule, next_after
from app.sentences import translated

SIMPLE, TEXT = "simple", "text"
UNITS = {
    "m": _l("minutes"),
    "h": _l("hours"),
    "D": _l("days"),
    "W": _l("weeks"),
    "M": _l("months"),
    "Y": _l("years"),
}
_TYPED = "typed"
_MOST_UNITS = 9999
_PLAIN_REPEAT = re.compile(r"([1-9][0-9]{0,3})([mhDWMY])")


class ScheduleForm(FlaskForm):  # type: ignore[misc]
    """Without `manner`, as programs send it, the repeat is the text that Duplicati has."""

    manner = RadioField(
        _l("Repeat"),
        choices=[SelectChoice(SIMPLE, _l("Every…")), SelectChoice(TEXT, _l("As Duplicati writes it"))],
        validate_choice=False,
    )
    every = IntegerField(
        _l("Number"),
        [Optional(), NumberRange(1, _MOST_UNITS, _l("Expected: a whole number from 1 to 9999."))],
    )
    unit = SelectField(
        _l("Unit"), choices=[SelectChoice(value, label) for value, label in UNITS.items()], default="D"
    )
    repeat = StringField(_l("Repeat as Duplicati writes it"), [Optional(), Length(max=60)])
    days = SelectMultipleField(
        _l("Weekdays (none: all)"),
        choices=[SelectChoice(value, label) for value, label in DAYS.items()],
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    first = DateTimeLocalField(
        _l("First run"), [InputRequired(_l("Expected: a date and a time of day."))], format=LOCAL_FORMATS
    )
    zone = StringField(
        _l("Time zone"),
        [InputRequired(_l("Expected: a time zone such as Europe/Paris.")), Length(max=60)],
    )
    tolerance = IntegerField(
        _l("Tolerance in minutes (empty: the global one)"),
        [
            Optional(),
            NumberRange(0, MOST_MINUTES, _l("Expected: a whole number of minutes, at most 31 days (44640).")),
        ],
    )

    def read(self, now: datetime) -> Schedule | None:
        """The schedule as entered; None after putting what is wrong beside the field it is about."""
        self.validate()
        for name in ("repeat",) if self.manner.data == SIMPLE else ("every", "unit"):
            self[name].errors = []  # it is the other way of saying it that counts
        repeat = self._repeat()
        if self.first.errors and self.first.process_errors:
            self.first.errors = [_("Expected: a date and a time of day.")]
        all_in_calendar(self.first)
        for number in (self.every, self.tolerance):
            if number.errors and number.process_errors:
                number.errors = [_("Expected: a whole number.")]
        if repeat is None or any(field.errors for field in self):
            return None
        try:
            return self._schedule(repeat, now)
        except RecurrenceError as problem:
            self._blame(problem)
            return None

    def _repeat(self) -> str | None:
        """What Duplicati would write, by either way of saying it."""
        if self.manner.data == SIMPLE:
            if self.every.data is None and not self.every.errors:
                self.every.errors = [_("Expected: a whole number from 1 to 9999.")]
            return None if self.every.data is None else f"{self.every.data}{self.unit.data}"
        text = (self.repeat.data or "").strip()
        if not text:
            self.repeat.errors = [*self.repeat.errors, _expected_repeat()]
        return text or None

    def _schedule(self, repeat: str, now: datetime) -> Schedule:
        zone, days = self.zone.data.strip(), frozenset(self.days.data)
        # The zone is checked before the time is read in it.
        Schedule(repeat=repeat, days=days, zone=zone, anchor_at=now)
        anchor_at = in_zone(self.first.data, zone)
        entered = Schedule(repeat=repeat, days=days, zone=zone, anchor_at=anchor_at)
        next_after(entered, now)
        return entered

    def _blame(self, problem: RecurrenceError) -> None:
        text = translated(problem)
        said = text[:1].upper() + text[1:]
        repeat = self.every if self.manner.data == SIMPLE else self.repeat
        known: dict[str, tuple[Field, str]] = {
            "repeat": (self.repeat, _expected_repeat()),
            "zone": (self.zone, _("Expected: a time zone such as Europe/Paris.")),
            "days": (self.days, said),
            "anchor_at": (self.first, said),
        }
        field, message = known.get(problem.field, (repeat, said))
        field.errors = [*field.errors, message]

    def tolerance_seconds(self, job: Job) -> int | None:
        """As entered. What was not sent stays, and so do the seconds that minutes can't show."""
        if not self.tolerance.raw_data:
            return job.tolerance_seconds
        if self.tolerance.data == _minutes(job):
            return job.tolerance_seconds
        return None if self.tolerance.data is None else self.tolerance.data * 60

    def complaints(self) -> list[tuple[str, str]]:
        """Every field that is wrong by its label, with what was expected."""
        return [(str(field.label.text), str(each)) for field in self for each in field.errors]


def _expected_repeat() -> str:
    return str(
        _(
            "Expected: whole numbers, each with one of the units s, m (minute), h, D, W, M (month) or Y, "
            "such as 1D, 12h or 1h30m."
        )
    )


def _minutes(job: Job) -> int | None:
    return None if job.tolerance_seconds is None else job.tolerance_seconds // 60


def start(zone: str, now: datetime) -> Schedule:
    """What fits most where nothing is known: every evening."""
    evening = now.astimezone(ZoneInfo(zone)).replace(hour=22, minute=0, second=0, microsecond=0, tzinfo=None)
    return Schedule(repeat="1D", days=frozenset(), zone=zone, anchor_at=in_zone(evening, zone))


def filled(job: Job, shown: Schedule) -> ScheduleForm:
    """The form as a user finds it, with the tolerance of the job."""
    plain = _PLAIN_REPEAT.fullmatch(shown.repeat)
    return ScheduleForm(
        formdata=None,
        manner=SIMPLE if plain else TEXT,
        every=int(plain[1]) if plain else 1,
        unit=plain[2] if plain else "D",
        repeat=shown.repeat,
        days=[each for each in WEEKDAYS if each in shown.days],
        first=shown.anchor_at.astimezone(shown.zone_info).replace(tzinfo=None),
        zone=shown.zone,
        tolerance=_minutes(job),
    )


def schedule_of(row: JobSchedule | None) -> Schedule | None:
    """A stored schedule; None where there is none, or none that this machine can read."""
    if row is None:
        return None
    days = frozenset(filter(None, row.days.split(",")))
    try:
        return Schedule(repeat=row.repeat, days=days, zone=row.zone, anchor_at=row.anchor_at)
    except RecurrenceError:
        return None


def store(job: Job, entered: Schedule, now: datetime) -> str:
    """Put the typed schedule in place of the one before; what it says, for the audit log."""
    row = typed_row(job)
    if row is None:
        row = JobSchedule(source=_TYPED)
        job.schedules.append(row)
    row.repeat, row.zone, row.anchor_at, row.set_at = entered.repeat, entered.zone, entered.anchor_at, now
    row.days = ",".join(each for each in WEEKDAYS if each in entered.days)
    return in_words(row)


def in_words(row: JobSchedule | None) -> str:
    """A stored schedule in a line, for the audit log."""
    if row is None:
        return "-"
    return f"{row.repeat} {row.days or 'all days'} {row.zone} from {clock.iso(row.anchor_at)}"
