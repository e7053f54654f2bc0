"""The HTTP side of the cron service, on its own port."""

from __future__ import annotations

import hmac

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from app import interval_exchange
from app.cron.calls import Busy, ConfigUnusable, IntervalDisabled
from app.cron.service import CronService
from app.interval import CronConfig, IntervalFileDamaged
from app.settings import Settings

bp = Blueprint("cron_control", __name__)

LARGEST_BODY_BYTES = 64 * 1024
_SERVICE = "cron_service"
_TOKEN = "cron_token"  # noqa: S105  (the name of an entry, not a secret)


def create_control_app(service: CronService, settings: Settings) -> Flask:
    """A small application with nothing in it but the control of this service."""
    if not settings.cron_token:
        raise ValueError("without a token anybody could drive the cron service")
    app = Flask("veilleur-cron", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[_SERVICE] = service
    app.extensions[_TOKEN] = settings.cron_token
    app.before_request(_demand_token)
    app.register_error_handler(HTTPException, _as_json)
    app.register_blueprint(bp)
    return app


def _service() -> CronService:
    found: CronService = current_app.extensions[_SERVICE]
    return found


def _demand_token() -> ResponseReturnValue | None:
    if request.endpoint == f"{bp.name}.health":
        return None
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    expected: str = current_app.extensions[_TOKEN]
    if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), expected.encode()):
        return None
    return jsonify(error="Unauthorized"), 401


def _as_json(problem: HTTPException) -> ResponseReturnValue:
    answer = problem.get_response()
    answer.data = jsonify(error=problem.name).data
    answer.content_type = "application/json"
    return answer


@bp.errorhandler(Busy)
def _busy(problem: Busy) -> ResponseReturnValue:
    return jsonify(error=str(problem)), 503


def _unknown() -> ResponseReturnValue:
    return jsonify(error="Unknown task", known=list(_service().tasks)), 404


@bp.get("/health")
def health() -> ResponseReturnValue:
    found = _service().status.health() | {"heartbeat": _service().heartbeat.shown()}
    return jsonify(found), 200 if found["isRunning"] else 503


@bp.post("/trigger/<task>")
def trigger(task: str) -> ResponseReturnValue:
    if task not in _service().tasks:
        return _unknown()
    outcome = _service().trigger(task)
    answer = {"taskName": task, "success": outcome.succeeded, "message": outcome.message}
    if not outcome.succeeded:
        return jsonify(answer), 500
    return jsonify(answer | {"statistics": dict(outcome.statistics)})


@bp.post("/start/<task>")
def start(task: str) -> ResponseReturnValue:
    if task not in _service().tasks:
        return _unknown()
    try:
        _service().start_task(task)
    except IntervalDisabled as refusal:
        return jsonify(error=str(refusal)), 409
    return jsonify(message=f"Task {task} started")


@bp.post("/stop/<task>")
def stop(task: str) -> ResponseReturnValue:
    if task not in _service().tasks:
        return _unknown()
    _service().stop_task(task)
    return jsonify(message=f"Task {task} stopped")


def _told_interval() -> CronConfig | None:
    raw = request.get_data().strip()
    return None if raw in (b"", b"{}") else interval_exchange.received(raw)


@bp.post("/reload-config")
def reload_config() -> ResponseReturnValue:
    """With the content of an interval file as body, our own file follows that, unless it is newer."""
    try:
        _service().reload(_told_interval())
    except IntervalFileDamaged as problem:
        return jsonify(error=f"The body can't be used as an interval: {problem}"), 400
    except ConfigUnusable as problem:
        return jsonify(error=str(problem)), 500
    return jsonify(message="Configuration reloaded successfully")
