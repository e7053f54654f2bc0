"""Running totals, kept in the transaction of what they count, so that no request has to count rows."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, bindparam, case, event, inspect, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, UOWTransaction

from app.db import dialect_insert
from app.known_job import KnownJob
from app.models import STATE_RANKS, Job, ReportTotal, Total
from app.prepared import Prepared
from app.reports import Report

SERVERS = "servers"
JOBS = "jobs"
# Rows that share the sums, so that reports which come at once do not wait for each other.
SLOTS = 16
_STATE, _WELL = "state:", "ok"
# What a broken client claims must not overflow a sum and so keep out the reports of others.
_LARGEST = 2**50
_FULL = 2**58


@functools.cache
def _count(dialect_name: str) -> Prepared:
    rows = cast(Table, Total.__table__)
    moved = dialect_insert(dialect_name)(rows)
    return Prepared(
        moved.on_conflict_do_update(
            index_elements=[rows.c.name], set_={"value": rows.c.value + moved.excluded.value}
        ),
        ["name", "value"],
    )


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the sums move."""

    runs_count: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    examined_bytes: int = 0

    def __sub__(self, other: Change) -> Change:
        return Change(
            self.runs_count - other.runs_count,
            self.uploaded_bytes - other.uploaded_bytes,
            self.stored_bytes - other.stored_bytes,
            self.examined_bytes - other.examined_bytes,
        )


def count(connection: Connection, name: str, difference: int) -> None:
    """Move the total of servers or jobs, or a part of that of a state: in this order within a transaction,
    so that two at once never wait for each other."""
    _count(connection.dialect.name).run(connection, {"name": name, "value": difference})


def count_states(connection: Connection, job_id: int, differences: Mapping[str, int]) -> None:
    """Move the totals of states. Like the sums they are kept in parts: `job_id`, of any one of the jobs that
    have changed, tells in which. Those that are well are the rest and have no total."""
    for state in sorted(differences):  # in one order, so that two at once never wait for each other
        if differences[state] and state != _WELL:
            count(connection, f"{_STATE}{state}:{job_id % SLOTS}", differences[state])


def note_state(connection: Connection, job: KnownJob) -> None:
    """After a report has made or moved a job that is not loaded by the ORM."""
    if job.state_before is None:
        count_states(connection, job.id, {job.state: 1})
    elif job.state != job.state_before:
        count_states(connection, job.id, {job.state_before: -1, job.state: 1})


def read(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    """The totals by name, and the jobs by state, the worst first."""
    return summed(session.execute(select(Total.name, Total.value)))


def summed(rows: Iterable[Sequence[Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """As `read`, of the names and values that are stored."""
    named: dict[str, int] = defaultdict(int)
    states = dict.fromkeys(STATE_RANKS, 0)
    for name, value in rows:
        if name.startswith(_STATE):
            states[name.split(":")[1]] += value
        else:
            named[name] = value
    states = {state: max(0, value) for state, value in states.items()}
    states[_WELL] = max(0, named[JOBS] - sum(states.values()))
    return named, states


@event.listens_for(Session, "after_flush")
def _follow_states(session: Session, _context: UOWTransaction) -> None:
    """Whoever changes the state of a job that is loaded changes the totals; what goes straight to the table
    has to call `count_states` itself."""
    for job in session.new:
        if isinstance(job, Job):
            count_states(session.connection(), job.id, {job.state: 1})
    for job in session.dirty:
        if isinstance(job, Job) and (before := inspect(job).attrs.state.history.deleted):
            count_states(session.connection(), job.id, {before[0]: -1, job.state: 1})


def note_run(job: KnownJob, report: Report, report_id: int, *, newest: bool) -> Change:
    """Let the job hold what its newest run tells of its size; what to `add` for this report.

    A run that was cut off has seen a part only, and a failed one often tells 0: then the last size stands.
    """
    before = _sizes(job)
    if newest:
        job.last_report_id = report_id
        if not (report.partial or report.interrupted):
            job.stored_bytes = _told(report.stored_bytes, job.stored_bytes, report.good)
            job.examined_bytes = _told(report.examined_bytes, job.examined_bytes, report.good)
    uploaded = Change(runs_count=1, uploaded_bytes=_bounded(report.uploaded_bytes))
    return uploaded - (before - _sizes(job))


def _told(size: int | None, before: int | None, good: bool) -> int | None:
    return _bounded(size) if size or (good and size is not None) else before


def _sizes(job: Job | KnownJob) -> Change:
    return Change(stored_bytes=job.stored_bytes or 0, examined_bytes=job.examined_bytes or 0)


def _bounded(size: int | None) -> int:
    return min(size or 0, _LARGEST)


def _moved(column: InstrumentedAttribute[int]) -> ColumnElement[int]:
    return case((column < _FULL, column + bindparam(f"by_{column.key}")), else_=column)


_ADD = Prepared(
    update(cast(Table, ReportTotal.__table__))
    .where(ReportTotal.slot == bindparam("of_slot"))
    .values(
        runs_count=_moved(ReportTotal.runs_count),
        uploaded_bytes=_moved(ReportTotal.uploaded_bytes),
        stored_bytes=_moved(ReportTotal.stored_bytes),
        examined_bytes=_moved(ReportTotal.examined_bytes),
    )
)


def add(connection: Connection, job_id: int, change: Change) -> None:
    """The last thing a transaction does, since it holds the row until the commit."""
    _move(connection, job_id % SLOTS, change)


def _move(connection: Connection, slot: int, change: Change) -> None:
    _ADD.run(
        connection,
        {
            "of_slot": slot,
            "by_runs_count": change.runs_count,
            "by_uploaded_bytes": change.uploaded_bytes,
            "by_stored_bytes": change.stored_bytes,
            "by_examined_bytes": change.examined_bytes,
        },
    )


def of_reports(uploads: Iterable[int | None]) -> Change:
    """The runs and uploads of these reports."""
    sizes = [_bounded(each) for each in uploads]
    return Change(runs_count=len(sizes), uploaded_bytes=sum(sizes))


def remove_job(session: Session, job: Job, uploads: Iterable[int | None]) -> None:
    """After a job and these reports of it were deleted."""
    add(session.connection(), job.id, Change() - of_reports(uploads) - _sizes(job))


def remove_reports(session: Session, deleted: Iterable[tuple[int, int | None]]) -> None:
    """After reports grew too old: their jobs and uploads. The size of a job is not theirs alone and stays."""
    uploads: dict[int, list[int | None]] = defaultdict(list)
    for job_id, uploaded_bytes in deleted:
        uploads[job_id % SLOTS].append(uploaded_bytes)
    for slot in sorted(uploads):  # in one order, so that two that delete never wait for each other
        _move(session.connection(), slot, Change() - of_reports(uploads[slot]))
