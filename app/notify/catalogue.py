"""The services a channel is chosen from: what each asks for, where to find it, and what it is stored as."""

from __future__ import annotations

import re

from flask_babel import lazy_gettext as _

from app.notify import KINDS, apprise, describe
from app.notify.channel import Config, ConfigError, Field
from app.notify.service import Pasted, Service, Values, matching

OWN, CHAT, PUSH, PHONE = "own", "chat", "push", "phone"
GROUPS = {
    OWN: _("Mail and systems of your own"),
    CHAT: _("Chat"),
    PUSH: _("Push messages"),
    PHONE: _("Text messages and people on call"),
}
OTHER = "other"

# The name before the @ of a mail address; all but the ends of a telephone number or the number of a chat.
_PERSONAL = re.compile(r"(?<![^\s,<])([^\s@,<])[^\s@,<]*(@)|([+-]?\d{2})\d{4,}(\d{2})")

_TOKEN = r"[\w.~%=-]+"  # noqa: S105 - a pattern, not a token
_WEBHOOK = {"name": "webhook", "label": _("Webhook address"), "required": True, "secret": True}
_SERVER = _("With http:// or https://, and its port if it has one of its own")
_NUMBER = _("With the country code, such as +33612345678; several with commas")

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
            Field(name="server", label=_("Server"), required=True, help=_SERVER),
            Field(name="token", label=_("Long-lived access token"), required=True, secret=True),
        ),
        scheme="hassio[s]",
        template="{server}/{token}/",
    ),
)

_CHAT = (
    Service(
        name="slack",
        label="Slack",
        group=CHAT,
        help=_(
            "At api.slack.com/apps create an app, switch on Incoming Webhooks, add one to a channel of your "
            "workspace and copy its address."
        ),
        fields=(Field(**_WEBHOOK, help=_("https://hooks.slack.com/services/…")),),
        scheme="slack",
        template="{a}/{b}/{c}/",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(r"https://hooks\.slack\.com/services/(?P<a>\w+)/(?P<b>\w+)/(?P<c>\w+)/?"),
            whole="https://hooks.slack.com/services/{a}/{b}/{c}",
            example="https://hooks.slack.com/services/T…/B…/…",
        ),
    ),
    Service(
        name="discord",
        label="Discord",
        group=CHAT,
        help=_(
            "In Discord open the settings of a text channel, then Integrations, Webhooks; create one and copy "
            "its URL."
        ),
        fields=(Field(**_WEBHOOK, help=_("https://discord.com/api/webhooks/…")),),
        scheme="discord",
        template="{id}/{token}/",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(
                r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/(?P<id>\d+)/(?P<token>[\w-]+)/?"
            ),
            whole="https://discord.com/api/webhooks/{id}/{token}",
            example="https://discord.com/api/webhooks/1234…/…",
        ),
    ),
    Service(
        name="telegram",
        label="Telegram",
        group=CHAT,
        help=_(
            "Write /newbot to @BotFather: it makes a bot and tells its token. Then write to the bot once, or "
            "add it to a group; @userinfobot tells the number of a chat."
        ),
        fields=(
            Field(
                name="token",
                label=_("Bot token"),
                required=True,
                secret=True,
                help=_("Such as 123456789:AA…"),
            ),
            Field(
                name="chats",
                label=_("Chats"),
                required=True,
                help=_("Their numbers, with commas between them; that of a group begins with a minus"),
            ),
        ),
        scheme="tgram",
        template="{token}/{chats/}/",
    ),
    Service(
        name="teams",
        label="Microsoft Teams",
        group=CHAT,
        help=_(
            "In Teams open the menu of a channel, Workflows, and choose the template that posts to a channel "
            "when a webhook request comes. At its end copy the address."
        ),
        fields=(Field(**_WEBHOOK, help=_("https://….logic.azure.com/workflows/… or ….powerplatform.com/…")),),
        scheme="workflows",
        template="{server}/{workflow}/{signature}/?ver={version}&pa={pa}&route={route}",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(
                r"https://(?P<server>[\w.-]+(?::\d{1,5})?)"
                r"(?P<pa>/powerautomate/automations/direct)?(?:/cu/(?P<route>\d+))?"
                r"/workflows/(?P<workflow>[\w-]+)/triggers/manual/paths/invoke/?"
                r"\?(?=.*\bapi-version=(?P<version>[\w-]+))(?=.*\bsig=(?P<signature>[\w.~%-]+)).*"
            ),
            whole=(
                "https://{server}{pa}{route}/workflows/{workflow}/triggers/manual/paths/invoke"
                "?api-version={version}&sig={signature}"
            ),
            optional={"pa": "/powerautomate/automations/direct", "route": "/cu/{}"},
            example="https://….logic.azure.com:443/workflows/…/triggers/manual/paths/invoke?…&sig=…",
        ),
    ),
    Service(
        name="google-chat",
        label="Google Chat",
        group=CHAT,
        help=_(
            "In Google Chat open the menu of a space, Apps & integrations, Webhooks; add one and copy it."
        ),
        fields=(Field(**_WEBHOOK, help=_("https://chat.googleapis.com/v1/spaces/…")),),
        scheme="gchat",
        template="{space}/{key}/{token}/",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(
                r"https://chat\.googleapis\.com/v1/spaces/(?P<space>[\w-]+)/messages/?"
                rf"\?key=(?P<key>{_TOKEN})&token=(?P<token>{_TOKEN})"
            ),
            whole="https://chat.googleapis.com/v1/spaces/{space}/messages?key={key}&token={token}",
            example="https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…",
        ),
    ),
    Service(
        name="matrix",
        label="Matrix",
        group=CHAT,
        help=_(
            "Make an account for Veilleur, invite it to the room and let it join. Its access token stands in "
            "Element under All settings, Help & About; the room's id in the settings of the room, Advanced."
        ),
        fields=(
            Field(name="server", label=_("Home server"), required=True, help=_SERVER),
            Field(name="token", label=_("Access token"), required=True, secret=True, help=_("Such as syt_…")),
            Field(
                name="rooms",
                label=_("Rooms"),
                required=True,
                help=_("Such as !abc:example.org or #backups:example.org; several with commas"),
            ),
        ),
        scheme="matrix[s]",
        template="{token}@{server}/{rooms/}",
    ),
    Service(
        name="mattermost",
        label="Mattermost",
        group=CHAT,
        help=_("In Mattermost: Integrations, Incoming Webhooks, add one for a channel and copy its address."),
        fields=(Field(**_WEBHOOK, help=_("https://…/hooks/…")),),
        scheme="mmost[s]",
        template="{place}/{token}/",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(
                r"(?P<scheme>https?)://(?P<place>[\w.-]+(?::\d{1,5})?(?:/[\w.~-]+)*)/hooks/(?P<token>\w+)/?"
            ),
            whole="{scheme}://{place}/hooks/{token}",
            example="https://mattermost.example.org/hooks/…",
        ),
    ),
    Service(
        name="rocket-chat",
        label="Rocket.Chat",
        group=CHAT,
        help=_("In Rocket.Chat: Administration, Integrations, new Incoming; enable it and copy its address."),
        fields=(Field(**_WEBHOOK, help=_("https://…/hooks/…/…")),),
        scheme="rocket[s]",
        template="{token}@{server}/?mode=webhook&avatar=no",
        pasted=Pasted(
            field="webhook",
            parts=re.compile(
                r"(?P<scheme>https?)://(?P<server>[\w.-]+(?::\d{1,5})?)/hooks/(?P<token>[A-Za-z0-9]+/[A-Za-z0-9]+)/?"
            ),
            whole="{scheme}://{server}/hooks/{token}",
            example="https://rocket.example.org/hooks/…/…",
        ),
    ),
)

