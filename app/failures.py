"""Errors as people and programs should see them: JSON under /api/, a page elsewhere, never a stack trace."""

from __future__ import annotations

import logging

from flask import Flask, Response, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, ServiceUnavailable

from app import access
from app.db import reason

log = logging.getLogger(__name__)

# Under /api/ they stay English, as every answer to a program does.
_NAMES = {
    400: _l("Bad request"),
    401: _l("Unauthorized"),
    403: _l("Forbidden"),
    404: _l("Not found"),
    405: _l("Method not allowed"),
    408: _l("Request timeout"),
    413: _l("Too large"),
    414: _l("URI too long"),
    415: _l("Unsupported media type"),
    429: _l("Too many requests"),
    500: _l("Internal server error"),
    503: _l("Service unavailable"),
}
_EXPLANATIONS = {
    400: _l("The browser sent something that can't be understood. Go back, reload the page and try again."),
    401: _l("Log in to see this."),
    403: _l("You may not see or change this."),
    404: _l("There is no such page: the address is wrong, or what it showed has been deleted."),
    405: _l("This address can't be called in this way. Go back and use the buttons of the page."),
    408: _l("The request took too long to arrive. Try again."),
    413: _l("More was sent than is taken here."),
    414: _l("The address is too long."),
    415: _l("What was sent is of a type that is not taken here."),
    429: _l("Too many requests came in a short time. Wait a minute and try again."),
    500: _l("Something went wrong in Veilleur; the log says what. What you tried may not have been done."),
    503: _l("Veilleur can't answer right now. Try again in a minute."),
}
_CSRF_REASONS = {
    "The CSRF token is missing.": _l("The CSRF token is missing."),
    "The CSRF session token is missing.": _l("The CSRF session token is missing."),
    "The CSRF token has expired.": _l("The CSRF token has expired."),
    "The CSRF token is invalid.": _l("The CSRF token is invalid."),
    "The CSRF tokens do not match.": _l("The CSRF tokens do not match."),
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
    if access.is_api():
        answer = _as_json(problem, code)
    else:
        _know_the_reader()
        answer = _as_page(problem, code)
    if isinstance(problem, MethodNotAllowed) and problem.valid_methods:
        answer.headers["Allow"] = ", ".join(problem.valid_methods)
    return answer


def _as_json(problem: HTTPException, code: int) -> Response:
    content = {"error": str(_NAMES.get(code, problem.name))}
    if problem.description and problem.description != type(problem).description:
        content["message"] = problem.description
    answer = jsonify(content)
    answer.status_code = code
    return answer


def _as_page(problem: HTTPException, code: int) -> Response:
    told = problem.description != type(problem).description
    page = render_template(
        "error.html",
        code=code,
        name=_NAMES.get(code, problem.name),
        description=problem.description if told else _EXPLANATIONS.get(code, problem.description),
    )
    return Response(page, status=code)


def _know_the_reader() -> None:
    """Whose language the page is to speak; an error page must not fail again on the database."""
    try:
        access.current_identity()
    except SQLAlchemyError:
        g.identity = None


def _csrf(problem: CSRFError) -> ResponseReturnValue:
    _know_the_reader()
    reason_given = _CSRF_REASONS.get(problem.description, problem.description)
    advice = _("Go back, reload the page and try again.")
    problem.description = f"{reason_given} {advice}"
    return _http(problem)


def _database(problem: SQLAlchemyError) -> ResponseReturnValue:
    if "identity" not in g:
        g.identity = None  # asking for it is what failed, or would fail again
    log.error("database failed in %s %s: %s", request.method, request.path, reason(problem))
    return _http(ServiceUnavailable(_("The database can't be used right now; the log says why.")))
