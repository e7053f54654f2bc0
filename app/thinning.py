"""Fewer points of a long series, without losing what stands out in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

MOST_POINTS = 1000


class Point(NamedTuple):
    """One run: when it ended, whether it was good, and its figures, of which any may be missing."""

    ended_at: datetime
    good: bool
    duration_seconds: float | None
    examined_bytes: int | None
    stored_bytes: int | None
    uploaded_bytes: int | None
    examined_files: int | None
    versions: int | None


FIGURES = Point._fields[2:]
# Of each stretch of time: the smallest and the largest of every figure, and one that failed.
STRETCHES = MOST_POINTS // (2 * len(FIGURES) + 1)


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points, in order.

    A series that is short enough is kept whole. Of a longer one the time is cut into equal stretches; each
    keeps the runs with the smallest and the largest value of every figure, and its newest failed run.
    """
    if len(points) <= most:
        return list(points)
    stretches = max(1, most // (2 * len(FIGURES) + 1))
    began_at = points[0].ended_at
    length = (points[-1].ended_at - began_at) / stretches
    kept: list[Point] = []
    stretch: list[Point] = []
    number = 0
    for point in points:
        mine = min(stretches - 1, int((point.ended_at - began_at) / length)) if length else 0
        if mine != number:
            kept += _outstanding(stretch)
            stretch, number = [], mine
        stretch.append(point)
    return kept + _outstanding(stretch)


def _outstanding(stretch: Sequence[Point]) -> list[Point]:
    kept: set[int] = set()
    for name in FIGURES:
        told = [
            (value, number)
            for number, point in enumerate(stretch)
            if (value := figure(point, name)) is not None
        ]
        if told:
            kept |= {min(told)[1], max(told)[1]}
    kept.update([number for number, point in enumerate(stretch) if not point.good][-1:])
    return [stretch[number] for number in sorted(kept)]


def figure(point: Point, name: str) -> float | None:
    """One of the `FIGURES`."""
    value: float | None = getattr(point, name)
    return value
