"""The last year of a job as a calendar, a mark for each day, in the viewer's words and zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from flask_babel import get_locale, ngettext
from flask_babel import gettext as _

from app import day_map, formats
from app.day_map import Cell, Count

BAD_DAYS_SHOWN = 14
_KINDS = ("good", "warned", "failed")


@dataclass(frozen=True, slots=True)
class Calendar:
    first: date
    last: date
    width: int
    height: int
    cells: Sequence[Cell]
    empty: str  # the path of all days without a run
    months: Sequence[tuple[str, int]]
    weekdays: Sequence[tuple[str, int]]
    summary: str
    by_month: Sequence[tuple[date, Count, int]]
    bad_days: Sequence[Cell]


def draw(counts: Mapping[date, Count], zone: ZoneInfo, now: datetime) -> Calendar:
    last = now.astimezone(zone).date()
    first = day_map.first_day(last)
    locale = get_locale()
    top = locale.first_week_day if locale else 0
    cells = list(day_map.cells(counts, first, last, top))
    runs = [each for each in cells if each.count.kind != "none"]
    empty = "".join(f"M{each.x} {each.y}h11v11h-11z" for each in cells if each.count.kind == "none")
    starts = day_map.month_starts(first, last, top)
    return Calendar(
        first=first,
        last=last,
        width=day_map.width(first, last, top),
        height=7 * day_map.CELL,
        cells=runs,
        empty=empty,
        months=[(formats.short_month(day), x) for day, x in starts],
        weekdays=[(_weekday(number), (number - top) % 7 * day_map.CELL) for number in (0, 2, 4)],
        summary=_summary(cells),
        by_month=day_map.by_month(counts, first, last),
        bad_days=[each for each in reversed(runs) if each.count.kind == "failed"][:BAD_DAYS_SHOWN],
    )


def _weekday(number: int) -> str:
    return formats.weekday(number)


def _summary(cells: Sequence[Cell]) -> str:
    days = {kind: sum(each.count.kind == kind for each in cells) for kind in _KINDS}
    told = [ngettext("%(num)s good day", "%(num)s good days", days["good"])]
    if days["warned"]:
        told.append(ngettext("%(num)s with warnings", "%(num)s with warnings", days["warned"]))
    told.append(ngettext("%(num)s failed", "%(num)s failed", days["failed"]))
    empty = len(cells) - sum(days.values())
    told.append(ngettext("%(num)s without a run", "%(num)s without a run", empty))
    return str(_("In the last year: %(days)s.", days=", ".join(told)))


def day_title(cell: Cell) -> str:
    """ "Mon 3 Aug 2026: 2 good, 1 failed"."""
    count, told = cell.count, []
    if count.good:
        told.append(ngettext("%(num)s good", "%(num)s good", count.good))
    if count.warned:
        told.append(ngettext("%(num)s with warnings", "%(num)s with warnings", count.warned))
    if count.failed:
        told.append(ngettext("%(num)s failed", "%(num)s failed", count.failed))
    return f"{formats.date(cell.day)}: {', '.join(told)}"