_PUSH = (
    Service(
        name="gotify",
        label="Gotify",
        group=PUSH,
        help=_("In Gotify: Apps, create an application and copy its token."),
        fields=(
            Field(name="place", label=_("Server"), required=True, help=_SERVER),
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
            Field(name="server", label=_("Server"), required=True, help=_SERVER),
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

SERVICES: dict[str, Service] = {each.name: each for each in (*_OWN, *_CHAT, *_PUSH, *_PHONE, _ANY)}


def service_of(kind: str, config: Config) -> tuple[Service, Values]:
    """The service of a stored channel, with the values of its form: any other one if none fits exactly."""
    if kind in SERVICES and SERVICES[kind].kind == kind:
        return SERVICES[kind], SERVICES[kind].values(config) or {}
    known = (each for each in SERVICES.values() if each.scheme)
    return matching(known, config) or (_ANY, {name: str(value) for name, value in config.items()})


def where(kind: str, config: Config, *, is_veiled: bool = False) -> str:
    """Where messages go, without secrets and without loading the Apprise library.

    Veiled, it hides whose address or number it is as well.
    """
    service, values = service_of(kind, config)
    if service.scheme:
        shown = [values[each.name] for each in service.fields if not each.secret and values.get(each.name)]
        told = " ".join(filter(None, [str(service.label), ", ".join(shown)]))
    else:
        told = _described(kind, config)
    return _PERSONAL.sub(_veiled, told) if is_veiled else told


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
        raise ConfigError(secret.name, _("values as the service hands them out")) from problem
