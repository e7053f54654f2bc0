"""The coming runs of a schedule as windows of time, and what a change of the clocks does to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from app import expectation
from app.backtest import Allow
from app.expectation import Expectation
from app.recurrence import Schedule, dst_readings
from app.repeat import offset_at, on_clock

_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)
_DAYS_LOOKED_AHEAD = 400


@dataclass(frozen=True, slots=True)
class ClockChange:
    """When the clocks of a zone are set, and by how much: forward is positive."""

    at: datetime
    by: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """On time up to `until_at`, late up to `overdue_at`; a run that begins from `earliest_at` on counts.

    `change` is set where the clocks were set since the run before, `twice_at` is the other moment at which
    they show the same time that night.
    """

    previous_at: datetime | None
    earliest_at: datetime
    expected_at: datetime
    until_at: datetime
    overdue_at: datetime
    is_moved: bool
    change: ClockChange | None
    twice_at: datetime | None


def windows(
    schedule: Schedule, after_at: datetime, count: int, tolerance_seconds: int, allow: Allow
) -> list[Window]:
    """The next `count` runs, each as if the one before had come in time."""
    found = expectation.windows(schedule, after_at, count)
    return _finished(found, schedule, tolerance_seconds, allow)


def around_change(
    schedule: Schedule, change: ClockChange, tolerance_seconds: int, allow: Allow
) -> list[Window]:
    """The last run before the clocks are set and the first one after."""
    following = expectation.windows(schedule, change.at - _MOMENT, 1)
    before_at = following[0].previous_at if following else None
    last = expectation.windows(schedule, before_at - _MOMENT, 1) if before_at else []
    return _finished([*last, *following], schedule, tolerance_seconds, allow)


def next_change(zone: ZoneInfo, after_at: datetime) -> ClockChange | None:
    """When the clocks of a zone are set next, within a year."""
    at = after_at
    for _ in range(_DAYS_LOOKED_AHEAD):
        change = change_between(zone, at, at + _DAY)
        if change:
            return change
        at += _DAY
    return None


def change_between(zone: ZoneInfo, from_at: datetime, to_at: datetime) -> ClockChange | None:
    """How the clocks differ at two moments, and when they came to."""
    before, after = offset_at(from_at, zone), offset_at(to_at, zone)
    if before == after:
        return None
    while to_at - from_at > timedelta(seconds=1):
        middle_at = from_at + (to_at - from_at) / 2
        if offset_at(middle_at, zone) == before:
            from_at = middle_at
        else:
            to_at = middle_at
    return ClockChange(to_at.replace(microsecond=0), after - before)


def _finished(
    found: Iterable[Expectation], schedule: Schedule, tolerance_seconds: int, allow: Allow
) -> list[Window]:
    zone = schedule.zone_info
    return [_window(each, zone, timedelta(seconds=tolerance_seconds), allow) for each in found]


def _window(expected: Expectation, zone: ZoneInfo, tolerance: timedelta, allow: Allow) -> Window:
    previous_at, expected_at = expected.previous_at, expected.expected_at
    deadline_at = expected.until_at + tolerance
    allowance = allow(expected_at, deadline_at)
    return Window(
        previous_at=previous_at,
        earliest_at=dst_readings(previous_at, expected_at, zone)[0] if previous_at else expected_at,
        expected_at=expected_at,
        until_at=expected.until_at,
        overdue_at=allowance.deadline_at if allowance else deadline_at,
        is_moved=allowance is not None,
        change=change_between(zone, previous_at, expected.until_at) if previous_at else None,
        twice_at=_twice_at(expected_at, zone),
    )


def _twice_at(at: datetime, zone: ZoneInfo) -> datetime | None:
    shown = on_clock(at, zone)
    other_at = shown.replace(fold=1 - shown.fold).astimezone(UTC)
    same = other_at.astimezone(zone).replace(tzinfo=None) == shown.replace(tzinfo=None)
    return other_at if same and other_at != at else None
