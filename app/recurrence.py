"""Duplicati's schedule arithmetic: a repeat rule, weekdays and a zone give the next expected time."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from app.repeat import (
    RecurrenceError,
    Repeat,
    as_utc,
    bad_repeat,
    later,
    offset_at,
    on_clock,
    parse_repeat,
    span_seconds,
    step,
)

__all__ = [
    "EVERY_DAY",
    "MAX_STEPS",
    "WEEKDAYS",
    "RecurrenceError",
    "Repeat",
    "Schedule",
    "around",
    "dst_readings",
    "dst_slack_until",
    "next_after",
    "next_valid",
    "parse_repeat",
    "span_seconds",
    "step",
    "upcoming",
]

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY: Final = frozenset(WEEKDAYS)
# Duplicati gives up after this many steps, and after a week of single days.
MAX_STEPS: Final = 50_000

_DAY: Final = timedelta(days=1)


def next_valid(
    base_at: datetime,
    first_allowed_at: datetime,
    repeat: str | Repeat,
    days: frozenset[str],
    zone: ZoneInfo,
) -> datetime:
    """What Duplicati's Scheduler.GetNextValidTime answers, where it fails RecurrenceError.

    Steps from the base until the first allowed time is reached; then a rule of a day or more goes on by plain
    UTC days, a shorter one by itself, until the weekday in the zone is allowed. No days means all.
    """
    rule = _rule(repeat)
    allowed = _allowed_days(days)
    found_at = _reach(as_utc(base_at, "base_at"), as_utc(first_allowed_at, "first_allowed_at"), rule, zone)
    if rule.span >= _DAY:
        return _next_allowed_day(found_at, allowed, zone)
    reached_at = _nearest_allowed(found_at, rule.span, allowed, zone)
    if reached_at - found_at > rule.span * MAX_STEPS:
        raise _out_of_reach(rule)
    return reached_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job runs by itself; `days` empty means every day, judged in `zone`, an IANA name."""

    repeat: str
    days: frozenset[str]
    zone: str
    anchor_at: datetime

    def __post_init__(self) -> None:
        rule = parse_repeat(self.repeat)
        if not rule.can_step or rule.span_seconds < 1:
            raise bad_repeat(self.repeat)
        _allowed_days(self.days)
        _zone(self.zone)
        as_utc(self.anchor_at, "anchor_at")

    @property
    def rule(self) -> Repeat:
        return parse_repeat(self.repeat)

    @property
    def zone_info(self) -> ZoneInfo:
        return _zone(self.zone)


def next_after(schedule: Schedule, after_at: datetime) -> datetime:
    """The first occurrence strictly later than `after_at`, never before the anchor."""
    return around(schedule, after_at)[1]


def around(schedule: Schedule, after_at: datetime) -> tuple[datetime | None, datetime]:
    """The last occurrence up to `after_at`, if any, and the first one later.

    Occurrences follow one from the other, as in a server that never missed one: a step or a skipped weekend
    counts from the occurrence before and not from the anchor. RecurrenceError when Duplicati finds none.
    """
    return _around(schedule, as_utc(schedule.anchor_at, "anchor_at"), as_utc(after_at, "after_at"))


def upcoming(schedule: Schedule, after_at: datetime, count: int) -> list[datetime]:
    """The next `count` occurrences later than `after_at`."""
    start_at, at = as_utc(schedule.anchor_at, "anchor_at"), as_utc(after_at, "after_at")
    found: list[datetime] = []
    for _ in range(count):
        start_at = at = _around(schedule, start_at, at)[1]
        found.append(at)
    return found


def dst_readings(
    previous_at: datetime, expected_at: datetime, schedule_or_zone: Schedule | ZoneInfo
) -> tuple[datetime, datetime]:
    """The earliest and the latest of the wall-clock and the UTC-constant reading of an occurrence.

    They differ only where the zone changed its offset since the occurrence before, for one cycle, and only
    for cycles long against that change: an hourly rule has no time of day to keep.
    """
    zone = schedule_or_zone.zone_info if isinstance(schedule_or_zone, Schedule) else schedule_or_zone
    previous_at, expected_at = as_utc(previous_at, "previous_at"), as_utc(expected_at, "expected_at")
    before = offset_at(previous_at, zone)
    constant_at = later(previous_at, round((expected_at - previous_at) / _DAY) * _DAY)
    if constant_at - expected_at != offset_at(constant_at, zone) - before:
        constant_at = expected_at
    change = before - offset_at(constant_at, zone)
    if expected_at - previous_at < 4 * abs(change):
        return expected_at, expected_at
    readings = expected_at, constant_at, later(constant_at, change)
    return min(readings), max(readings)


def dst_slack_until(
    previous_at: datetime, expected_at: datetime, schedule_or_zone: Schedule | ZoneInfo
) -> datetime:
    """The latest time at which a run is not yet late on account of a change of the zone's offset."""
    return dst_readings(previous_at, expected_at, schedule_or_zone)[1]


def _around(schedule: Schedule, start_at: datetime, after_at: datetime) -> tuple[datetime | None, datetime]:
    rule, zone = schedule.rule, schedule.zone_info
    allowed = _allowed_days(schedule.days)
    first_at = next_valid(start_at, start_at, rule, allowed, zone)
    if first_at > after_at:
        return None, first_at
    if rule.is_even and (rule.span < _DAY or allowed == EVERY_DAY):
        return _on_lattice(first_at, after_at, rule, allowed, zone)
    return _walk(first_at, after_at, rule, allowed, zone)


