"""What dashboards elsewhere ask for: sums over all backups, and the last backups of one server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app import totals
from app.models import Job, Report, ReportTotal, Server
from app.overdue import State
from app.totals import JOBS, SERVERS


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
    """From running totals and the ends of indexes."""
    sums = select(
        func.sum(ReportTotal.runs_count),
        func.sum(ReportTotal.uploaded_bytes),
        func.sum(ReportTotal.stored_bytes),
        func.sum(ReportTotal.examined_bytes),
    )
    runs, uploaded, stored, examined = (max(0, int(each or 0)) for each in session.execute(sums).one())
    counts, states = totals.read(session)
    return Summary(
        servers_count=counts.get(SERVERS, 0),
        jobs_count=counts.get(JOBS, 0),
        runs_count=runs,
        uploaded_bytes=uploaded,
        stored_bytes=stored,
        examined_bytes=examined,
        overdue_count=states[State.OVERDUE],
        last_ended_at=session.scalar(select(func.max(Job.last_ended_at))),
    )


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
