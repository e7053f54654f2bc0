"""A JSON message to a web address of the user's own, signed if wanted."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from flask_babel import lazy_gettext as _

from app import clock
from app.notify import http
from app.notify.channel import Config, ConfigError, Field, Kind, Receipt, values_of
from app.notify.message import Message

_RESERVED = {
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "expect",
    "cookie",
    "idempotency-key",
    "x-veilleur-signature",
}

FIELDS = (
    Field(
        name="url",
        label=_("Address"),
        required=True,
        secret=True,
        help=_("Where to send, http:// or https://; redirects are not followed"),
    ),
    Field(name="method", label=_("Method"), default="POST", choices=("POST", "PUT")),
    Field(
        name="headers",
        label=_("Additional headers"),
        secret=True,
        multiline=True,
        help=_("One a line, such as Authorization: Bearer …"),
    ),
    Field(
        name="secret",
        label=_("Signing secret"),
        secret=True,
        help=_("If set, X-Veilleur-Signature carries the HMAC-SHA256 of the body"),
    ),
)


def check(config: Config) -> Config:
    method = config.get("method")
    known = {**config, "method": method.upper()} if isinstance(method, str) else config
    values = values_of(known, FIELDS)
    http.checked_url("url", values["url"])
    headers = _headers(values["headers"])
    return {**values, "headers": "\n".join(f"{name}: {value}" for name, value in headers.items())}


def _headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, re.split(r"\r\n|\n", text))):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
            raise ConfigError("headers", _("lines of the form Name: value"))
        if not re.fullmatch(r"[ -~]{1,2000}", value):
            raise ConfigError("headers", _("a value for %(name)s in plain ASCII characters", name=name))
        if name.lower() in _RESERVED:
            raise ConfigError(
                "headers", _("other names than %(name)s, which is set by the sender", name=name)
            )
        headers[name] = value
    return headers


def send(config: Config, message: Message, timeout_seconds: float) -> Receipt:
    body = _body(message)
    headers = {
        **_headers(str(config["headers"])),
        "Content-Type": "application/json",
        "Idempotency-Key": message.message_id,
    }
    if config["secret"]:
        digest = hmac.new(str(config["secret"]).encode(), body, hashlib.sha256).hexdigest()
        headers["X-Veilleur-Signature"] = f"sha256={digest}"
    receipt, _answer = http.deliver(str(config["method"]), str(config["url"]), body, headers, timeout_seconds)
    return receipt


def _body(message: Message) -> bytes:
    content = {
        "messageId": message.message_id,
        "kind": message.kind,
        "severity": message.severity,
        "title": message.title,
        "body": message.body,
        "url": message.url,
        "occurredAt": clock.iso(message.occurred_at),
        "facts": message.facts,
    }
    return json.dumps(content).encode()


def describe(config: Config) -> str:
    parts = urlsplit(str(config["url"]))
    return f"webhook {parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


def secrets(config: Config) -> Iterable[str]:
    parts = urlsplit(str(config["url"]))
    values = [str(config["secret"]), parts.query, *_headers(str(config["headers"])).values()]
    values += [value for _name, value in parse_qsl(parts.query)]
    # Short pieces of a path are words such as "hook"; a token is long.
    pieces = [piece for piece in (*parts.path.split("/"), parts.username, parts.password) if piece]
    values += [form for piece in pieces if len(piece) >= 8 for form in (piece, unquote(piece))]
    return values + [value.partition(" ")[2] for value in values if " " in value]


KIND = Kind(
    name="webhook",
    label=_("JSON webhook"),
    fields=FIELDS,
    check=check,
    send=send,
    describe=describe,
    secrets=secrets,
)
