"""How much is kept: from running totals, the ends of indexes and sizes of files, never by counting rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import retention, summary
from app.db import Database
from app.models import AuditEntry, QuarantinedBody, Report

MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Holdings:
    """`quarantined_count` is bounded by what the quarantine keeps at most."""

    servers_count: int
    jobs_count: int
    reports_count: int
    quarantined_count: int
    oldest_report_at: datetime | None
    oldest_audit_at: datetime | None


@dataclass(frozen=True, slots=True)
class Loss:
    """What a shorter time would delete; `is_more` where counting stopped at so many."""

    count: int
    is_more: bool
    limit_at: datetime


def read(session: Session) -> Holdings:
    sums = summary.read(session)
    bounded = select(QuarantinedBody.id).limit(retention.QUARANTINE_BODIES).subquery()
    return Holdings(
        servers_count=sums.servers_count,
        jobs_count=sums.jobs_count,
        reports_count=sums.runs_count,
        quarantined_count=session.scalar(select(func.count()).select_from(bounded)) or 0,
        oldest_report_at=session.scalar(select(func.min(Report.received_at))),
        oldest_audit_at=session.scalar(select(func.min(AuditEntry.happened_at))),
    )


def database_bytes(database: Database) -> int | None:
    """What the database takes on disk; None where that can't be told."""
    if not database.is_sqlite:
        with database.reading() as session:
            return session.scalar(select(func.pg_database_size(func.current_database())))
    name = database.engine.url.database
    return file_bytes(Path(name)) if name else None


def file_bytes(path: Path) -> int | None:
    """An SQLite file with what has not been copied into it yet."""
    try:
        size = path.stat().st_size
        log = path.with_name(f"{path.name}-wal")
        return size + (log.stat().st_size if log.exists() else 0)
    except OSError:
        return None


def lost_reports(session: Session, days: int, now: datetime) -> Loss:
    limit_at = now - timedelta(days=days)
    return _loss(session, select(Report.id).where(retention.old_report(limit_at)), limit_at)


def lost_audit_entries(session: Session, days: int, now: datetime) -> Loss:
    limit_at = now - timedelta(days=days)
    return _loss(session, select(AuditEntry.id).where(AuditEntry.happened_at < limit_at), limit_at)


def _loss(session: Session, old: Select[int], limit_at: datetime) -> Loss:
    found = old.limit(MOST_COUNTED + 1).subquery()
    count = session.scalar(select(func.count()).select_from(found)) or 0
    return Loss(min(count, MOST_COUNTED), count > MOST_COUNTED, limit_at)
