"""Servers and jobs: found by what a report says, made with the first one, forgotten on demand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from app import totals
from app.checks import JOBS_TOTAL
from app.db import insert_if_absent
from app.models import STATE_RANKS, Job, Server
from app.models import Report as ReportRow
from app.overdue import State
from app.reports import Report

# Built once: a report comes far more often than a job, and finding the job is most of its work.
_FIND = (
    select(Job)
    .join(Job.server)
    .where(Server.machine_id == bindparam("machine"), Job.backup_id == bindparam("backup"))
    .options(contains_eager(Job.server), joinedload(Job.schedules))
    .with_for_update(of=Job)
)


def find(session: Session, report: Report, *, key_id: int | None, key_label: str, now: datetime) -> Job:
    """The job of a report, locked; made when the report is its first."""
    machine_id, machine_name = _machine(report, key_id, key_label)
    backup_id = report.backup_id or f"name:{report.backup_name}"
    identity = {"machine": machine_id, "backup": backup_id}
    job = session.scalars(_FIND, identity).unique().one_or_none()
    if job is None:
        if insert_if_absent(session, Server, machine_id=machine_id, name=machine_name, created_at=now):
            totals.count(session, totals.SERVERS, 1)
        server_id = session.scalars(select(Server.id).where(Server.machine_id == machine_id)).one()
        if _make(session, server_id, backup_id, report.backup_name or backup_id, now):
            totals.count(session, JOBS_TOTAL, 1)
            job = session.scalars(_FIND, identity).unique().one()
            totals.count_states(session, job.id, {State.NEW: 1})
        job = session.scalars(_FIND, identity).unique().one()
    if report.machine_name and job.server.name != report.machine_name:
        job.server.name = report.machine_name
    if report.backup_name and job.name != report.backup_name:
        job.name = report.backup_name
    return job


def _make(session: Session, server_id: int, backup_id: str, name: str, now: datetime) -> bool:
    return insert_if_absent(
        session,
        Job,
        server_id=server_id,
        backup_id=backup_id,
        name=name,
        created_at=now,
        state=str(State.NEW),
        state_rank=STATE_RANKS[State.NEW],
        state_since_at=now,
        why={"reason": str(State.NEW)},
    )


def _machine(report: Report, key_id: int | None, key_label: str) -> tuple[str, str]:
    """Old clients send no machine id: the key that carried the report stands in, kept apart by machine name
    where one is sent, so that two machines on one key never pass for each other."""
    if report.machine_id:
        return report.machine_id, report.machine_name or report.machine_id
    stand_in = f"key:{key_id if key_id is not None else 'open'}"
    if report.machine_name:
        return f"{stand_in}:{report.machine_name}", report.machine_name
    return stand_in, key_label


def forget(session: Session, job: Job) -> None:
    """Delete a job with its reports, alerts and schedules; and its server, if that was its last job."""
    server_id = job.server_id
    # Locked first, so that no report makes a job of this server that would be deleted along with it.
    session.execute(select(Server.id).where(Server.id == server_id).with_for_update())
    reports = delete(ReportRow).where(ReportRow.job_id == job.id).returning(ReportRow.uploaded_bytes)
    uploads = session.scalars(reports).all()
    state = session.scalars(delete(Job).where(Job.id == job.id).returning(Job.state)).one()
    if session.scalar(select(Job.id).where(Job.server_id == server_id).limit(1)) is None:
        session.execute(delete(Server).where(Server.id == server_id))
        totals.count(session, totals.SERVERS, -1)
    totals.count(session, JOBS_TOTAL, -1)
    totals.count_states(session, job.id, {state: -1})
    totals.remove_job(session, job, uploads)
