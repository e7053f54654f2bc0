"""The own account: password, language, time zone and open logins."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from app import access, accounts, clock, job_forms, passwords, sessions, trace
from app.account_forms import OwnPasswordForm, PreferencesForm
from app.db import database
from app.models import User
from app.passwords import PasswordRefused

OTHERS = "others"

bp = Blueprint("account", __name__, url_prefix="/account")


@bp.get("")
@access.viewer
def index() -> str:
    return _page(OwnPasswordForm(formdata=None), _stored_preferences())


def _page(password_form: OwnPasswordForm, preferences: PreferencesForm) -> str:
    with database().reading() as rows:
        opened = sessions.of_user(rows, access.identity().user_id, access.session_hash(), clock.utcnow())
    return render_template(
        "account/index.html",
        user=access.identity(),
        password_form=password_form,
        preferences=preferences,
        sessions=opened,
        others=OTHERS,
        has_more=len(opened) == sessions.SHOWN,
        zones=job_forms.zones(),
        shortest_password=accounts.SHORTEST_PASSWORD,
        installation_zone=access.settings().timezone,
    )


def _stored_preferences() -> PreferencesForm:
    user = access.identity()
    return PreferencesForm(formdata=None, language=user.language or "", timezone=user.timezone or "").offer()


@bp.post("/password")
@access.viewer
def change_password() -> ResponseReturnValue:
    """Ends every other login; this one goes on."""
    form = OwnPasswordForm()
    status = 200 if form.validate() else 400
    if status == 200:
        status = _check_current(form)
    if status != 200:
        return _page(form, _stored_preferences()), status
    passwords.change(access.identity().username, form.password.data)
    flash(_("Your password is changed. Every other login of yours has ended."), "success")
    return redirect(url_for("account.index"))


def _check_current(form: OwnPasswordForm) -> int:
    """Whoever finds an open browser must not find out the password: guesses are slowed as at the login."""
    username = access.identity().username
    try:
        passwords.check(
            username, form.current.data, clock.utcnow(), refused="password change refused", actor=username
        )
    except PasswordRefused as refusal:
        if refusal.retry_after_seconds:
            form.current.errors = [refusal.message]
            return 429
        form.current.errors = [_("This is not your current password.")]
        return 400
    return 200


@bp.post("/preferences")
@access.viewer
def save_preferences() -> ResponseReturnValue:
    form = PreferencesForm().offer()
    if not form.validate():
        return _page(OwnPasswordForm(formdata=None), form), 400
    with database().writing() as rows:
        user = rows.get_one(User, access.identity().user_id)
        before = f"{user.language or 'automatic'}, {user.timezone or 'automatic'}"
        user.language, user.timezone = form.language.data or None, form.timezone.data or None
        after = f"{user.language or 'automatic'}, {user.timezone or 'automatic'}"
        trace.note(rows, "preferences changed", user.username, before=before, after=after)
    flash(_("Saved."), "success")
    return redirect(url_for("account.index"))


@bp.post("/sessions/end")
@access.viewer
def end_sessions() -> ResponseReturnValue:
    which, user = request.form.get("which", ""), access.identity()
    if not which:
        flash(_("Say which login to end."), "error")
        return _page(OwnPasswordForm(formdata=None), _stored_preferences()), 400
    with database().writing() as rows:
        if which == OTHERS:
            count = sessions.end_all(rows, user.user_id, but=access.session_hash())
        else:
            count = sessions.end(rows, user.user_id, which)
        trace.note(rows, "sessions ended", user.username, after=str(count))
    flash(ngettext("%(num)s login was ended.", "%(num)s logins were ended.", count), "success")
    return redirect(url_for("account.index"))
