"""Forwards /api/cron/ to the cron service."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from app import access
from app.cron_client import Answer, CronClient, CronServiceUnavailable, safe_path

BODY_LIMIT_BYTES = 1024 * 1024
QUERY_LIMIT_BYTES = 4 * 1024

bp = Blueprint("proxy", __name__)


@bp.url_value_preprocessor
def take_body(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Read the body before the CSRF check does, which looks for forms and would leave nothing to forward."""
    if request.method == "POST":
        _body()


@bp.get("/api/cron/<path:path>", merge_slashes=False, provide_automatic_options=False)
@access.public_read
def read(path: str) -> Response:
    return _handed_back(_client().get(_allowed(path), _query()))


@bp.post("/api/cron/<path:path>", merge_slashes=False, provide_automatic_options=False)
@access.administrator
def act(path: str) -> Response:
    allowed, query, body = _allowed(path), _query(), _body()
    return _handed_back(_client().post(allowed, query, body, request.content_type))


@bp.errorhandler(CronServiceUnavailable)
def not_running(error: CronServiceUnavailable) -> tuple[Response, int]:
    current_app.logger.warning("no answer from the cron service: %s", error)
    message = "The cron service is not available. Please start it with: flask cron-start"
    return jsonify(error="Cron service is not running", message=message), 503


def _client() -> CronClient:
    client: CronClient = current_app.extensions["cron_client"]
    return client


def _allowed(path: str) -> str:
    allowed = safe_path(path)
    if allowed is None:
        abort(404)
    return allowed


def _query() -> bytes:
    if len(request.query_string) > QUERY_LIMIT_BYTES:
        abort(414)
    return request.query_string


def _body() -> bytes:
    # One more than allowed: at the limit itself a chunked body is cut without a word.
    request.max_content_length = BODY_LIMIT_BYTES + 1
    body = request.get_data()
    if len(body) > BODY_LIMIT_BYTES:
        raise RequestEntityTooLarge
    return body


def _handed_back(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    if answer.content_type is None:
        del response.headers["Content-Type"]
    else:
        response.headers["Content-Type"] = answer.content_type
    return response
