"""What a long series comes to: figures by month, and where it went in the time looked at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from zoneinfo import ZoneInfo

from app import day_map
from app.thinning import FIGURES, Point


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
    """The runs of a month, and the `FIGURES` by their names."""

    first_day: date
    runs: int
    failed: int
    duration_seconds: Course | None
    examined_bytes: Course | None
    stored_bytes: Course | None
    uploaded_bytes: Course | None
    examined_files: Course | None
    versions: Course | None


def courses(points: Iterable[Point]) -> dict[str, Course | None]:
    """Each of the figures; None for one that no good run told."""
    good = [point for point in points if point.good]
    columns = dict(zip(Point._fields, zip(*good, strict=True), strict=False))
    return {name: _course([each for each in columns.get(name, ()) if each is not None]) for name in FIGURES}


def _course(values: Sequence[float]) -> Course | None:
    if not values:
        return None
    middle = float(median(values))
    return Course(values[0], values[-1], min(values), middle, max(values), sum(values), len(values))


def by_month(points: Sequence[Point], zone: ZoneInfo, most: int) -> list[Month]:
    """The newest month first, at most so many; `points` in order of time."""
    months: list[Month] = []
    end = len(points)
    while end and len(months) < most:
        first_day = points[end - 1].ended_at.astimezone(zone).date().replace(day=1)
        began_at = day_map.begin_of(first_day, zone)
        begin = bisect_left(points, began_at, hi=end - 1, key=lambda point: point.ended_at)
        months.append(_month(first_day, points[begin:end]))
        end = begin
    return months


def _month(first_day: date, points: Sequence[Point]) -> Month:
    failed = sum(not point.good for point in points)
    return Month(first_day, len(points), failed, **courses(points))
