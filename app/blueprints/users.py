"""Users: who may log in, with which role and password, and who may no more."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import access, account_forms, accounts, clock, passwords, sessions, trace
from app.account_forms import GENERATED, NewPasswordForm, RoleForm, UserForm
from app.accounts import AccountError
from app.db import database
from app.models import LoginFailure, User

PAGE_SIZE = 50
_ID = "<int(max=9223372036854775807):user_id>"

bp = Blueprint("users", __name__, url_prefix="/settings/users")


@bp.get("")
@access.administrator
def index() -> str:
    return _list(UserForm(formdata=None, how=GENERATED, role=accounts.VIEWER))


def _list(form: UserForm) -> str:
    now, after = clock.utcnow(), request.args.get("after", "").replace("\0", "")
    with database().reading() as rows:
        query = select(User).where(User.username > after).order_by(User.username).limit(PAGE_SIZE + 1)
        found = list(rows.scalars(query))
        users = found[:PAGE_SIZE]
        seen = sessions.summaries(rows, [each.id for each in users], now)
        locked = _locked(rows, users, now)
    return render_template(
        "users/index.html",
        users=users,
        seen=seen,
        locked=locked,
        following=users[-1].username if len(found) > PAGE_SIZE else None,
        is_first=not after,
        form=form,
        roles=account_forms.ROLES,
        meanings=account_forms.ROLE_MEANINGS,
    )


def _locked(rows: Session, users: list[User], now: datetime) -> dict[str, datetime]:
    """Until when each name is locked out, for those that are."""
    names = [each.username for each in users]
    query = select(LoginFailure).where(LoginFailure.username.in_(names), LoginFailure.locked_until_at > now)
    return {each.username: each.locked_until_at for each in rows.scalars(query) if each.locked_until_at}


@bp.post("")
@access.administrator
def add() -> ResponseReturnValue:
    form = UserForm()
    if not form.validate():
        return _list(form), 400
    name, password = form.username.data, form.chosen()
    try:
        with database().writing() as rows:
            user = accounts.add_user(rows, name, password, form.role.data, clock.utcnow())
            user.password_is_initial = form.is_generated
            rows.flush()
            trace.note(rows, "user added", name, after=user.role)
    except (AccountError, IntegrityError):
        form.username.errors = [_("Somebody has this name already.")]
        return _list(form), 400
    if form.is_generated:
        return render_template("users/password.html", person=user, password=password, is_new=True)
    flash(_("%(name)s may log in now.", name=name), "success")
    return redirect(url_for("users.index"))


@bp.get(f"/{_ID}")
@access.administrator
def user_page(user_id: int) -> str:
    with database().reading() as rows:
        user = _user(rows, user_id)
    return _page(user, RoleForm(formdata=None, role=user.role), NewPasswordForm(formdata=None, how=GENERATED))


def _user(rows: Session, user_id: int) -> User:
    return rows.get(User, user_id) or abort(404)


def _page(user: User, role_form: RoleForm, password_form: NewPasswordForm) -> str:
    now = clock.utcnow()
    with database().reading() as rows:
        seen = sessions.summaries(rows, [user.id], now).get(user.id)
        locked = _locked(rows, [user], now).get(user.username)
        is_last = accounts.is_last_administrator(rows, user)
    return render_template(
        "users/user.html",
        person=user,
        seen=seen,
        locked=locked,
        is_last=is_last,
        is_self=user.id == access.identity().user_id,
        role_form=role_form,
        password_form=password_form,
        roles=account_forms.ROLES,
        meanings=account_forms.ROLE_MEANINGS,
    )


@bp.post(f"/{_ID}/role")
@access.administrator
def change_role(user_id: int) -> ResponseReturnValue:
    form = RoleForm()
    with database().writing() as rows:
        user = _user(rows, user_id)
        before = user.role
        if form.validate() and _may_change(user, form):
            try:
                accounts.change_role(rows, user, form.role.data)
                trace.note(rows, "role changed", user.username, before=before, after=user.role)
            except AccountError:
                form.role.errors = [_("This is the last administrator: make somebody else one first.")]
    if form.errors:
        return _page(user, form, NewPasswordForm(formdata=None, how=GENERATED)), 400
    role = account_forms.ROLES[user.role]
    flash(_("%(name)s has the role %(role)s from now on.", name=user.username, role=role), "success")
    gave_up = user.id == access.identity().user_id and user.role != accounts.ADMINISTRATOR
    return redirect(url_for("dashboard.index" if gave_up else "users.index"))


def _may_change(user: User, form: RoleForm) -> bool:
    """Whoever gives up the own rights has to say so."""
    gives_up = user.id == access.identity().user_id and form.role.data != accounts.ADMINISTRATOR
    if gives_up and not form.sure.data:
        form.sure.errors = [_("Tick this to go on: you can't come back to these pages by yourself.")]
        return False
    return True


@bp.post(f"/{_ID}/password")
@access.administrator
def set_password(user_id: int) -> ResponseReturnValue:
    form = NewPasswordForm()
    with database().reading() as rows:
        user = _user(rows, user_id)
    if not form.validate():
        return _page(user, RoleForm(formdata=None, role=user.role), form), 400
    password = form.chosen()
    is_self = user.id == access.identity().user_id
    try:
        passwords.change(user.username, password, is_initial=form.is_generated and not is_self)
    except AccountError:
        abort(404)  # removed meanwhile
    if form.is_generated:
        return render_template("users/password.html", person=user, password=password, is_new=False)
    told = _("%(name)s has a new password, and every session of theirs has ended.", name=user.username)
    flash(told, "success")
    return redirect(url_for("users.user_page", user_id=user_id))


@bp.post(f"/{_ID}/unlock")
@access.administrator
def unlock(user_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        user = _user(rows, user_id)
        accounts.unlock(rows, user.username)
        trace.note(rows, "user unlocked", user.username)
    flash(_("%(name)s may try to log in again.", name=user.username), "success")
    return redirect(url_for("users.user_page", user_id=user_id))


@bp.post(f"/{_ID}/sessions/end")
@access.administrator
def end_sessions(user_id: int) -> ResponseReturnValue:
    """But the one that asks, if it is the user's own."""
    with database().writing() as rows:
        user = _user(rows, user_id)
        count = sessions.end_all(rows, user.id, but=access.session_hash())
        trace.note(rows, "sessions ended", user.username, after=str(count))
    flash(ngettext("%(num)s session was ended.", "%(num)s sessions were ended.", count), "success")
    return redirect(url_for("users.user_page", user_id=user_id))


@bp.get(f"/{_ID}/remove")
@access.administrator
def remove_page(user_id: int) -> str:
    with database().reading() as rows:
        user = _user(rows, user_id)
        seen = sessions.summaries(rows, [user.id], clock.utcnow()).get(user.id)
        is_last = accounts.is_last_administrator(rows, user)
    is_self = user.id == access.identity().user_id
    return render_template("users/remove.html", person=user, seen=seen, is_last=is_last, is_self=is_self)


@bp.post(f"/{_ID}/remove")
@access.administrator
def remove(user_id: int) -> ResponseReturnValue:
    try:
        with database().writing() as rows:
            user = _user(rows, user_id)
            accounts.remove_user(rows, user.username)
            trace.note(rows, "user removed", user.username, before=user.role)
    except AccountError:
        return remove_page(user_id), 400
    flash(_("%(name)s is removed and can't log in any more.", name=user.username), "success")
    return redirect(url_for("users.index"))
