"""Deletes what has grown too old, in small steps that let other writers in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app import totals
from app.db import Base, Database
from app.models import (
    Alert,
    AuditEntry,
    Delivery,
    Downtime,
    Job,
    LoginFailure,
    QuarantinedBody,
    Report,
    TaskRun,
    UserSession,
)

BATCH = 500
# A client that sends nothing usable must not fill the disk: the newest show what is wrong as well as all.
QUARANTINE_BODIES = 500
QUARANTINE_BYTES = 256 * 1024 * 1024
TASK_RUN_DAYS = 90
LOGIN_FAILURE_DAYS = 1

MayGoOn = Callable[[], bool]


def _always() -> bool:
    return True


def remove_audit_entries(database: Database, days: int, now: datetime, may_go_on: MayGoOn = _always) -> int:
    """Delete the entries older than so many days; returns how many."""
    old = AuditEntry.happened_at < now - timedelta(days=days)
    return _remove(database, AuditEntry, AuditEntry.id, old, may_go_on)


def remove_stored_data(
    database: Database, report_days: int, now: datetime, may_go_on: MayGoOn = _always
) -> dict[str, int]:
    """Delete old reports and what ages with them; returns how many of each kind.

    Stops between two steps when `may_go_on` says no: the next run continues.
    """
    limit_at = now - timedelta(days=report_days)
    steps: dict[str, tuple[type[Base], InstrumentedAttribute[Any], ColumnElement[bool]]] = {
        "reports": (Report, Report.id, old_report(limit_at)),
        "quarantined bodies": (QuarantinedBody, QuarantinedBody.id, QuarantinedBody.received_at < limit_at),
        "alerts": (Alert, Alert.id, _old_alert(limit_at)),
        "task runs": (TaskRun, TaskRun.id, _old_task_run(now - timedelta(days=TASK_RUN_DAYS))),
        "downtimes": (Downtime, Downtime.id, Downtime.ended_at < now - timedelta(days=TASK_RUN_DAYS)),
        "sessions": (UserSession, UserSession.token_hash, UserSession.expires_at < now),
        "login failures": (LoginFailure, LoginFailure.username, _old_login_failure(now)),
    }
    return {name: _remove(database, *step, may_go_on) for name, step in steps.items()}


def old_report(limit_at: datetime) -> ColumnElement[bool]:
    newer = aliased(Report)
    ended_later = or_(
        newer.ended_at > Report.ended_at, and_(newer.ended_at == Report.ended_at, newer.id > Report.id)
    )
    is_not_the_newest = exists().where(newer.job_id == Report.job_id, ended_later)
    # The newest may be a dry run, which is not shown as the last backup.
    is_shown = exists().where(Job.id == Report.job_id, Job.last_report_id == Report.id)
    return and_(Report.received_at < limit_at, is_not_the_newest, not_(is_shown))


def _old_alert(limit_at: datetime) -> ColumnElement[bool]:
    undelivered = exists().where(Delivery.alert_id == Alert.id, Delivery.next_attempt_at.is_not(None))
    return and_(Alert.created_at < limit_at, not_(undelivered))


def _old_task_run(limit_at: datetime) -> ColumnElement[bool]:
    # The last one of each task says when it ran last, however long ago.
    last = select(func.max(TaskRun.id)).where(TaskRun.finished_at.is_not(None)).group_by(TaskRun.task)
    return and_(TaskRun.started_at < limit_at, TaskRun.id.not_in(last))


def _old_login_failure(now: datetime) -> ColumnElement[bool]:
    unlocked = or_(LoginFailure.locked_until_at.is_(None), LoginFailure.locked_until_at < now)
    return and_(LoginFailure.last_at < now - timedelta(days=LOGIN_FAILURE_DAYS), unlocked)


def _remove(
    database: Database,
    model: type[Base],
    key: InstrumentedAttribute[Any],
    condition: ColumnElement[bool],
    may_go_on: MayGoOn,
) -> int:
    removed = 0
    while may_go_on():
        with database.writing() as session:
            # What somebody else is deleting is left to them: to wait for it could be for ever.
            old = select(key).where(condition).limit(BATCH).with_for_update(skip_locked=True, of=model)
            keys = session.scalars(old).all()
            if keys:
                _delete(session, model, key.in_(keys))
        removed += len(keys)
        if len(keys) < BATCH:
            break
    return removed


def _delete(session: Session, model: type[Base], condition: ColumnElement[bool]) -> None:
    if model is Report:
        deleted = delete(Report).where(condition).returning(Report.job_id, Report.uploaded_bytes)
        totals.remove_reports(session, [(row[0], row[1]) for row in session.execute(deleted)])
    else:
        session.execute(delete(model).where(condition))


def make_room_in_quarantine(session: Session, size_bytes: int) -> None:
    """Delete the oldest bodies until one more of this size fits in."""
    query = select(QuarantinedBody.id, func.length(QuarantinedBody.compressed))
    kept, left_bytes = 1, QUARANTINE_BYTES - size_bytes
    for body_id, length in session.execute(query.order_by(QuarantinedBody.id.desc())).all():
        kept, left_bytes = kept + 1, left_bytes - length
        if kept > QUARANTINE_BODIES or left_bytes < 0:
            session.execute(delete(QuarantinedBody).where(QuarantinedBody.id <= body_id))
            return
