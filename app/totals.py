"""Running totals, kept in the transaction of what they count, so that no request has to count rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from sqlalchemy import ColumnElement, Connection, Table, bindparam, case, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import insert_if_absent
from app.known_job import KnownJob
from app.models import Job, ReportTotal, Total
from app.prepared import Prepared
from app.reports import Report

SERVERS = "servers"
# Rows that share the sums, so that reports which come at once do not wait for each other.
SLOTS = 16
# What a broken client claims must not overflow a sum and so keep out the reports of others.
_LARGEST = 2**50
_FULL = 2**58


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


def count(session: Session, name: str, difference: int) -> None:
    """Move the total of servers or jobs."""
    insert_if_absent(session, Total, name=name, value=0)
    session.execute(update(Total).where(Total.name == name).values(value=Total.value + difference))


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
