"""Whom a message speaks to: a language, a time zone; and facts that are told even when they are damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_skeleton, format_time
from flask_babel import gettext as _
from flask_babel import ngettext

from app import clock
from app.notify.channel import shortened
from app.notify.cleaning import lines, mask, one_line

Facts = Mapping[str, object]
LONGEST_NAME = 100
LONGEST_ERROR = 1500


@dataclass(frozen=True, slots=True)
class Reader:
    locale: Locale
    zone: tzinfo
    zone_name: str

    def time(self, value: object) -> str | None:
        """A fact such as `2026-11-23T07:00:00Z` in the reader's words; None when there is none."""
        known = moment_of(value)
        if known is None:
            return None
        moment = known.astimezone(self.zone)
        day = format_skeleton("yMMMEd", moment, locale=self.locale)
        return plain_spaces(f"{day}, {format_time(moment, 'short', locale=self.locale)}")


def plain_spaces(text: str) -> str:
    """Without the spaces that never break: some channels turn them into question marks."""
    return text.replace("\u202f", " ").replace("\u00a0", " ")


def locale_of(language: str) -> Locale:
    try:
        return Locale.parse(language.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        return Locale("en")


def zone_of(name: str) -> tuple[tzinfo, str]:
    # A name that is no file of the zone database ends in one of several errors.
    try:
        return ZoneInfo(name), name
    except (ValueError, OSError, LookupError):
        return UTC, "UTC"


def moment_of(value: object) -> datetime | None:
    # A fact that can't be read is left out: the message itself must not be lost over it.
    try:
        return clock.from_iso(value) if isinstance(value, str) else None
    except ValueError:
        return None


def name(facts: Facts, key: str) -> str:
    return shortened(one_line(str(facts.get(key) or "?")), LONGEST_NAME)


def number(facts: Facts, key: str) -> int:
    value = facts.get(key)
    return value if isinstance(value, int) else 0


def error_of(facts: Facts) -> str:
    """What Duplicati says went wrong, without secrets and bounded; empty when it says nothing."""
    return lines(mask(shortened(str(facts.get("error") or ""), LONGEST_ERROR))).strip()


def duration(seconds: int) -> str:
    """The two largest units, such as `1 day 2 hours`; less than a minute is `0 minutes`."""
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    parts = [
        ngettext("%(num)d day", "%(num)d days", days) if days > 0 else "",
        ngettext("%(num)d hour", "%(num)d hours", hours) if hours > 0 else "",
        ngettext("%(num)d minute", "%(num)d minutes", minutes) if minutes > 0 else "",
    ]
    told = [part for part in parts if part][:2]
    return " ".join(told) if told else str(_("0 minutes"))