def _on_lattice(
    first_at: datetime, after_at: datetime, rule: Repeat, allowed: frozenset[str], zone: ZoneInfo
) -> tuple[datetime, datetime]:
    base_at = first_at + (after_at - first_at) // rule.span * rule.span
    previous_at = _nearest_allowed(base_at, -rule.span, allowed, zone)
    following_at = _nearest_allowed(later(base_at, rule.span), rule.span, allowed, zone)
    if (following_at - previous_at) // rule.span > MAX_STEPS + 1:
        raise _out_of_reach(rule)
    return previous_at, following_at


def _walk(
    first_at: datetime, after_at: datetime, rule: Repeat, allowed: frozenset[str], zone: ZoneInfo
) -> tuple[datetime, datetime]:
    if after_at - first_at > MAX_STEPS * _DAY + rule.span:
        raise RecurrenceError(
            "expected a time at most %(days)s days back.", field="anchor_at", days=MAX_STEPS
        )
    previous_at = first_at
    while True:
        previous_at = _leap(previous_at, after_at, rule, allowed, zone)
        following_at = _next_allowed_day(step(previous_at, rule, zone), allowed, zone)
        if following_at > after_at:
            return previous_at, following_at
        # A zone that drops a whole day (Samoa, 2011) would hold Duplicati on the spot as well.
        if following_at <= previous_at:
            raise _out_of_reach(rule)
        previous_at = following_at


def _leap(
    at: datetime, after_at: datetime, rule: Repeat, allowed: frozenset[str], zone: ZoneInfo
) -> datetime:
    """The latest occurrence that whole weekday cycles reach while the zone keeps its offset."""
    if not rule.whole_days:
        return at
    cycle = _cycle(rule.whole_days, on_clock(at, zone).weekday(), allowed)
    room = min(after_at, _quiet_until(at, zone)) - at
    return at + room // cycle * cycle if cycle else at


@lru_cache(maxsize=1024)
def _cycle(whole_days: int, weekday: int, allowed: frozenset[str]) -> timedelta:
    """The time after which occurrences come back to this weekday; zero when they never do."""
    days = 0
    for _ in WEEKDAYS:
        days += whole_days
        while WEEKDAYS[(weekday + days) % 7] not in allowed:
            days += 1
        if days % 7 == 0 or allowed == EVERY_DAY:
            return timedelta(days=days)
    return timedelta()


def _quiet_until(at: datetime, zone: ZoneInfo) -> datetime:
    """A time up to which the zone keeps the offset that it has at `at`, within the year."""
    uneasy = (start_at for start_at in _days_of_change(zone, at.year) if start_at + _DAY > at)
    return max(at, next(uneasy, datetime(at.year, 12, 31, tzinfo=UTC)))


@lru_cache(maxsize=4096)
def _days_of_change(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """The UTC days of a year (but the last) within which the offset changes: zoneinfo does not tell."""
    start_at, end_at = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, tzinfo=UTC)
    days = [start_at + _DAY * n for n in range((end_at - start_at).days + 1)]
    return tuple(
        day_at for day_at, next_at in pairwise(days) if offset_at(day_at, zone) != offset_at(next_at, zone)
    )


def _reach(base_at: datetime, first_at: datetime, rule: Repeat, zone: ZoneInfo) -> datetime:
    """The base, or the first of at most 50 000 repetitions that is not before `first_at`."""
    if base_at >= first_at:
        return base_at
    if rule.is_even and rule.can_step and rule.span_seconds:
        steps = -((base_at - first_at) // rule.span)
        if steps > MAX_STEPS:
            raise _out_of_reach(rule)
        return later(base_at, rule.span * steps)
    for _ in range(MAX_STEPS):
        before_at, base_at = base_at, step(base_at, rule, zone)
        if base_at >= first_at:
            return base_at
        if base_at <= before_at:
            break
    raise _out_of_reach(rule)


def _next_allowed_day(at: datetime, allowed: frozenset[str], zone: ZoneInfo) -> datetime:
    for _ in range(8):
        if _weekday(at, zone) in allowed:
            return at
        at = later(at, _DAY)
    raise RecurrenceError("No allowed weekday within a week of %(day)s.", day=f"{at:%Y-%m-%d}")


def _nearest_allowed(at: datetime, stride: timedelta, allowed: frozenset[str], zone: ZoneInfo) -> datetime:
    """The nearest whole number of strides (forward, or back when negative) to an allowed weekday."""
    for _ in range(9):
        if _weekday(at, zone) in allowed:
            return at
        if not stride:
            break
        midnight = datetime.combine(on_clock(at, zone), time(), tzinfo=zone)
        if stride > timedelta():
            strides = max(1, -((at - on_clock(later(midnight, _DAY), UTC)) // stride))
        else:
            strides = (at - on_clock(midnight, UTC)) // -stride + 1
        at = later(at, stride * strides)
    raise RecurrenceError("No allowed weekday is ever met: expected a repeat that moves on.")


def _weekday(at: datetime, zone: ZoneInfo) -> str:
    return WEEKDAYS[on_clock(at, zone).weekday()]


def _rule(repeat: str | Repeat) -> Repeat:
    return repeat if isinstance(repeat, Repeat) else parse_repeat(repeat)


def _allowed_days(days: frozenset[str]) -> frozenset[str]:
    unknown = sorted(set(days) - EVERY_DAY)
    if unknown:
        raise RecurrenceError(
            "expected some of %(days)s, not %(given)s.",
            field="days",
            days=", ".join(WEEKDAYS),
            given=repr(unknown[0][:40]),
        )
    return days or EVERY_DAY


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise RecurrenceError(
            "expected an IANA name such as Europe/Paris, not %(given)s.", field="zone", given=repr(name[:40])
        ) from None


def _out_of_reach(rule: Repeat) -> RecurrenceError:
    return RecurrenceError(
        "No run of %(repeat)s within the %(number)s repeats that Duplicati tries.",
        repeat=repr(rule.text[:40]),
        number=MAX_STEPS,
    )
