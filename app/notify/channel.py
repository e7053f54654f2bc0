"""What every kind of channel is made of: its fields, its answers and its two errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flask_babel import lazy_gettext as _

from app.notify.cleaning import mask, one_line
from app.notify.message import Message

Config = dict[str, object]
LONGEST_REASON = 500
LONGEST_VALUE = 4000


class ConfigError(ValueError):
    """A setting of a channel can't be used; `expected` says what would be right."""

    def __init__(self, field: str, expected: object) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = str(expected)


class DeliveryError(Exception):
    """A message did not arrive. `permanent` is a hint: nothing but a changed setting will help."""

    def __init__(
        self, reason: str, *, permanent: bool = False, retry_after_seconds: int | None = None
    ) -> None:
        self.reason = shortened(mask(one_line(reason)), LONGEST_REASON)
        super().__init__(self.reason)
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receiver's own words when it took the message."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting of a channel as a form shows it; `label` and `help` are lazily translated."""

    name: str
    label: str
    required: bool = False
    secret: bool = False
    default: str | int | None = None
    help: str = ""
    choices: tuple[str, ...] = ()
    multiline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to reach people. `send` gets a checked config and a bound in seconds for the whole call."""

    name: str
    label: str
    fields: tuple[Field, ...]
    check: Callable[[Config], Config]
    send: Callable[[Config, Message, float], Receipt]
    describe: Callable[[Config], str]
    secrets: Callable[[Config], Iterable[str]]


def shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def value_of(config: Config, field: Field) -> str:
    """The setting as trimmed text, its default when it was left empty."""
    value = config.get(field.name)
    if value is None or value == "":
        value = field.default
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ConfigError(field.name, _("a text"))
    text = "" if value is None else str(value).strip()
    if len(text) > LONGEST_VALUE:
        raise ConfigError(field.name, _("at most %(number)s characters", number=LONGEST_VALUE))
    if not text and field.required:
        raise ConfigError(field.name, _("a value: it can't be empty"))
    if field.choices and text not in field.choices:
        raise ConfigError(field.name, _("one of %(choices)s", choices=", ".join(field.choices)))
    if text != (text if field.multiline else one_line(text)):
        raise ConfigError(field.name, _("a text without line breaks and control characters"))
    return text


def values_of(config: Config, fields: Iterable[Field]) -> dict[str, str]:
    """Every setting of a channel as text; ConfigError for the first wrong or unknown one."""
    known = {field.name: field for field in fields}
    for name in config:
        if name not in known:
            raise ConfigError(
                str(name), _("no such setting; the settings are %(names)s", names=", ".join(known))
            )
    return {name: value_of(config, field) for name, field in known.items()}
