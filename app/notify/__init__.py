"""Telling people: one message to one channel, with the receiver's own words as the outcome."""

from __future__ import annotations

from flask_babel import lazy_gettext as _

from app.notify import apprise, email, ntfy, webhook
from app.notify.channel import Config, ConfigError, DeliveryError, Field, Kind, Receipt
from app.notify.cleaning import MASK, mask
from app.notify.http import in_a_row
from app.notify.message import Message

__all__ = [
    "KINDS",
    "ConfigError",
    "DeliveryError",
    "Field",
    "Kind",
    "Message",
    "Receipt",
    "check",
    "describe",
    "in_a_row",
    "mask",
    "send",
]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (email.KIND, ntfy.KIND, webhook.KIND, apprise.KIND)}

# A shorter secret would blank ordinary words out of the reason.
_SHORTEST_SECRET = 4


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ConfigError("kind", _("one of %(choices)s", choices=", ".join(KINDS)))
    return KINDS[name]


def check(kind: str, config: Config) -> Config:
    """The settings as they are stored: complete, trimmed; ConfigError names the first wrong one."""
    return _kind(kind).check(config)


def send(kind: str, config: Config, message: Message, *, timeout_seconds: float = 20) -> Receipt:
    """One attempt that ends within `timeout_seconds`; DeliveryError says why it failed."""
    try:
        channel, checked = _kind(kind), check(kind, config)
    except ConfigError as error:
        raise DeliveryError(f"the channel's settings can't be used: {error}", permanent=True) from error
    try:
        receipt = channel.send(checked, message, timeout_seconds)
    except DeliveryError as error:
        raise DeliveryError(
            _without_secrets(error.reason, channel, checked),
            permanent=error.permanent,
            retry_after_seconds=error.retry_after_seconds,
        ) from error
    return Receipt(_without_secrets(mask(receipt.detail), channel, checked)[:500])


def _without_secrets(text: str, channel: Kind, config: Config) -> str:
    """Receivers like to repeat what they were sent."""
    for secret in sorted(channel.secrets(config), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return text


def describe(kind: str, config: Config) -> str:
    """Where messages go, without secrets."""
    return _kind(kind).describe(config)
