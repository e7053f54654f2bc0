"""What dashboards elsewhere ask for: sums over all backups, and the last backups of one server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Row, func, literal_column, select
from sqlalchemy.orm import Session

from app.checks import JOBS_TOTAL
from app.models import Job, Report, ReportTotal, Server, Total
from app.overdue import State
from app.totals import SERVERS


@dataclass(frozen=True, slots=True)
class Summary:
    servers_count: int
    jobs_count: int
    runs_count: int
    uploaded_bytes: int
    stored_bytes: int
    examined_bytes: int
    overdue_count: int
    last_ended_at: datetime | None


def read(session: Session) -> Summary:
    """From running totals and the ends of indexes; only the overdue jobs are counted one by one."""
    sums = select(
        func.sum(ReportTotal.runs_count),
        func.sum(ReportTotal.uploaded_bytes),
        func.sum(ReportTotal.stored_bytes),
        func.sum(ReportTotal.examined_bytes),
    )
    runs, uploaded, stored, examined = (max(0, int(each or 0)) for each in session.execute(sums).one())
    named = select(Total.name, Total.value).where(Total.name.in_((SERVERS, JOBS_TOTAL)))
    counts = {row[0]: row[1] for row in session.execute(named)}
    return Summary(
        servers_count=counts.get(SERVERS, 0),
        jobs_count=counts.get(JOBS_TOTAL, 0),
        runs_count=runs,
        uploaded_bytes=uploaded,
        stored_bytes=stored,
        examined_bytes=examined,
        overdue_count=_overdue_count(session),
        last_ended_at=session.scalar(select(func.max(Job.last_ended_at))),
    )


def _overdue_count(session: Session) -> int:
    # Spelled out: with a bound value SQLite would not take the partial index.
    not_ok: ColumnElement[bool] = literal_column("state <> 'ok'")
    query = select(func.count()).select_from(Job).where(not_ok, Job.state == str(State.OVERDUE))
    return session.scalar(query) or 0


def find_servers(session: Session, name: str, limit: int) -> Sequence[Server]:
    """The server with this machine-id, or else the newest servers with this name."""
    if "\0" in name:
        return []
    by_id = session.scalar(select(Server).where(Server.machine_id == name))
    if by_id is not None:
        return [by_id]
    named = select(Server).where(Server.name == name).order_by(Server.id.desc()).limit(limit)
    return session.scalars(named).all()


def last_backups(session: Session, server: Server, limit: int) -> Sequence[Row[Job, Report]]:
    """The last run of each job, the newest first; jobs that only tried one out are left out."""
    query = select(Job, Report).join(Report, Report.id == Job.last_report_id)
    newest = query.where(Job.server_id == server.id).order_by(Job.last_ended_at.desc())
    return session.execute(newest.limit(limit)).all()
