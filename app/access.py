"""Who may call which view. A view without a rule is refused to everybody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from flask import (
    Flask,
    abort,
    current_app,
    g,
    has_request_context,
    jsonify,
    redirect,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError

from app import accounts, clock, keys, stored_settings
from app.accounts import Identity
from app.db import database, reason
from app.extensions import csrf
from app.settings import Settings

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])

SESSION_TOKEN = "login"  # noqa: S105  (the name of a key in the cookie, not a secret)
_RENEWAL_WAIT_SECONDS = 0.2
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Rule(Enum):
    PUBLIC = "public"  # anybody; no session is looked at
    PUBLIC_READ = "public read"  # anybody, or a login where VEILLEUR_PUBLIC_READS=0
    READ_KEY = "read key"  # whoever has a key of scope `read`, or is logged in
    OWN_CHECK = "own check"  # the view checks a key or a password by itself
    VIEWER = "viewer"
    ADMINISTRATOR = "administrator"


def _declare(rule: Rule) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.access_rule = rule  # type: ignore[attr-defined]
        return view

    return mark


public = _declare(Rule.PUBLIC)
public_read = _declare(Rule.PUBLIC_READ)
read_key = _declare(Rule.READ_KEY)
own_check = _declare(Rule.OWN_CHECK)
viewer = _declare(Rule.VIEWER)
administrator = _declare(Rule.ADMINISTRATOR)


def rule_of(app: Flask, endpoint: str) -> Rule | None:
    """The rule of an endpoint; None when it declares none (then nobody gets in)."""
    if endpoint == "static" or endpoint.endswith(".static"):
        return Rule.PUBLIC
    return getattr(app.view_functions.get(endpoint), "access_rule", None)


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found


def settings_in_force() -> Settings:
    """With what was chosen on pages, read once per request."""
    if "settings_in_force" not in g:
        g.settings_in_force = stored_settings.in_force(database(), settings())
    found: Settings = g.settings_in_force
    return found


def reader() -> Identity | None:
    """Whoever a page is written for; nobody in particular where no session is looked at, as on pages that
    caches may keep."""
    if not has_request_context():
        return None
    is_for_all = request.endpoint and rule_of(current_app, request.endpoint) is Rule.PUBLIC
    return None if is_for_all else current_identity()


def timezone() -> str:
    """The zone in which whoever looks reads and enters times: their own, else the installation's."""
    identity = reader()
    own = identity.timezone if identity else None
    return own if own and _is_zone(own) else settings().timezone


def _is_zone(name: str) -> bool:
    # A name that is no file of the zone database ends in one of several errors.
    try:
        return bool(ZoneInfo(name))
    except (ValueError, OSError, LookupError):
        return False


def is_api() -> bool:
    return request.path.startswith("/api/")


def enforce() -> ResponseReturnValue | None:
    """Before every request: let it pass, or answer in its place."""
    endpoint = request.endpoint
    if endpoint is None:
        return None
    rule = rule_of(current_app, endpoint)
    if rule in (Rule.PUBLIC, Rule.OWN_CHECK):
        return None
    if rule is Rule.PUBLIC_READ and settings().public_reads:
        return None
    if rule is Rule.READ_KEY:
        return _check_read_key()
    if rule is None:
        abort(403)
    identity = current_identity()
    if identity is None:
        return _unauthorized(_("You are not logged in, or your session has expired."))
    if request.method not in _SAFE_METHODS:
        refused = _check_csrf()
        if refused is not None:
            return refused
    if rule is Rule.ADMINISTRATOR and not identity.is_administrator:
        return _forbidden()
    return None


def _check_read_key() -> ResponseReturnValue | None:
    key = keys.given()
    if (key and keys.may_read(key)) or current_identity() is not None:
        return None
    return keys.refused(address(), _("Add a valid key of scope read, or log in."))


def _check_csrf() -> ResponseReturnValue | None:
    try:
        csrf.protect()
    except CSRFError as problem:
        if not is_api():
            raise
        return _unauthorized(_("CSRF token refused: %(reason)s", reason=problem.description))
    return None


def _unauthorized(message: str) -> ResponseReturnValue:
    if is_api():
        return jsonify(error="Unauthorized", message=message), 401
    target = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("auth.login_page", next=target))


def _forbidden() -> ResponseReturnValue:
    message = _("This needs an administrator.")
    if not is_api():
        abort(403, message)
    return jsonify(error="Forbidden", message=message), 403


def current_identity() -> Identity | None:
    """Who is logged in, read once per request; None for a stranger."""
    if "identity" not in g:
        g.identity = _read_identity()
    found: Identity | None = g.identity
    return found


def identity() -> Identity:
    """Who is logged in, in views whose rule demands a login."""
    found = current_identity()
    if found is None:
        abort(401)
    return found


def _read_identity() -> Identity | None:
    token = session.get(SESSION_TOKEN)
    if not isinstance(token, str):
        return None
    now = clock.utcnow()
    with database().asking() as rows:
        identity, old = accounts.identify(rows, token, now)
    if identity is not None and old:
        _renew(token, now)
    return identity


def _renew(token: str, now: datetime) -> None:
    try:
        with database().waiting(_RENEWAL_WAIT_SECONDS).writing() as rows:
            accounts.renew(rows, token, now, settings().session_hours)
    except SQLAlchemyError as problem:
        # A page that only reads need not fail for it; the next request tries again.
        log.warning("a session could not be renewed: %s", reason(problem))
        return
    session.modified = True  # the cookie carries its own age and is renewed along


def log_in(token: str) -> None:
    """Start the cookie anew, so that nothing from before the login is left in it or goes on beside it."""
    log_out()
    session[SESSION_TOKEN] = token
    session.permanent = True
    g.pop("csrf_token", None)


def log_out() -> None:
    token = session.get(SESSION_TOKEN)
    if isinstance(token, str):
        with database().writing() as rows:
            accounts.close_session(rows, token)
    session.clear()
    g.pop("identity", None)


def session_hash() -> str:
    """How the session of this request is stored; empty for a stranger."""
    token = session.get(SESSION_TOKEN)
    return accounts.digest(token) if isinstance(token, str) else ""


def actor() -> str:
    """The name for the audit log."""
    identity = current_identity()
    return identity.username if identity else "-"


def address() -> str:
    """The caller's address, after the trusted proxies only."""
    return request.remote_addr or "-"
