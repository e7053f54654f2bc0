"""Deletes what has grown too old, in small steps that let other writers in between."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app import totals
from app.clearing import MayGoOn, Old, clear
from app.db import Database
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

# A client that sends nothing usable must not fill the disk: the newest show what is wrong as well as all.
QUARANTINE_BODIES = 500
QUARANTINE_BYTES = 256 * 1024 * 1024
TASK_RUN_DAYS = 90
LOGIN_FAILURE_DAYS = 1


def _always() -> bool:
    return True


def remove_audit_entries(database: Database, days: int, now: datetime, may_go_on: MayGoOn = _always) -> int:
    """Delete the entries older than so many days; returns how many."""
    limit_at = now - timedelta(days=days)
    return clear(database, Old(AuditEntry, AuditEntry.id, AuditEntry.happened_at, limit_at), may_go_on)


def remove_stored_data(
    database: Database, report_days: int, now: datetime, may_go_on: MayGoOn = _always
) -> dict[str, int]:
    """Delete old reports and what ages with them; returns how many of each kind.

    Stops between two steps when `may_go_on` says no: the next run continues.
    """
    limit_at, forgotten_at = now - timedelta(days=report_days), now - timedelta(days=TASK_RUN_DAYS)
    failure_at = now - timedelta(days=LOGIN_FAILURE_DAYS)
    steps = {
        "reports": Old(
            Report,
            Report.id,
            Report.received_at,
            limit_at,
            _is_replaced(),
            (Report.job_id, Report.uploaded_bytes),
            totals.remove_reports,
        ),
        "quarantined bodies": Old(QuarantinedBody, QuarantinedBody.id, QuarantinedBody.received_at, limit_at),
        "alerts": Old(Alert, Alert.id, Alert.created_at, limit_at, _is_delivered()),
        "task runs": Old(TaskRun, TaskRun.id, TaskRun.started_at, forgotten_at, _is_not_the_last()),
        "downtimes": Old(Downtime, Downtime.id, Downtime.ended_at, forgotten_at),
        "sessions": Old(UserSession, UserSession.token_hash, UserSession.expires_at, now),
        "login failures": Old(
            LoginFailure, LoginFailure.username, LoginFailure.last_at, failure_at, _is_unlocked(now)
        ),
    }
    return {name: clear(database, old, may_go_on) for name, old in steps.items()}


def old_report(limit_at: datetime) -> ColumnElement[bool]:
    return and_(Report.received_at < limit_at, _is_replaced())


def _is_replaced() -> ColumnElement[bool]:
    newer = aliased(Report)
    # As one value of two parts, which an index of both finds at once.
    ended_later = tuple_(newer.ended_at, newer.id) > tuple_(Report.ended_at, Report.id)
    is_not_the_newest = exists().where(newer.job_id == Report.job_id, ended_later)
    # The newest may be a dry run, which is not shown as the last backup.
    is_shown = exists().where(Job.id == Report.job_id, Job.last_report_id == Report.id)
    return and_(is_not_the_newest, not_(is_shown))


def _is_delivered() -> ColumnElement[bool]:
    return ~exists().where(Delivery.alert_id == Alert.id, Delivery.next_attempt_at.is_not(None))


def _is_not_the_last() -> ColumnElement[bool]:
    # The last one of each task says when it ran last, however long ago. To look for a newer one is a step in
    # an index; to look for the last one of all tasks, while others wait to write, would be all of it.
    newer = aliased(TaskRun)
    is_newer = (newer.task == TaskRun.task, newer.id > TaskRun.id, newer.finished_at.is_not(None))
    return or_(TaskRun.finished_at.is_(None), exists().where(*is_newer))


def _is_unlocked(now: datetime) -> ColumnElement[bool]:
    return or_(LoginFailure.locked_until_at.is_(None), LoginFailure.locked_until_at < now)


def make_room_in_quarantine(session: Session, size_bytes: int) -> None:
    """Delete the oldest bodies until one more of this size fits in."""
    query = select(QuarantinedBody.id, func.length(QuarantinedBody.compressed))
    kept, left_bytes = 1, QUARANTINE_BYTES - size_bytes
    for body_id, length in session.execute(query.order_by(QuarantinedBody.id.desc())).all():
        kept, left_bytes = kept + 1, left_bytes - length
        if kept > QUARANTINE_BODIES or left_bytes < 0:
            session.execute(delete(QuarantinedBody).where(QuarantinedBody.id <= body_id))
            return
