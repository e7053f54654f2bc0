"""Whether Veilleur itself is well: the database answers, and checks are being made."""

from __future__ import annotations

import logging

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import access, channels, clock, watch
from app.db import database, reason
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
            checks = watch.look(rows, now)
            told = _channels(rows)
    except SQLAlchemyError as problem:
        log.error("health: the database can't be read: %s", reason(problem))
        content: dict[str, object] = {"status": "error", "database": "error"}
        content |= {"cron": "unknown", "lastCheckAt": None, "spooledReports": spooled}
        return jsonify(content), 503
    well = checks.is_well and told["status"] != channels.FAILING
    content = {
        "status": _status(well, told["status"]),
        "database": "ok",
        "cron": checks.state,
        "lastCheckAt": clock.iso(checks.completed_at),
        "channels": told,
        "spooledReports": spooled,
    }
    if checks.disabled_until:
        content["disabledUntil"] = clock.iso(checks.disabled_until)
    return jsonify(content), 200 if well else 503


def _status(well: bool, channel_status: object) -> str:
    if not well:
        return "error"
    return "degraded" if channel_status == channels.DEGRADED else "ok"


def _channels(rows: Session) -> dict[str, object]:
    """Names and the receivers' words only for those who may read without a login, or are logged in."""
    failing = channels.failing_channels(rows)
    told: dict[str, object] = {"status": channels.state(rows, len(failing)), "failingCount": len(failing)}
    if access.settings().public_reads or access.current_identity():
        told["failing"] = [
            {"name": each.name, "kind": each.kind, "sinceAt": clock.iso(each.since_at), "detail": each.detail}
            for each in failing
        ]
    return told
