"""API keys: made, shown once, rotated and revoked."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from app import access, accounts, clock, duplicati_options, key_forms, key_rotation, trace
from app.accounts import AccountError
from app.db import database
from app.key_forms import KeyForm, RotateForm
from app.key_rotation import Listed
from app.models import ApiKey

_LARGEST_ID = 2**63 - 1
_ID = f"<int(max={_LARGEST_ID}):key_id>"
_USUAL_OVERLAP_HOURS = 7 * 24

bp = Blueprint("api_keys", __name__, url_prefix="/settings/keys")


@dataclass(frozen=True, slots=True)
class Made:
    """A key that has just been made, to be shown this once."""

    row: ApiKey
    secret: str


@bp.get("")
@access.administrator
def index() -> str:
    return _list(KeyForm(formdata=None, scope=accounts.UPLOAD))


def _list(form: KeyForm) -> str:
    before = request.args.get("before", type=int)
    if before is not None:
        before = max(0, min(before, _LARGEST_ID))
    with database().reading() as rows:
        found = key_rotation.page(rows, clock.utcnow(), before)
    shown = found[: key_rotation.PAGE_SIZE]
    return render_template(
        "api_keys/index.html",
        keys=shown,
        following=shown[-1].key.id if len(found) > key_rotation.PAGE_SIZE else None,
        is_first=before is None,
        form=form,
        scopes=key_forms.SCOPES,
    )


@bp.post("")
@access.administrator
def make() -> ResponseReturnValue:
    form = KeyForm()
    if not form.validate():
        return _list(form), 400
    with database().writing() as rows:
        now = clock.utcnow()
        row, secret = accounts.new_key(
            rows, form.label.data, form.scope.data, now, expires_at=form.expires_at
        )
        trace.note(rows, "key added", f"key {row.id}: {row.label}", after=_ends(row))
    return _shown_once(Made(row, secret), None)


def _shown_once(made: Made, old: ApiKey | None) -> str:
    address = access.settings().public_url or request.url_root
    is_upload = made.row.scope == accounts.UPLOAD
    return render_template(
        "api_keys/made.html",
        made=made,
        old=old,
        scopes=key_forms.SCOPES,
        new_lines=duplicati_options.new_lines(address, made.secret) if is_upload else None,
        old_lines=duplicati_options.old_lines(address, made.secret) if is_upload else None,
        new_since=duplicati_options.NEW_SINCE,
    )


@bp.get(f"/{_ID}/rotate")
@access.administrator
def rotate_page(key_id: int) -> str:
    return _rotation(key_id, RotateForm(formdata=None, overlap_hours=_USUAL_OVERLAP_HOURS))


def _rotation(key_id: int, form: RotateForm) -> str:
    return render_template("api_keys/rotate.html", listed=_listed(key_id), form=form, scopes=key_forms.SCOPES)


def _listed(key_id: int) -> Listed:
    with database().reading() as rows:
        return key_rotation.listed(rows, _key(rows, key_id), clock.utcnow())


def _key(rows: Session, key_id: int) -> ApiKey:
    return rows.get(ApiKey, key_id) or abort(404)


@bp.post(f"/{_ID}/rotate")
@access.administrator
def rotate(key_id: int) -> ResponseReturnValue:
    form, now = RotateForm(), clock.utcnow()
    if not form.validate():
        return _rotation(key_id, form), 400
    try:
        with database().writing() as rows:
            old = _key(rows, key_id)
            row, secret = key_rotation.rotate(
                rows, old, now, ends_at=now + form.overlap, expires_at=form.expires_at
            )
            after = f"key {row.id}, {_ends(row)}; the old one until {clock.iso(old.expires_at)}"
            trace.note(rows, "key rotated", f"key {old.id}: {old.label}", after=after)
    except AccountError:
        return _rotation(key_id, form), 400  # the page says why
    return _shown_once(Made(row, secret), old)


def _ends(key: ApiKey) -> str:
    return f"{key.scope}, {f'until {clock.iso(key.expires_at)}' if key.expires_at else 'without end'}"


@bp.get(f"/{_ID}/revoke")
@access.administrator
def revoke_page(key_id: int) -> str:
    return render_template("api_keys/revoke.html", listed=_listed(key_id), scopes=key_forms.SCOPES)


@bp.post(f"/{_ID}/revoke")
@access.administrator
def revoke(key_id: int) -> ResponseReturnValue:
    try:
        with database().writing() as rows:
            key = _key(rows, key_id)
            key_rotation.revoke(key, clock.utcnow())
            trace.note(rows, "key revoked", f"key {key.id}: {key.label}")
    except AccountError:
        return revoke_page(key_id), 400
    flash(_("The key %(label)s opens nothing any more.", label=key.label), "success")
    return redirect(url_for("api_keys.index"))
