"""Maintenance windows: when backups may be late, once or every week, of everything, a server or a job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, delete, literal_column, or_, select, update
from sqlalchemy.orm import Session

from app import deadline
from app.deadline import Span
from app.models import Job, MaintenanceWindow
from app.recurrence import WEEKDAYS
from app.refusal import Refusal

log = logging.getLogger(__name__)

LONGEST_MINUTES = 7 * 24 * 60
_LONGEST_REACH = timedelta(days=400)
_MOMENT = timedelta(seconds=1)
_ALL = select(MaintenanceWindow).order_by(MaintenanceWindow.id)


class WindowError(Refusal):
    """The window makes no sense; `field` names the value that is wrong, the text what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Once from `starts_at` to `ends_at`, or on each of `weekdays` from `start_time` (HH:MM in `zone`)."""

    server_id: int | None = None
    job_id: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    weekdays: frozenset[str] = frozenset()
    start_time: str = ""
    duration_minutes: int = 0
    zone: str = "UTC"

    def concerns(self, server_id: int, job_id: int) -> bool:
        return self.server_id in (None, server_id) and self.job_id in (None, job_id)

    def spans(self, from_at: datetime, to_at: datetime) -> Iterator[Span]:
        """Its stretches that touch the time from `from_at` to `to_at`, in order."""
        wanted = Span(from_at, to_at)
        found = self._once() if self.starts_at else self._weekly(from_at, to_at)
        return (span for span in found if span.touches(wanted))

    def _once(self) -> Iterator[Span]:
        if self.starts_at and self.ends_at:
            yield Span(self.starts_at, self.ends_at)

    def _weekly(self, from_at: datetime, to_at: datetime) -> Iterator[Span]:
        zone = ZoneInfo(self.zone)
        length = timedelta(minutes=self.duration_minutes)
        day = (from_at - length).astimezone(zone).date() - timedelta(days=1)
        last = to_at.astimezone(zone).date()
        while day <= last:
            if WEEKDAYS[day.weekday()] in self.weekdays:
                began_at = self._start(day, zone)
                yield Span(began_at, began_at + length)
            day += timedelta(days=1)

    def _start(self, day: date, zone: ZoneInfo) -> datetime:
        hour, minute = self.start_time.split(":")
        # A time that a night of changing clocks skips counts as the same moment by the clock before it.
        local = datetime(day.year, day.month, day.day, int(hour), int(minute), tzinfo=zone)
        return local.astimezone(UTC)


def check(window: Window) -> Window:
    """The window itself when it makes sense; WindowError names what does not."""
    try:
        ZoneInfo(window.zone)
    except (ValueError, OSError, LookupError):
        raise WindowError("a time zone such as Europe/Paris", field="zone") from None
    if window.starts_at or window.ends_at:
        if not window.starts_at or not window.ends_at or window.ends_at <= window.starts_at:
            raise WindowError("a time after the start", field="ends_at")
        if window.ends_at - window.starts_at > timedelta(days=366):
            raise WindowError("at most a year after the start; pause the backups instead", field="ends_at")
        return window
    if not window.weekdays or not window.weekdays <= set(WEEKDAYS):
        raise WindowError("one or more of %(choices)s", field="weekdays", choices=", ".join(WEEKDAYS))
    _check_start_time(window.start_time)
    if not 1 <= window.duration_minutes <= LONGEST_MINUTES:
        raise WindowError(
            "a number from %(least)s to %(most)s", field="duration_minutes", least=1, most=LONGEST_MINUTES
        )
    return window


def _check_start_time(text: str) -> None:
    hour, colon, minute = text.partition(":")
    digits = len(hour) == len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdecimal()
    if not colon or not digits or int(hour) > 23 or int(minute) > 59:
        raise WindowError("a time such as 22:00", field="start_time")


def describe(window: Window) -> str:
    """The window in a line, for the audit log and the command line."""
    scope = "all"
    if window.job_id is not None:
        scope = f"job {window.job_id}"
    elif window.server_id is not None:
        scope = f"server {window.server_id}"
    if window.starts_at and window.ends_at:
        return f"{window.starts_at:%Y-%m-%dT%H:%MZ} to {window.ends_at:%Y-%m-%dT%H:%MZ}, {scope}"
    days = ",".join(day for day in WEEKDAYS if day in window.weekdays)
    return f"{days} {window.start_time} for {window.duration_minutes} min, {window.zone}, {scope}"


def limited(window: Window, server_id: int | None, job_id: int | None) -> Window:
    """The same window for one server or job only."""
    return replace(window, server_id=server_id, job_id=job_id)


def of_row(row: MaintenanceWindow) -> Window:
    return Window(
        server_id=row.server_id,
        job_id=row.job_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        weekdays=frozenset(filter(None, (row.weekdays or "").split(","))),
        start_time=row.start_time or "",
        duration_minutes=row.duration_minutes or 0,
        zone=row.zone,
    )


def load(session: Session) -> list[Window]:
    """All windows that can be used. A zone this machine no longer knows leaves its window out, and so does a
    damaged row: no alert waits for either."""
    try:
        return [window for row in session.scalars(_ALL) if (window := _sound(row))]
    except (AttributeError, TypeError, ValueError):
        # One by one: a value that can't be read would otherwise take the other windows with it.
        numbers = session.scalars(_ALL.with_only_columns(MaintenanceWindow.id)).all()
        return [window for number in numbers if (window := _readable(session, number))]


def under_way(session: Session, now: datetime) -> list[tuple[Window, datetime]]:
    """The windows that are open now, each with its end; one query, however many are over or still to come."""
    is_once = MaintenanceWindow.starts_at.is_not(None)
    may_be = ~is_once | and_(MaintenanceWindow.starts_at <= now, MaintenanceWindow.ends_at >= now)
    try:
        windows = [of_row(row) for row in session.scalars(select(MaintenanceWindow).where(may_be))]
        windows = [check(each) for each in windows]
    except (AttributeError, TypeError, ValueError):
        windows = load(session)  # which leaves out what is damaged
    found = [(each, span.ended_at) for each in windows for span in each.spans(now, now + _MOMENT)]
    return sorted(found, key=lambda each: each[1], reverse=True)


def _sound(row: MaintenanceWindow) -> Window | None:
    try:
        return check(of_row(row))
    except WindowError:
        return None


def _readable(session: Session, number: int) -> Window | None:
    try:
        row = session.get(MaintenanceWindow, number)
        return _sound(row) if row else None
    except (AttributeError, TypeError, ValueError) as problem:
        log.error("maintenance window %s is damaged and left out: %s", number, problem)
        return None


def concerning(session: Session, server_id: int, job_id: int) -> list[Window]:
    """The windows of one job, its server and everything, in one query unless a row is damaged."""
    query = select(MaintenanceWindow).where(
        or_(MaintenanceWindow.server_id.is_(None), MaintenanceWindow.server_id == server_id),
        or_(MaintenanceWindow.job_id.is_(None), MaintenanceWindow.job_id == job_id),
    )
    try:
        found = [of_row(row) for row in session.scalars(query.order_by(MaintenanceWindow.id)).all()]
        return [check(window) for window in found]
    except (AttributeError, TypeError, ValueError):
        return load(session)


def spans(
    windows: Sequence[Window], server_id: int, job_id: int, from_at: datetime, to_at: datetime
) -> list[Span]:
    """The maintenance of a job between two moments; further on as long as it moves the later one."""
    mine = [each for each in windows if each.concerns(server_id, job_id)]
    if not mine:
        return []
    reach = to_at + _MOMENT  # a window may begin right at the deadline
    while True:
        # What stops the clock may carry the deadline into the next window.
        found = [span for each in mine for span in each.spans(from_at, reach)]
        moved = deadline.allow(from_at, to_at, found, (), 0)
        if moved is None or moved.deadline_at <= reach or reach - to_at > _LONGEST_REACH:
            return found
        reach = moved.deadline_at


def add(session: Session, name: str, window: Window, now: datetime) -> MaintenanceWindow:
    """Store a window; WindowError when it makes no sense."""
    checked = check(window)
    row = MaintenanceWindow(
        name=name[:120],
        server_id=checked.server_id,
        job_id=checked.job_id,
        starts_at=checked.starts_at,
        ends_at=checked.ends_at,
        weekdays=",".join(day for day in WEEKDAYS if day in checked.weekdays) or None,
        start_time=checked.start_time or None,
        duration_minutes=checked.duration_minutes or None,
        zone=checked.zone,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def remove(session: Session, row: MaintenanceWindow, now: datetime) -> None:
    """Delete a window; the jobs that were late by its leave are looked at by the next check."""
    session.execute(delete(MaintenanceWindow).where(MaintenanceWindow.id == row.id))
    # Spelled out: with a bound value SQLite would not take the partial index.
    not_ok: ColumnElement[bool] = literal_column("state <> 'ok'")
    excused = and_(not_ok, Job.state.in_(("late", "failed")))
    session.execute(
        update(Job).where(excused).values(attention_at=now), execution_options={"synchronize_session": False}
    )
