"""Every other service (chat, push, SMS) by the address that the Apprise library gives it."""

from __future__ import annotations

import ast
import hashlib
import importlib
import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from flask_babel import lazy_gettext as _

from app.notify.channel import Config, ConfigError, DeliveryError, Field, Kind, Receipt, shortened, values_of
from app.notify.cleaning import lines, mask, neutralized, one_line
from app.notify.message import Message

_TYPES = {"critical": "failure", "warning": "warning", "info": "info"}
_SOCKET_WORDS = (
    ("Connection refused", "refused the connection"),
    ("timed out", "did not answer in time"),
    ("Failed to resolve", "name not found"),
    ("Name or service not known", "name not found"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    ("Connection aborted", "closed the connection without an answer"),
    ("Connection reset", "closed the connection without an answer"),
)

FIELDS = (
    Field(
        name="urls",
        label=_("Apprise addresses"),
        required=True,
        secret=True,
        multiline=True,
        help=_("One a line, such as discord://… or tgram://…"),
    ),
)

# Sends that outlived their bound, by channel: a service that drips must not take one more worker each retry.
_unfinished: dict[str, set[object]] = {}


def _library() -> Any:
    """Loaded when a channel first needs it: a quarter of a second and 46 MB."""
    library: Any = importlib.import_module("apprise")
    logger = logging.getLogger("apprise")
    # Its records become the reason of a failure; passed on unmasked they would put secrets into our log.
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return library


def _services(urls: str) -> list[Any]:
    library = _library()
    asset = library.AppriseAsset(async_mode=False, secure_logging=True, http_redirects=False)
    services = []
    for number, url in enumerate(urls.split(), start=1):
        service = library.Apprise.instantiate(url, asset=asset)
        if service is None:
            raise ConfigError(
                "urls",
                _("addresses that Apprise knows, one a line: it can't use number %(number)s", number=number),
            )
        # An address may ask for redirects by itself.
        service.redirects = False
        services.append(service)
    return services


def check(config: Config) -> Config:
    urls = "\n".join(values_of(config, FIELDS)["urls"].split())
    _services(urls)
    return {"urls": urls}


def send(config: Config, message: Message, timeout_seconds: float) -> Receipt:
    key = hashlib.sha256(str(config["urls"]).encode()).hexdigest()
    if _unfinished.get(key):
        raise DeliveryError("is still busy with an earlier attempt that did not end in time")
    running: set[object] = set()
    sender = _library().Apprise()
    for service in _services(str(config["urls"])):
        _track(service, running)
        sender.add(service)
    result = sender.notify(
        title=neutralized(one_line(message.title)),
        body=neutralized(lines(message.body)),
        body_format="text",
        notify_type="success" if message.kind == "recovered" else _TYPES.get(message.severity, "info"),
        timeout=timeout_seconds,
        log_level=logging.DEBUG,
    )
    if running:
        _unfinished[key] = running
        raise DeliveryError(f"did not answer within {timeout_seconds:g} s")
    _unfinished.pop(key, None)
    if not result:
        raise DeliveryError(_reason(list(result.logs())))
    count = len(list(result))
    return Receipt("taken by the service" if count == 1 else f"taken by {count} services")


def _track(service: Any, running: set[object]) -> None:
    original, token = service.send, object()

    def tracked(*args: Any, **kwargs: Any) -> Any:
        running.add(token)
        try:
            return original(*args, **kwargs)
        finally:
            running.discard(token)

    service.send = tracked


def _reason(entries: list[Any]) -> str:
    """The warnings, then what the socket or the receiver said, which Apprise tells at debug level only."""
    warnings = [entry.message for entry in entries if entry.level not in ("DEBUG", "INFO", "TRACE")]
    spoken = [words for entry in entries if entry.level == "DEBUG" for words in _spoken(entry.message)]
    said = list(dict.fromkeys(one_line(words) for words in (*spoken, *warnings) if words))
    return mask("; ".join(said)) or "the service did not take the message and gave no reason"


def _spoken(record: str) -> Iterable[str]:
    if record.startswith("Socket Exception"):
        return [words for mark, words in _SOCKET_WORDS if mark in record][:1]
    if found := re.match(r"Response Details:\s*(b?['\"].*)", record, re.DOTALL):
        try:
            answer = ast.literal_eval(found[1])
        except (ValueError, SyntaxError):
            return []
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
        return [shortened(one_line(re.sub(r"<[^>]*>", " ", text)), 200)]
    return []


def describe(config: Config) -> str:
    return "Apprise " + ", ".join(mask(_schema_only(url)) for url in str(config["urls"]).split())


def _schema_only(url: str) -> str:
    return url.partition("://")[0] + "://****"


def secrets(config: Config) -> Iterable[str]:
    """Any long piece of an address may be a token, but for the name of the host."""
    for url in str(config["urls"]).split():
        rest = url.partition("://")[2]
        for place, piece in enumerate(re.split(r"[/?&=:@#]", rest)):
            host = place == 0 and "." in piece
            if len(piece) >= 6 and not host:
                yield from (piece, unquote(piece))


KIND = Kind(
    name="apprise",
    label=_("Other services (Apprise)"),
    fields=FIELDS,
    check=check,
    send=send,
    describe=describe,
    secrets=secrets,
)
