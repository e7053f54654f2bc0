"""The services a channel is chosen from: what each asks for, where to find it, and what it is stored as."""

from __future__ import annotations

import re

from flask_babel import lazy_gettext as _

from app.notify import KINDS, apprise, chat_services, describe
from app.notify.channel import Config, ConfigError, Field
from app.notify.service import SERVER_HELP, Service, Values, matching

OWN, CHAT, PUSH, PHONE = "own", chat_services.GROUP, "push", "phone"
GROUPS = {
    OWN: _("Mail and systems of your own"),
    CHAT: _("Chat"),
    PUSH: _("Push messages"),
    PHONE: _("Text messages and people on call"),
}
OTHER = "other"

_NUMBER = _("With the country code, such as +33612345678; several with commas")
# The name before the @ of a mail address; all but the ends of a telephone number or the number of a chat.
_PERSONAL = re.compile(r"(?<![^\s,<])([^\s@,<])[^\s@,<]*(@)|([+-]?\d{2})\d{4,}(\d{2})")

_OWN = (
    Service(
        name="email",
        kind="email",
        label=_("E-mail"),
        group=OWN,
        fields=KINDS["email"].fields,
        help=_("Through a mail server that takes mail from you: your provider's, or one of your own."),
    ),
    Service(
        name="ntfy",
        kind="ntfy",
        label="ntfy",
        group=OWN,
        fields=KINDS["ntfy"].fields,
        help=_("Subscribe to the same topic in the ntfy app on your phone. Choose one nobody would guess."),
    ),
    Service(
        name="webhook",
        kind="webhook",
        label=_("JSON webhook"),
        group=OWN,
        fields=KINDS["webhook"].fields,
        help=_("For a program of your own: each message is posted as JSON to the address you give."),
    ),
    Service(
        name="home-assistant",
        label="Home Assistant",
        group=OWN,
        help=_(
            "In Home Assistant open your profile, tab Security, and create a long-lived access token. "
            "Messages appear there as notifications."
        ),
        fields=(
            Field(name="server", label=_("Server"), required=True, help=SERVER_HELP),
            Field(name="token", label=_("Long-lived access token"), required=True, secret=True),
        ),
        scheme="hassio[s]",
        template="{server}/{token}/",
    ),
)

_PUSH = (
    Service(
        name="gotify",
        label="Gotify",
        group=PUSH,
        help=_("In Gotify: Apps, create an application and copy its token."),
        fields=(
            Field(name="place", label=_("Server"), required=True, help=SERVER_HELP),
            Field(name="token", label=_("Token of the application"), required=True, secret=True),
        ),
        scheme="gotify[s]",
        template="{place}/{token}/",
    ),
    Service(
        name="pushover",
        label="Pushover",
        group=PUSH,
        help=_(
            "At pushover.net your user key stands on the first page; create an application for its token."
        ),
        fields=(
            Field(name="user", label=_("User key"), required=True, secret=True),
            Field(name="token", label=_("Token of the application"), required=True, secret=True),
            Field(name="devices", label=_("Devices"), help=_("Their names with commas; empty for all")),
        ),
        scheme="pover",
        template="{user}@{token}/{devices/}",
    ),
    Service(
        name="pushbullet",
        label="Pushbullet",
        group=PUSH,
        help=_("At pushbullet.com: Settings, Account, Create Access Token."),
        fields=(Field(name="token", label=_("Access token"), required=True, secret=True),),
        scheme="pbul",
        template="{token}/",
    ),
)

_PHONE = (
    Service(
        name="signal",
        label="Signal",
        group=PHONE,
        help=_("Through a signal-cli-rest-api of your own, with which the sending number is registered."),
        fields=(
            Field(name="server", label=_("Server"), required=True, help=SERVER_HELP),
            Field(name="sender", label=_("Sending number"), required=True),
            Field(name="recipients", label=_("Receiving numbers"), required=True, help=_NUMBER),
        ),
        scheme="signal[s]",
        template="{server}/{sender}/{recipients/}",
    ),
    Service(
        name="twilio",
        label=_("Text message (Twilio)"),
        group=PHONE,
        help=_("The account SID and the auth token stand on the first page of the Twilio console."),
        fields=(
            Field(name="account", label=_("Account SID"), required=True, help=_("Such as AC0123…")),
            Field(name="token", label=_("Auth token"), required=True, secret=True),
            Field(
                name="sender", label=_("Sending number"), required=True, help=_("One you have with Twilio")
            ),
            Field(name="recipients", label=_("Receiving numbers"), required=True, help=_NUMBER),
        ),
        scheme="twilio",
        template="{account}:{token}@{sender}/{recipients/}",
    ),
    Service(
        name="pagerduty",
        label="PagerDuty",
        group=PHONE,
        help=_(
            "Add the integration Events API V2 to a service for its integration key; an API key stands under "
            "Integrations, API Access Keys."
        ),
        fields=(
            Field(name="integration", label=_("Integration key"), required=True, secret=True),
            Field(name="key", label=_("API key"), required=True, secret=True),
            Field(name="region", label=_("Region of the account"), default="us", choices=("us", "eu")),
        ),
        scheme="pagerduty",
        template="{integration}@{key}/Veilleur/backups/?region={region}",
    ),
)

_ANY = Service(
    name=OTHER,
    label=_("Any other service"),
    group=OTHER,
    fields=apprise.FIELDS,
    help=_("More than 100 services can be reached by the address that the Apprise library has for them."),
)

SERVICES: dict[str, Service] = {
    each.name: each for each in (*_OWN, *chat_services.SERVICES, *_PUSH, *_PHONE, _ANY)
}


def service_of(kind: str, config: Config) -> tuple[Service, Values]:
    """The service of a stored channel, with the values of its form: any other one if none fits exactly."""
    if kind in SERVICES and SERVICES[kind].kind == kind:
        return SERVICES[kind], SERVICES[kind].values(config) or {}
    known = (each for each in SERVICES.values() if each.scheme)
    return matching(known, config) or (_ANY, {name: str(value) for name, value in config.items()})


def where(kind: str, config: Config, *, is_veiled: bool = False) -> str:
    """Where messages go, without secrets and without loading the Apprise library.

    Veiled, it hides whose address or number it is as well, and a topic, which is all that a subscriber needs.
    """
    service, values = service_of(kind, config)
    if service.scheme:
        shown = [values[each.name] for each in service.fields if not each.secret and values.get(each.name)]
        told = " ".join(filter(None, [str(service.label), ", ".join(shown)]))
    else:
        told = _described(kind, {**config, "topic": "…"} if is_veiled and "topic" in config else config)
    return veiled(told) if is_veiled else told


def veiled(text: str) -> str:
    """The text without whose mail address or telephone number stands in it."""
    return _PERSONAL.sub(_veiled, text)


def _veiled(found: re.Match[str]) -> str:
    return f"{found[1] or found[3]}…{found[2] or found[4]}"


def _described(kind: str, config: Config) -> str:
    try:
        return describe(kind, config)
    except (KeyError, ValueError):
        return "?"  # stored by hand, or damaged: the page must not be lost over it


def check(service: Service, values: Values) -> Config:
    """What is stored for a filled-in form, whole and checked; ConfigError names a field of the form."""
    kind, config = KINDS[service.kind], service.config(values)
    try:
        return kind.check(config)
    except ConfigError as problem:
        if not service.scheme:
            raise
        # Its own field would be the address, of which this form knows nothing.
        secret = next((each for each in service.fields if each.secret), service.fields[0])
        expected = _("the values exactly as %(service)s shows them: one is not", service=service.label)
        raise ConfigError(secret.name, expected) from problem
