"""Duplicati's Repeat rule: its grammar, and one step of it on the clock of a zone."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from app.refusal import Refusal

_DAY_SECONDS: Final = 86_400
_UNIT_DAYS: Final = {"D": 1, "W": 7, "M": 30, "Y": 365}
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600} | {u: n * _DAY_SECONDS for u, n in _UNIT_DAYS.items()}
_MAX_COUNT: Final = 2**31 - 1
_MAX_SPAN_SECONDS: Final = 922_337_203_685  # the longest .NET TimeSpan
_BARE: Final = re.compile(r"[\t-\r ]*([+-]?[0-9]{1,19})[\t-\r ]*")
_LENIENT: Final = re.compile(r"(?:\s*[+-]?[0-9]{1,19}\s*[smhDWMY])*\s*")
_PART: Final = re.compile(r"([+-]?[0-9]+)\s*([smhDWMY])")
_STEPPABLE: Final = re.compile(r"(?:[0-9]+[smhDWMY])+\n?")


class RecurrenceError(Refusal):
    """A plain sentence that says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A parsed repeat rule; a month counts 30 days in the span and a year 365, as Duplicati has it."""

    text: str
    parts: tuple[tuple[int, str], ...]
    span_seconds: int
    can_step: bool

    @property
    def keeps_wall_clock(self) -> bool:
        """Whether a step follows the zone's clock; any part in s, m or h, even 0h, makes it elapsed time."""
        return all(unit in "DWMY" for _count, unit in self.parts)

    @property
    def is_even(self) -> bool:
        """Whether every step has the same length in UTC, so that many can be taken at once."""
        return not (self.keeps_wall_clock or self._has_calendar_part)

    @property
    def _has_calendar_part(self) -> bool:
        return any(unit in "MY" and count for count, unit in self.parts)

    @property
    def whole_days(self) -> int:
        """The length of a step in days where it is a fixed number of them, else 0."""
        days, rest = divmod(self.span_seconds, _DAY_SECONDS)
        return 0 if self._has_calendar_part or rest else days

    @property
    def span(self) -> timedelta:
        return timedelta(seconds=self.span_seconds)


@lru_cache(maxsize=1024)
def parse_repeat(text: str) -> Repeat:
    """Read Duplicati's `Repeat`: "1D", "1h30m", "3600" (seconds), "" (no repetition); case matters."""
    bare = _BARE.fullmatch(text)
    if bare:
        parts: tuple[tuple[int, str], ...] = ((int(bare[1]), "s"),)
    elif _LENIENT.fullmatch(text):
        parts = tuple((int(count), unit) for count, unit in _PART.findall(text))
    else:
        raise bad_repeat(text)
    length = sum(count * _UNIT_SECONDS[unit] for count, unit in parts)
    in_range = all(abs(count) <= _MAX_COUNT for count, _unit in parts)
    if abs(length) > _MAX_SPAN_SECONDS or not (bare or in_range):
        raise bad_repeat(text)
    # The step reads more strictly than the span does: "1D " has a length, but Duplicati can't step by it.
    strict = in_range and length >= 0 if bare else bool(_STEPPABLE.fullmatch(text)) or not text
    return Repeat(text=text, parts=parts, span_seconds=length, can_step=strict)


def bad_repeat(text: str) -> RecurrenceError:
    return RecurrenceError(
        "expected whole numbers, each with one of the units s, m (minute), h, D, W, M (month) or Y, "
        "such as 1D, 12h or 1h30m, not %(given)s.",
        field="repeat",
        given=repr(text[:40]),
    )


def span_seconds(text: str) -> float:
    """The nominal length of a repeat rule: M is 30 days and Y 365."""
    return float(parse_repeat(text).span_seconds)


def step(base_at: datetime, repeat: str | Repeat, zone: ZoneInfo) -> datetime:
    """One repetition later, as Timeparser.DSTAwareParseTimeInterval counts it.

    The calendar is that of UTC; a rule of only D, W, M and Y is then put back by the change of the zone's
    offset. A time of day that this puts before a gap stays there: 02:30 becomes 01:30.
    """
    rule = repeat if isinstance(repeat, Repeat) else parse_repeat(repeat)
    if not rule.can_step:
        raise bad_repeat(rule.text)
    before_at = result_at = as_utc(base_at, "base_at")
    for count, unit in rule.parts:
        result_at = _add(result_at, count, unit)
    if rule.keeps_wall_clock:
        result_at = later(result_at, offset_at(before_at, zone) - offset_at(result_at, zone))
    return result_at


def as_utc(at: datetime, name: str) -> datetime:
    """The same instant in UTC; RecurrenceError that names the value when it has no zone or no UTC date."""
    if at.tzinfo is None:
        raise RecurrenceError(
            "expected a time with its zone, not %(given)s.", field=name, given=at.isoformat()
        )
    return on_clock(at, UTC)


def on_clock(at: datetime, zone: tzinfo) -> datetime:
    """The instant as the clocks of the zone show it."""
    try:
        return at.astimezone(zone)
    except OverflowError:
        raise _beyond_calendar() from None


def offset_at(at: datetime, zone: ZoneInfo) -> timedelta:
    """The zone's distance from UTC at an instant."""
    return on_clock(at, zone).utcoffset() or timedelta()


def later(at: datetime, by: timedelta) -> datetime:
    """`at + by`, RecurrenceError where the calendar ends."""
    try:
        return at + by
    except OverflowError:
        raise _beyond_calendar() from None


def _add(at: datetime, count: int, unit: str) -> datetime:
    if unit in "MY":
        return _add_months(at, count * (12 if unit == "Y" else 1))
    return later(at, timedelta(seconds=count * _UNIT_SECONDS[unit]))


def _add_months(at: datetime, months: int) -> datetime:
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise _beyond_calendar()
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


def _beyond_calendar() -> RecurrenceError:
    return RecurrenceError("The schedule leaves the calendar: expected times between the years 1 and 9999.")
