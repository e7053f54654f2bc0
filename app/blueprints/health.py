"""Whether Veilleur itself is well: the database answers, and checks are being made."""

from __future__ import annotations

import logging
from datetime import datetime

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import access, clock, interval
from app.checks import TASK
from app.db import database, reason
from app.models import TaskRun
from app.spool import Spool

bp = Blueprint("health", __name__)
log = logging.getLogger(__name__)


@bp.get("/api/ping")
@access.public
def ping() -> ResponseReturnValue:
    return jsonify(status="ok", at=clock.iso(clock.utcnow()))


@bp.get("/api/health")
@access.public
def health() -> ResponseReturnValue:
    """200 when all is well, 503 when a part is not; each part says how it is."""
    now = clock.utcnow()
    spool: Spool = current_app.extensions["spool"]
    spooled = spool.count()
    try:
        with database().reading() as rows:
            last_check_at = _last_check_at(rows)
    except SQLAlchemyError as problem:
        log.error("health: the database can't be read: %s", reason(problem))
        content: dict[str, object] = {"status": "error", "database": "error"}
        content |= {"cron": "unknown", "lastCheckAt": None, "spooledReports": spooled}
        return jsonify(content), 503
    cron = _cron_state(last_check_at, now)
    well = cron in ("ok", "disabled")
    content = {
        "status": "ok" if well else "error",
        "database": "ok",
        "cron": cron,
        "lastCheckAt": clock.iso(last_check_at),
        "spooledReports": spooled,
    }
    return jsonify(content), 200 if well else 503


def _last_check_at(rows: Session) -> datetime | None:
    newest = (
        select(TaskRun.finished_at)
        .where(TaskRun.task == TASK, TaskRun.succeeded.is_(True))
        .order_by(TaskRun.id.desc())
        .limit(1)
    )
    return rows.scalar(newest)


def _cron_state(last_check_at: datetime | None, now: datetime) -> str:
    reader: interval.Reader = current_app.extensions["interval"]
    try:
        config = reader.read()
    except (interval.IntervalFileDamaged, OSError):
        return "configuration damaged"
    if not config.enabled:
        return "disabled"
    if last_check_at is None:
        return "never ran"
    return "stale" if config.has_missed_checks(last_check_at, now) else "ok"
