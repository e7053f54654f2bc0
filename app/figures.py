"""What a long series comes to: figures by month, and where it went in the time looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from zoneinfo import ZoneInfo

from app import thinning
from app.thinning import Point


@dataclass(frozen=True, slots=True)
class Course:
    """A figure over some time, by the good runs that told it."""

    first: float
    last: float
    smallest: float
    middle: float
    largest: float
    total: float
    count: int

    @property
    def change(self) -> float | None:
        """From the first to the last, 0.03 for 3 per cent more; None where there is nothing to compare."""
        if self.count < 2 or self.first <= 0:
            return None
        return self.last / self.first - 1


@dataclass(frozen=True, slots=True)
class Month:
    first_day: date
    runs: int
    failed: int
    duration: Course | None
    examined_bytes: Course | None
    stored_bytes: Course | None
    uploaded_bytes: Course | None
    examined_files: Course | None
    versions: Course | None


def course(points: Iterable[Point], name: str) -> Course | None:
    """None when no good run told it."""
    told = (thinning.figure(point, name) for point in points if point.good)
    values = [value for value in told if value is not None]
    if not values:
        return None
    middle = float(median(values))
    return Course(values[0], values[-1], min(values), middle, max(values), sum(values), len(values))


def by_month(points: Sequence[Point], zone: ZoneInfo) -> list[Month]:
    """The newest month first."""
    months: dict[date, list[Point]] = {}
    for point in points:
        day = point.ended_at.astimezone(zone).date()
        months.setdefault(day.replace(day=1), []).append(point)
    return [_month(first_day, months[first_day]) for first_day in sorted(months, reverse=True)]


def _month(first_day: date, points: Sequence[Point]) -> Month:
    return Month(
        first_day=first_day,
        runs=len(points),
        failed=sum(not point.good for point in points),
        duration=course(points, "duration_seconds"),
        examined_bytes=course(points, "examined_bytes"),
        stored_bytes=course(points, "stored_bytes"),
        uploaded_bytes=course(points, "uploaded_bytes"),
        examined_files=course(points, "examined_files"),
        versions=course(points, "versions"),
    )
