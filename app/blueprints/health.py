"""Whether Veilleur itself is well: the database answers, and checks are being made."""

from __future__ import annotations

import logging

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from app import access, clock, watch
from app.db import database

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
    try:
        with database().reading() as rows:
            checks = watch.look(rows, now)
    except SQLAlchemyError as problem:
        log.error("health: the database can't be read: %s", problem)
        return jsonify(status="error", database="error", cron="unknown", lastCheckAt=None), 503
    content = {
        "status": "ok" if checks.is_well else "error",
        "database": "ok",
        "cron": checks.state,
        "lastCheckAt": clock.iso(checks.completed_at),
    }
    if checks.disabled_until:
        content["disabledUntil"] = clock.iso(checks.disabled_until)
    return jsonify(content), 200 if checks.is_well else 503
