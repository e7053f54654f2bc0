"""The forms about API keys."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from flask_babel import get_timezone
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import DateField, RadioField, SelectField, StringField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, Optional

from app import accounts, clock, job_forms
from app.notify.cleaning import one_line

SCOPES = {
    accounts.UPLOAD: _l("Upload: may send reports"),
    accounts.READ: _l("Read: may read summaries"),
}
OVERLAPS = {1: _l("1 hour"), 24: _l("1 day"), 7 * 24: _l("7 days"), 30 * 24: _l("30 days")}
_LATEST = date(9000, 1, 1)


class _ExpiringForm(FlaskForm):  # type: ignore[misc]
    expires_on = DateField(_l("Last day it works (empty: for ever)"), [Optional()])

    def validate_expires_on(self, field: DateField) -> None:
        if field.data is None:
            return  # said already that it is no day
        if field.data > _LATEST or day_end(field.data) <= clock.utcnow():
            raise ValidationError(_("Expected: today or a later day."))

    @property
    def expires_at(self) -> datetime | None:
        return day_end(self.expires_on.data) if self.expires_on.data else None


class KeyForm(_ExpiringForm):
    label = StringField(
        _l("Label"),
        [DataRequired(_l("Say who or what will use it.")), Length(1, 120)],
        filters=[lambda given: one_line(given) if given else given],
    )
    scope = RadioField(
        _l("Scope"),
        [InputRequired(_l("Choose what the key may do."))],
        choices=[SelectChoice(value, label) for value, label in SCOPES.items()],
    )


class RotateForm(_ExpiringForm):
    overlap_hours = SelectField(
        _l("The old key goes on working for"),
        coerce=int,
        choices=[SelectChoice(str(hours), label) for hours, label in OVERLAPS.items()],
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(hours=self.overlap_hours.data)


class ConnectForm(FlaskForm):  # type: ignore[misc]
    label = StringField(
        _l("What is to be connected?"),
        [DataRequired(_l("Type a name, such as that of the machine.")), Length(1, 120)],
        filters=[lambda given: one_line(given) if given else given],
    )


def day_begin(day: date) -> datetime:
    """The first moment of a day in the viewer's zone; never an error: days at the edge are held there."""
    return job_forms.in_zone(datetime.combine(day, time()), str(get_timezone()))


def day_end(day: date) -> datetime:
    return day_begin(day + timedelta(days=1) if day < date.max else day)
