"""Where instants lie on a picture of time, and where their labels go so that none covers another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import combinations, pairwise
from typing import Literal
from zoneinfo import ZoneInfo

LEAST_SHARE = 7.0
MARGIN = 3.0
CHARACTER_WIDTH = 6.8  # of the labels' font, rather too much than too little
LABEL_GAP = 8.0
_MOST_LINES = 12

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Instants in order and how far right each lies, in per cent of the width; straight in between."""

    instants: tuple[datetime, ...]
    shares: tuple[float, ...]
    is_stretched: bool  # something short was drawn wider than it is

    def share(self, at: datetime) -> float:
        """Beyond an end counts as that end."""
        if at <= self.instants[0] or len(self.instants) == 1:
            return self.shares[0]
        if at >= self.instants[-1]:
            return self.shares[-1]
        after = bisect_right(self.instants, at)
        began_at, ended_at = self.instants[after - 1], self.instants[after]
        part: float = (at - began_at) / (ended_at - began_at)
        return self.shares[after - 1] + part * (self.shares[after] - self.shares[after - 1])


def axis(marks: Iterable[datetime], least: float = LEAST_SHARE) -> Axis:
    """An axis on which any two of the marks, of which there is one or more, lie `least` per cent apart."""
    instants = tuple(sorted(set(marks)))
    if len(instants) == 1:
        return Axis(instants, (50.0,), False)
    room = 100 - 2 * MARGIN
    lengths = [(after - before).total_seconds() for before, after in pairwise(instants)]
    widths = _widths(lengths, room, min(least, room / len(lengths)))
    shares = [MARGIN]
    for width in widths:
        shares.append(shares[-1] + width)
    true = [room * length / sum(lengths) for length in lengths]
    stretched = any(width > 1.5 * share for width, share in zip(widths, true, strict=True))
    return Axis(instants, tuple(shares), stretched)


def _widths(lengths: Sequence[float], room: float, least: float) -> list[float]:
    """True to scale, but for those that would come out shorter than `least`."""
    short: set[int] = set()
    while True:
        long = [number for number in range(len(lengths)) if number not in short]
        left, total = room - least * len(short), sum(lengths[number] for number in long)
        found = {number for number in long if left * lengths[number] / total < least}
        if not found or len(found) == len(long):
            break
        short |= found
    return [
        least if number in short else left * length / total if total else left / len(long)
        for number, length in enumerate(lengths)
    ]


@dataclass(frozen=True, slots=True)
class Label:
    """Lines of text that belong to a place on the axis."""

    kind: str
    share: float
    lines: tuple[str, ...]

    @property
    def width(self) -> float:
        return max(len(line) for line in self.lines) * CHARACTER_WIDTH


@dataclass(frozen=True, slots=True)
class Placed:
    """A label in its lane, counted from the axis; its text is anchored at `text_share`."""

    label: Label
    lane: int
    anchor: Anchor
    text_share: float
    left: float  # in pixels at the width it was placed for
    right: float
    at: float


def place(labels: Iterable[Label], width: float) -> list[Placed]:
    """Lanes and anchors for a picture that is `width` pixels wide or wider: no text covers another, all lie
    inside, and the line from a label to the axis crosses as few texts as can be had."""
    ordered = sorted(labels, key=lambda each: each.share)
    tried = [
        _placed(order, anchors, width, is_deep)
        for is_deep in (False, True)
        for order in (ordered, ordered[::-1])
        for anchors in _ANCHORS
    ]
    best = min(tried, key=lambda placed: (_crossings(placed), lanes(placed)))
    return sorted(best, key=lambda each: each.label.share)


_ANCHORS: tuple[tuple[Anchor, ...], ...] = (
    ("middle", "start", "end"),
    ("start", "middle", "end"),
    ("end", "middle", "start"),
)


