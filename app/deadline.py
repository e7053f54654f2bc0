"""Until when a job may stay silent: its tolerance, stopped by maintenance, lengthened by our own downtime."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of time; `ended_at` is the first instant after it."""

    began_at: datetime
    ended_at: datetime

    def touches(self, other: Span) -> bool:
        return self.began_at < other.ended_at and other.began_at < self.ended_at


@dataclass(frozen=True, slots=True)
class Downtime:
    """A time in which reports could not be taken in. An open one lasts: `ended_at` is then the time now."""

    id: int
    span: Span
    is_open: bool


@dataclass(frozen=True, slots=True)
class Allowance:
    """A deadline that was moved: by maintenance until then, or because of a downtime, or both."""

    deadline_at: datetime
    maintenance_until_at: datetime | None
    downtime: Downtime | None


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that neither touch nor overlap, in order."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.began_at <= joined[-1].ended_at:
            joined[-1] = Span(joined[-1].began_at, max(joined[-1].ended_at, span.ended_at))
        else:
            joined.append(span)
    return joined


def allow(
    expected_at: datetime,
    deadline_at: datetime,
    maintenance: Iterable[Span],
    downtimes: Iterable[Downtime],
    credit_seconds: int,
) -> Allowance | None:
    """The deadline as it is moved, or None when nothing moves it.

    Maintenance stops the clock between the expected time and the deadline, so that as much time is left after
    it as was before. A downtime in that stretch may have swallowed the report: its length, at most
    `credit_seconds` in all, is added to the deadline, counted from its end where that is later.
    """
    moved_at, maintenance_until_at = deadline_at, None
    for span in merged(maintenance):
        # Without a tolerance, one that begins with the expected time would else begin too late.
        begins_in_time = span.began_at < moved_at or span.began_at == expected_at
        if begins_in_time and expected_at < span.ended_at:
            moved_at += span.ended_at - max(span.began_at, expected_at)
            maintenance_until_at = span.ended_at
    credit_left, blamed = timedelta(seconds=credit_seconds), None
    for downtime in sorted(downtimes, key=lambda each: each.span):
        if downtime.span.touches(Span(expected_at, moved_at)) and credit_seconds:
            credit = min(downtime.span.ended_at - downtime.span.began_at, credit_left)
            from_at = moved_at if downtime.is_open else max(moved_at, downtime.span.ended_at)
            moved_at, credit_left, blamed = from_at + credit, credit_left - credit, downtime
    if moved_at == deadline_at:
        return None
    return Allowance(moved_at, maintenance_until_at, blamed)
