"""Servers and jobs: found by what a report says, made with the first one, forgotten on demand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from app import known_job, totals
from app.db import insert_if_absent, session_on
from app.known_job import KnownJob
from app.models import STATE_RANKS, Job, Server
from app.models import Report as ReportRow
from app.overdue import State
from app.reports import Report


def find(
    connection: Connection, report: Report, *, key_id: int | None, key_label: str, now: datetime
) -> KnownJob:
    """The job of a report, locked; made when the report is its first. What it is called now is not saved."""
    machine_id, machine_name = _machine(report, key_id, key_label)
    backup_id = report.backup_id or f"name:{report.backup_name}"
    job = known_job.find(connection, machine_id, backup_id)
    if job is None:
        with session_on(connection) as session:
            names = (machine_id, machine_name), (backup_id, report.backup_name or backup_id)
            is_new = _make(session, *names, now)
        job = known_job.find(connection, machine_id, backup_id)
        if job is None:
            raise NoResultFound("the job was deleted in the moment it was made")
        job.is_new = is_new
    job.server_name = report.machine_name or job.server_name
    job.name = report.backup_name or job.name
    return job


def _make(session: Session, machine: tuple[str, str], backup: tuple[str, str], now: datetime) -> bool:
    """The server, unless it is there, and the job, of each the identity and the name; whether the job is new.
    Its state is for the caller to count."""
    connection = session.connection()
    if insert_if_absent(session, Server, machine_id=machine[0], name=machine[1], created_at=now):
        totals.count(connection, totals.SERVERS, 1)
    server_id = session.scalars(select(Server.id).where(Server.machine_id == machine[0])).one()
    is_new = _make_job(session, server_id, *backup, now)
    if is_new:
        totals.count(connection, totals.JOBS, 1)
    return is_new


def _make_job(session: Session, server_id: int, backup_id: str, name: str, now: datetime) -> bool:
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
        totals.count(session.connection(), totals.SERVERS, -1)
    totals.count(session.connection(), totals.JOBS, -1)
    totals.count_states(session.connection(), job.id, {state: -1})
    totals.remove_job(session, job, uploads)
