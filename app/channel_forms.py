"""The form of a channel, made from the fields of its service, and what is stored from it."""

from __future__ import annotations

from typing import Any

from babel import Locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy import select
from sqlalchemy.orm import Session
from wtforms import BooleanField, PasswordField, SelectField, StringField, TextAreaField
from wtforms import Field as FormField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length
from wtforms.widgets import PasswordInput

from app import fallbacks, languages
from app.models import Channel
from app.notify import ConfigError, Field, catalogue
from app.notify.channel import LONGEST_VALUE, Config
from app.notify.cleaning import one_line
from app.notify.service import Service, Values
from app.notify.templates import LANGUAGES

_PREFIX, _CLEARING = "setting_", "clear_"
# Pasted as a whole, and better seen while that is done.
_SEEN_WHILE_TYPED = ("webhook", "url", "urls")
_CHOICES = {
    "starttls": "STARTTLS",
    "tls": "TLS",
    "none": _l("None"),
    "us": _l("United States"),
    "eu": _l("Europe"),
}


def _tidied(given: str | None) -> str | None:
    return one_line(given) if given else given


class ChannelForm(FlaskForm):  # type: ignore[misc]
    """What every channel has; the fields of its service are added by `form_for`."""

    service: Service

    name = StringField(_l("Name"), [DataRequired(), Length(max=120)], filters=[_tidied])
    language = SelectField(_l("Language of its messages"))
    fallback = SelectField(_l("If it fails, use as well"), coerce=int)
    enabled = BooleanField(_l("Send messages through this channel"), default=True)
    send_test = BooleanField(_l("Send a test message now"), default=True)

    def offer(self, others: list[Channel], language: str) -> None:
        """Fill in the choices, the language of before among them."""
        known = list(dict.fromkeys([*LANGUAGES, language]))
        self.language.choices = [SelectChoice(each, language_name(each)) for each in known]
        none = SelectChoice(0, _("Nothing else"))
        self.fallback.choices = [none, *(SelectChoice(each.id, each.name) for each in others)]

    @property
    def settings(self) -> list[tuple[Field, FormField, FormField | None]]:
        """The fields of the service, each with its input and, where it may be emptied, the box for that."""
        return [
            (each, self[_PREFIX + each.name], self._fields.get(_CLEARING + each.name))
            for each in self.service.fields
        ]

    def config(self, stored: Values) -> Config | None:
        """The settings as entered, with stored secrets where nothing was; None when the form says why."""
        given = {each.name: self._given(each, stored) for each in self.service.fields}
        try:
            return catalogue.check(self.service, given)
        except ConfigError as problem:
            self._blame(problem)
            return None

    def _given(self, field: Field, stored: Values) -> str:
        typed = self[_PREFIX + field.name].data or ""
        clearing = self._fields.get(_CLEARING + field.name)
        is_kept = field.secret and not typed.strip() and not (clearing is not None and clearing.data)
        return stored.get(field.name, "") if is_kept else typed

    def _blame(self, problem: ConfigError) -> None:
        name = _PREFIX + problem.field
        field = self._fields.get(name) or self[_PREFIX + self.service.fields[0].name]
        field.errors = [*field.errors, _("Expected: %(what)s.", what=problem.expected)]


def language_name(language: str) -> str:
    locale = Locale.parse(language)
    return str(locale.get_display_name(locale) or language).capitalize()


def form_for(service: Service, channel: Channel | None, others: list[Channel]) -> ChannelForm:
    """The form as it was sent, or as it is found: empty, or with what is stored but for the secrets."""
    stored = stored_values(service, channel)
    inputs: dict[str, Any] = {"service": service}
    for each in service.fields:
        inputs[_PREFIX + each.name] = _input(each, is_stored=bool(stored.get(each.name)))
        if each.secret and not each.required and stored.get(each.name):
            inputs[_CLEARING + each.name] = BooleanField(_("Remove the stored value"))
    made: type[ChannelForm] = type("ServiceForm", (ChannelForm,), inputs)
    shown = {_PREFIX + each.name: stored.get(each.name) for each in service.fields if not each.secret}
    form = made(**(shown | _common(channel)) if channel else {})
    form.offer(others, channel.language if channel else "en")
    if not channel and not form.is_submitted():
        form.language.data = _language_of_reader()
    return form


def _language_of_reader() -> str:
    spoken = languages.chosen().partition("_")[0]
    return spoken if spoken in LANGUAGES else LANGUAGES[0]


def _common(channel: Channel) -> dict[str, Any]:
    return {
        "name": channel.name,
        "language": channel.language,
        "fallback": channel.fallback_id or 0,
        "enabled": channel.enabled,
    }


def stored_values(service: Service, channel: Channel | None) -> Values:
    return (service.values(channel.config) or {}) if channel else {}


def _input(field: Field, *, is_stored: bool) -> FormField:
    keeps = field.secret and is_stored
    required = [InputRequired()] if field.required and not keeps and field.default is None else []
    validators = [*required, Length(max=LONGEST_VALUE)]
    told: dict[str, Any] = {"default": field.default, "description": field.help}
    if field.choices:
        choices = [SelectChoice(each, str(_CHOICES.get(each, each))) for each in field.choices]
        return SelectField(field.label, choices=choices, **told)
    if field.multiline:
        return TextAreaField(field.label, validators, **told)
    if field.secret and field.name not in _SEEN_WHILE_TYPED:
        # What is stored is never given to the form; what was typed just now is kept when it is refused.
        return PasswordField(field.label, validators, widget=PasswordInput(hide_value=False), **told)
    return StringField(field.label, validators, **told)


def other_channels(rows: Session, channel: Channel | None) -> list[Channel]:
    query = select(Channel).order_by(Channel.name)
    return [each for each in rows.scalars(query) if channel is None or each.id != channel.id]


def fill(rows: Session, channel: Channel, form: ChannelForm, config: Config) -> None:
    """Write the form into the channel; FallbackCycle when it would stand in for itself in the end."""
    channel.name, channel.language = form.name.data, form.language.data
    channel.enabled, channel.config = form.enabled.data, config
    other = rows.get(Channel, form.fallback.data) if form.fallback.data else None
    fallbacks.set_fallback(rows, channel, other)


def summary(rows: Session, channel: Channel) -> str:
    """A channel for the audit log: everything but its secrets."""
    other = rows.get(Channel, channel.fallback_id) if channel.fallback_id else None
    told = [
        channel.name,
        catalogue.where(channel.kind, channel.config),
        f"language {channel.language}",
        f"fallback {other.name if other else 'none'}",
        "on" if channel.enabled else "off",
    ]
    return ", ".join(told)


def changed_secrets(service: Service, before: Values, after: Config) -> list[str]:
    """The names of the secrets that are others now."""
    now = service.values(after) or {}
    return [
        each.name for each in service.fields if each.secret and before.get(each.name) != now.get(each.name)
    ]
