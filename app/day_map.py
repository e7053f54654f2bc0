"""A year of days as weeks side by side, and where each day begins by the clock of a zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

DAYS = 365
CELL = 15
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days in a row that are all of one length: the first of them and when each begins."""

    first_day: date
    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """The runs of one day, or of several."""

    good: int = 0
    warned: int = 0  # good, but with warnings
    failed: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.good + other.good, self.warned + other.warned, self.failed + other.failed)

    @property
    def kind(self) -> str:
        """A day is failed when nothing good came on it; a failure beside something good is a warning."""
        if not (self.good or self.warned or self.failed):
            return "none"
        if not (self.good or self.warned):
            return "failed"
        return "warned" if self.warned or self.failed else "good"


@dataclass(frozen=True, slots=True)
class Cell:
    day: date
    x: int
    y: int
    count: Count


def first_day(today: date, days: int = DAYS) -> date:
    return today - timedelta(days=days - 1)


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins there, in UTC; where its midnight is skipped, when the clock moves on."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def stretches(first: date, last: date, zone: ZoneInfo) -> list[Stretch]:
    """The days as few stretches: one more for each day that is shorter or longer than 24 hours."""
    found: list[Stretch] = []
    began_at, day = begin_of(first, zone), first
    while day <= last:
        ended_at = begin_of(day + _DAY, zone)
        whole = ended_at - began_at == _DAY
        previous = found[-1] if found else None
        if previous and whole and _is_whole(previous):
            found[-1] = Stretch(previous.first_day, previous.began_at, ended_at)
        else:
            found.append(Stretch(day, began_at, ended_at))
        began_at, day = ended_at, day + _DAY
    return found


def _is_whole(stretch: Stretch) -> bool:
    return not (stretch.ended_at - stretch.began_at) % _DAY


def cells(counts: Mapping[date, Count], first: date, last: date, first_weekday: int = 0) -> Iterator[Cell]:
    """A column for each week; `first_weekday` 0 is Monday, and stands on top."""
    offset = (first.weekday() - first_weekday) % 7
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        column, row = divmod(offset + number, 7)
        yield Cell(day, column * CELL, row * CELL, counts.get(day, Count()))


def month_starts(first: date, last: date, first_weekday: int = 0) -> list[tuple[date, int]]:
    """The first of each month and the x of its week; one too close to the end for its name is left out."""
    found = [
        (cell.day, cell.x)
        for cell in cells({}, first, last, first_weekday)
        if cell.day.day == 1 or cell.day == first
    ]
    if len(found) > 1 and found[1][1] - found[0][1] < 3 * CELL:
        del found[0]
    return [each for each in found if each[1] <= width(first, last, first_weekday) - 2 * CELL]


def width(first: date, last: date, first_weekday: int = 0) -> int:
    offset = (first.weekday() - first_weekday) % 7
    return ((offset + (last - first).days) // 7 + 1) * CELL


def by_month(counts: Mapping[date, Count], first: date, last: date) -> list[tuple[date, Count, int]]:
    """Each month, its runs, and on how many of its days none came."""
    months: dict[date, tuple[Count, int]] = {}
    for cell in cells(counts, first, last):
        count, empty = months.get(cell.day.replace(day=1), (Count(), 0))
        is_empty = cell.count.kind == "none"
        months[cell.day.replace(day=1)] = (count + cell.count, empty + is_empty)
    return [(month, *told) for month, told in months.items()]
