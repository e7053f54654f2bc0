"""How the text of an environment variable becomes a checked value; each says what it expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo


def text(value: str) -> str:
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"\d{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def switch(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("0 or 1")
    return value == "1"


def choice(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return read


def zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ValueError("a time zone name such as Europe/Paris") from None
    return value


def web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address such as http://127.0.0.1:9667")
    return value.rstrip("/")


def web_urls(value: str) -> tuple[str, ...]:
    return tuple(web_url(each) for each in value.split())


def optional_web_url(value: str) -> str:
    return web_url(value) if value else ""


def secret_web_url(value: str) -> str:
    """An address that is itself the permission, such as those of services that wait for a sign of life."""
    if value and not _can_be_called(value):
        raise ValueError("an address such as https://hc-ping.com/…")
    return value


def _can_be_called(address: str) -> bool:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return is_web and not re.search(r"[\s\x00-\x1f\x7f\\]", address)


def database_url(value: str) -> str:
    if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("sqlite:///… or postgresql+psycopg://user@host/database")
    return value


def secret(value: str) -> str:
    if value and len(value) < 16:
        raise ValueError("at least 16 characters")
    return value


def password(value: str) -> str:
    if value and len(value) < 8:
        raise ValueError("at least 8 characters")
    return value
