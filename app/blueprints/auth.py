"""Login and logout, as JSON and as pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.csrf import generate_csrf
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from app import access, accounts, audit, clock, json_body, passwords
from app.accounts import Identity
from app.db import database
from app.extensions import csrf
from app.passwords import PasswordRefused

bp = Blueprint("auth", __name__)


class LoginForm(FlaskForm):  # type: ignore[misc]
    username = StringField(_l("User name"), [InputRequired(), Length(max=80)])
    password = PasswordField(_l("Password"), [InputRequired(), Length(max=accounts.LONGEST_PASSWORD)])
    next = HiddenField()


@bp.get("/api/csrf")
@access.public
def csrf_token() -> ResponseReturnValue:
    return jsonify(csrfToken=generate_csrf())


@bp.post("/api/auth/login")
@access.own_check
def login() -> ResponseReturnValue:
    # Demanding JSON keeps foreign sites out: their forms can't send this type.
    if not request.is_json:
        abort(415, _("Send JSON with Content-Type: application/json."))
    content = json_body.read()
    if content is None:
        abort(400, _("The body must be a JSON object with username and password."))
    for field in ("username", "password"):
        if not isinstance(content.get(field), str) or not content[field]:
            return jsonify(error=f"{field} is required"), 400
    try:
        identity = _log_in(content["username"], content["password"])
    except PasswordRefused as refusal:
        return _refused(refusal)
    return jsonify(success=True, user=_shown(identity), csrfToken=generate_csrf())


def _refused(refusal: PasswordRefused) -> ResponseReturnValue:
    if not refusal.retry_after_seconds:
        return jsonify(error="Unauthorized", message=refusal.message), 401
    headers = {"Retry-After": str(refusal.retry_after_seconds)}
    return jsonify(error="Too many requests", message=refusal.message), 429, headers


def _log_in(username: str, password: str) -> Identity:
    now = clock.utcnow()
    user = passwords.check(username, password, now)
    with database().writing() as rows:
        token = accounts.open_session(
            rows, user, address=access.address(), now=now, hours=access.settings().session_hours
        )
        audit.note(
            rows, actor=user.username, action="login", target="session", now=now, address=access.address()
        )
    access.log_in(token)
    return Identity.of(user)


@bp.post("/api/auth/logout")
@access.viewer
def logout() -> ResponseReturnValue:
    access.log_out()
    return jsonify(success=True)


@bp.get("/api/auth/me")
@access.viewer
def me() -> ResponseReturnValue:
    return jsonify(user=_shown(access.identity()))


def _shown(identity: Identity) -> dict[str, str]:
    return {"username": identity.username, "role": identity.role}


@bp.get("/login")
@access.public
def login_page() -> ResponseReturnValue:
    if access.current_identity():
        return redirect(url_for("dashboard.index"))
    form = LoginForm(next=request.args.get("next", ""))
    return render_template("auth/login.html", form=form)


@bp.post("/login")
@access.own_check
def login_form() -> ResponseReturnValue:
    csrf.protect()
    form = LoginForm()
    if not form.validate():
        return render_template("auth/login.html", form=form), 400
    try:
        _log_in(form.username.data, form.password.data)
    except PasswordRefused as refusal:
        flash(refusal.message, "error")
        return render_template("auth/login.html", form=form), 429 if refusal.retry_after_seconds else 401
    return redirect(_own_page(form.next.data) or url_for("dashboard.index"))


def _own_page(target: str | None) -> str | None:
    """The page to go on to, if it is one of ours; anything that leads elsewhere is dropped."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return None
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or any(ord(each) < 32 for each in target):
        return None
    return request.script_root + target


@bp.get("/logout")
@access.viewer
def logout_page() -> ResponseReturnValue:
    return render_template("auth/logout.html")


@bp.post("/logout")
@access.viewer
def logout_form() -> ResponseReturnValue:
    access.log_out()
    return redirect(url_for("auth.login_page"))