def _placed(labels: Sequence[Label], anchors: Sequence[Anchor], width: float, is_deep: bool) -> list[Placed]:
    """One after the other; `is_deep` rather goes to a further lane than to another anchor."""
    placed: list[Placed] = []
    for label in labels:
        depths = range(len(placed) + 1)
        by_lane = [(lane, anchor) for lane in depths for anchor in anchors]
        by_anchor = [(lane, anchor) for anchor in anchors for lane in depths]
        choices = [_put(label, lane, anchor, width) for lane, anchor in (by_anchor if is_deep else by_lane)]
        inside = [each for each in choices if each.left >= 0 and each.right <= width]
        free = [each for each in inside if not any(_covers(each, other) for other in placed)]
        best = [each for each in free if not any(_crosses(each, other) for other in placed)]
        placed.append((best or free or [_pinned(label, lanes(placed), width)])[0])
    return placed


def _crossings(placed: Sequence[Placed]) -> int:
    return sum(_crosses(one, other) for one, other in combinations(placed, 2))


def _put(label: Label, lane: int, anchor: Anchor, width: float) -> Placed:
    at = label.share / 100 * width
    left = at - label.width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return Placed(label, lane, anchor, label.share, left, left + label.width, at)


def _pinned(label: Label, lane: int, width: float) -> Placed:
    """For one that fits on neither side of its place: it begins at the left edge."""
    return Placed(label, lane, "start", 0.0, 0.0, label.width, label.share / 100 * width)


def _covers(one: Placed, other: Placed) -> bool:
    return (
        one.lane == other.lane and one.left < other.right + LABEL_GAP and other.left < one.right + LABEL_GAP
    )


def _crosses(one: Placed, other: Placed) -> bool:
    upper, lower = (one, other) if one.lane < other.lane else (other, one)
    return upper.lane != lower.lane and upper.left - 3 <= lower.at <= upper.right + 3


def lanes(placed: Sequence[Placed]) -> int:
    return max((each.lane for each in placed), default=-1) + 1


def apart(shares: Sequence[tuple[float, bool]], least: float) -> list[int]:
    """Which points to draw so that no two lie closer than `least`: important ones first, then the later."""
    kept: list[int] = []
    order = sorted(range(len(shares)), key=lambda number: (not shares[number][1], -shares[number][0]))
    for number in order:
        if all(abs(shares[number][0] - shares[other][0]) >= least for other in kept):
            kept.append(number)
    return sorted(kept)


@dataclass(frozen=True, slots=True)
class Tick:
    at: datetime
    share: float
    unit: str  # "hour", "day" or "month"


def ticks(line: Axis, zone: ZoneInfo, least: float) -> list[Tick]:
    """Round times of the zone's clock along the axis, none closer than `least` per cent to the next."""
    began_at, ended_at = line.instants[0], line.instants[-1]
    found: list[Tick] = []
    for at, unit in _round_times(began_at, ended_at, zone):
        share = line.share(at)
        if began_at < at < ended_at and (not found or share - found[-1].share >= least):
            found.append(Tick(at, share, unit))
    return found


def _round_times(began_at: datetime, ended_at: datetime, zone: ZoneInfo) -> Iterable[tuple[datetime, str]]:
    length = ended_at - began_at
    first, last = began_at.astimezone(zone).date(), ended_at.astimezone(zone).date()
    if length <= timedelta(days=1, hours=12):
        return [
            (_clock(first + timedelta(days=day), hour, zone), "hour" if hour else "day")
            for day in range((last - first).days + 1)
            for hour in (0, 6, 12, 18)
        ]
    if length <= timedelta(days=90):
        step = max(1, round((last - first).days / _MOST_LINES))
        days = range(0, (last - first).days + 1, step)
        return [(_clock(first + timedelta(days=day), 0, zone), "day") for day in days]
    months = (last.year - first.year) * 12 + last.month - first.month
    step = max(1, round(months / _MOST_LINES))
    return [(_clock(_month(first, number), 0, zone), "month") for number in range(0, months + 1, step)]


def _month(day: date, later: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + later, 12)
    return date(year, month + 1, 1)


def _clock(day: date, hour: int, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=zone)
