"""Errors as people and programs should see them: JSON under /api/, a page elsewhere, never a stack trace."""

from __future__ import annotations

import logging

from flask import Flask, Response, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, ServiceUnavailable

from app import access
from app.db import reason

log = logging.getLogger(__name__)

_API_NAMES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Too large",
    414: "URI too long",
    415: "Unsupported media type",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(SQLAlchemyError, _database)


def _http(problem: HTTPException) -> ResponseReturnValue:
    code = problem.code or 500
    if problem.response is not None or code < 400:
        return problem.get_response()
    # Flask hands over the original with a 500; it is logged by then and stays inside.
    if isinstance(problem, InternalServerError):
        problem = InternalServerError()
    answer = _as_json(problem, code) if access.is_api() else _as_page(problem, code)
    if isinstance(problem, MethodNotAllowed) and problem.valid_methods:
        answer.headers["Allow"] = ", ".join(problem.valid_methods)
    return answer


def _as_json(problem: HTTPException, code: int) -> Response:
    content = {"error": _API_NAMES.get(code, problem.name)}
    if problem.description and problem.description != type(problem).description:
        content["message"] = problem.description
    answer = jsonify(content)
    answer.status_code = code
    return answer


def _as_page(problem: HTTPException, code: int) -> Response:
    if "identity" not in g:
        g.identity = None  # an error page must not fail again on the database
    page = render_template("error.html", code=code, name=problem.name, description=problem.description)
    return Response(page, status=code)


def _csrf(problem: CSRFError) -> ResponseReturnValue:
    problem.description = f"{problem.description} Go back, reload the page and try again."
    return _http(problem)


def _database(problem: SQLAlchemyError) -> ResponseReturnValue:
    log.error("database failed in %s %s: %s", request.method, request.path, reason(problem))
    return _http(ServiceUnavailable("The database can't be used right now; the log says why."))
