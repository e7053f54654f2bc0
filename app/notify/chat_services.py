"""The chat services of the catalogue."""

from __future__ import annotations

import re
from typing import Any

from flask_babel import lazy_gettext as _

from app.notify.channel import Field
from app.notify.service import SERVER_HELP, Pasted, Service

GROUP = "chat"
_TOKEN = r"[\w.~%=-]+"  # noqa: S105 - a pattern, not a token
_WEBHOOK: dict[str, Any] = {
    "name": "webhook",
    "label": _("Webhook address"),
    "required": True,
    "secret": True,
}

SERVICES = (
    Service(
        name="slack",
        label="Slack",
        group=GROUP,
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
        group=GROUP,
        help=_(
            "In Discord open the settings of a text channel, then Integrations, Webhooks; create one and "
            "copy its URL."
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
        group=GROUP,
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
        group=GROUP,
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
        group=GROUP,
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
        group=GROUP,
        help=_(
            "Make an account for Veilleur, invite it to the room and let it join. Its access token stands in "
            "Element under All settings, Help & About; the room's id in the settings of the room, Advanced."
        ),
        fields=(
            Field(name="server", label=_("Home server"), required=True, help=SERVER_HELP),
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
        group=GROUP,
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
        group=GROUP,
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
