"""Push messages through an ntfy server, published as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask_babel import lazy_gettext as _

from app.notify import http
from app.notify.channel import Config, ConfigError, DeliveryError, Field, Kind, Receipt, values_of
from app.notify.cleaning import lines, one_line
from app.notify.message import Message

# ntfy turns a longer message into an attached file.
_LARGEST_MESSAGE_BYTES = 4000
_PRIORITY = {"critical": 5, "warning": 4, "info": 3}
_TAGS = {
    "overdue": "rotating_light",
    "reminder": "alarm_clock",
    "failed": "x",
    "recovered": "white_check_mark",
    "test": "wave",
}

FIELDS = (
    Field(name="server", label=_("Server"), default="https://ntfy.sh", help=_("Address of the ntfy server")),
    Field(
        name="topic",
        label=_("Topic"),
        required=True,
        help=_("Letters, digits, - and _. On a public server, anyone who knows it can read along."),
    ),
    Field(name="token", label=_("Access token"), secret=True, help=_("Only for a protected topic")),
)


def check(config: Config) -> Config:
    values = values_of(config, FIELDS)
    server = http.checked_url("server", values["server"]).rstrip("/")
    if urlsplit(server).query or urlsplit(server).fragment:
        raise ConfigError("server", _("the address of the server alone, such as https://ntfy.sh"))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", values["topic"]):
        raise ConfigError("topic", _("1 to 64 letters, digits, - and _"))
    if not re.fullmatch(r"[!-~]*", values["token"]):
        raise ConfigError("token", _("a token without spaces, such as tk_…"))
    return {**values, "server": server}


def send(config: Config, message: Message, timeout_seconds: float) -> Receipt:
    content: dict[str, object] = {
        "topic": config["topic"],
        "title": one_line(message.title),
        "message": _fitting(lines(message.body)),
        "priority": _PRIORITY.get(message.severity, 3),
        "tags": [_TAGS.get(message.kind, "bell")],
    }
    if message.url:
        content["click"] = message.url
    headers = {"Content-Type": "application/json"}
    if config["token"]:
        headers["Authorization"] = f"Bearer {config['token']}"
    body = json.dumps(content).encode()
    receipt, answer = http.deliver("POST", f"{config['server']}/", body, headers, timeout_seconds)
    if answer.content_type.startswith("text/html"):
        # A front page or a sign-in page says 200 to everything, and the alert would be lost in silence.
        raise DeliveryError(
            "answered with a web page: is this the address of an ntfy server?", permanent=True
        )
    return receipt


def _fitting(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _LARGEST_MESSAGE_BYTES:
        return text
    return raw[: _LARGEST_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def describe(config: Config) -> str:
    parts = urlsplit(str(config["server"]))
    place = parts.netloc.rpartition("@")[2] + parts.path
    return f"ntfy {place}/{config['topic']}"


def secrets(config: Config) -> Iterable[str]:
    return [str(config["token"])]


KIND = Kind(
    name="ntfy",
    label="ntfy",
    fields=FIELDS,
    check=check,
    send=send,
    describe=describe,
    secrets=secrets,
)
