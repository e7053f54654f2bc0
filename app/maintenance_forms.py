"""The forms of maintenance windows, and what they say in the terms of the windows."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy import select
from sqlalchemy.orm import Session
from wtforms import DateTimeLocalField, Field, IntegerField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from app import maintenance
from app.job_forms import DAYS, LOCAL_FORMATS, all_in_calendar, in_zone
from app.maintenance import Window, WindowError
from app.models import Server
from app.notify.cleaning import one_line
from app.sentences import translated


def _tidied(given: str | None) -> str | None:
    return one_line(given) if given else given


def _without_nul(given: str | None) -> str | None:
    return given.replace("\0", "") if given else given  # PostgreSQL knows no such character


class _WindowForm(FlaskForm):  # type: ignore[misc]
    name = StringField(_l("Name"), [InputRequired(), Length(min=1, max=120)], filters=[_tidied])
    server = StringField(_l("Server (empty: all)"), [Optional(), Length(max=300)], filters=[_without_nul])
    zone = StringField(_l("Time zone"), [InputRequired(), Length(max=60)])

    def server_id(self, rows: Session) -> int | None:
        """The server meant; None for all. An unknown or ambiguous name is blamed on the field."""
        name = (self.server.data or "").strip()
        if not name:
            return None
        found = rows.scalars(select(Server.id).where(Server.name == name).limit(2)).all()
        if len(found) == 1:
            return found[0]
        self.server.errors = [
            _("Two servers have this name; give one of them another in Duplicati.")
            if found
            else _("There is no server of this name.")
        ]
        return None

    def checked(self, window: Window) -> Window | None:
        """The window when it makes sense, else None after putting the error beside its field."""
        try:
            return maintenance.check(window)
        except WindowError as problem:
            self._field(problem.field).errors = [_("Expected: %(what)s.", what=translated(problem))]
            return None

    def _field(self, name: str) -> Field:
        own = {"ends_at": "ends", "start_time": "start", "duration_minutes": "minutes", "weekdays": "days"}
        field: Field = self._fields[own.get(name, "zone")]
        return field


class OnceForm(_WindowForm):
    starts = DateTimeLocalField(_l("From"), [InputRequired()], format=LOCAL_FORMATS)
    ends = DateTimeLocalField(_l("Until"), [InputRequired()], format=LOCAL_FORMATS)

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        # Both forms stand on one page, where an id may be used once.
        for field in self:
            field.id = field.label.field_id = f"once-{field.id}"

    def window(self, server_id: int | None, job_id: int | None) -> Window | None:
        zone = self.zone.data.strip()
        # The zone is checked before times are read in it.
        if self.checked(_probe(zone)) is None or not all_in_calendar(self.starts, self.ends):
            return None
        return self.checked(
            Window(
                server_id=server_id,
                job_id=job_id,
                starts_at=in_zone(self.starts.data, zone),
                ends_at=in_zone(self.ends.data, zone),
                zone=zone,
            )
        )


class WeeklyForm(_WindowForm):
    days = SelectMultipleField(
        _l("On"),
        [InputRequired()],
        choices=[SelectChoice(value, label) for value, label in DAYS.items()],
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    start = StringField(_l("From (such as 22:00)"), [InputRequired(), Length(max=5)])
    minutes = IntegerField(
        _l("Minutes it lasts"), [InputRequired(), NumberRange(1, maintenance.LONGEST_MINUTES)]
    )

    def window(self, server_id: int | None, job_id: int | None) -> Window | None:
        return self.checked(
            Window(
                server_id=server_id,
                job_id=job_id,
                weekdays=frozenset(self.days.data),
                start_time=self.start.data.strip(),
                duration_minutes=self.minutes.data,
                zone=self.zone.data.strip(),
            )
        )


def _probe(zone: str) -> Window:
    return Window(weekdays=frozenset({"mon"}), start_time="00:00", duration_minutes=1, zone=zone)
