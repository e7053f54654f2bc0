"""Connect Duplicati: a key, the lines to paste, and the wait for the first report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app import access, accounts, clock, duplicati_options, first_report, trace
from app.db import database
from app.key_forms import ConnectForm
from app.models import ApiKey

REFRESH_SECONDS = 4
_KEYS_OFFERED = 50
_LONGEST_WAIT = timedelta(days=7)
_ID = "<int(max=9223372036854775807):key_id>"
# Stands in the lines for a key that was shown once, elsewhere.
_PLACEHOLDER = "YOUR_KEY"

bp = Blueprint("connect", __name__, url_prefix="/connect")


@bp.get("")
@access.administrator
def index() -> str:
    return _choice(ConnectForm(formdata=None))


def _choice(form: ConnectForm) -> str:
    now = clock.utcnow()
    is_valid = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
    query = select(ApiKey).where(ApiKey.scope == accounts.UPLOAD, *is_valid)
    with database().reading() as rows:
        keys = list(rows.scalars(query.order_by(ApiKey.id.desc()).limit(_KEYS_OFFERED)))
    return render_template("connect/index.html", form=form, keys=keys)


@bp.post("")
@access.administrator
def make() -> ResponseReturnValue:
    """The answer itself shows the key: it is nowhere else, so there is no page to go on to."""
    form = ConnectForm()
    if not form.validate():
        return _choice(form), 400
    now = clock.utcnow()
    with database().writing() as rows:
        key, secret = accounts.new_key(rows, form.label.data, accounts.UPLOAD, now)
        trace.note(rows, "key added", f"key {key.id}: {key.label}", after=key.scope)
    return _page(key, now, secret)


@bp.get(f"/{_ID}")
@access.administrator
def wait(key_id: int) -> ResponseReturnValue:
    """`since`, in seconds of the epoch, is when the wait began; it stays in the address through reloads."""
    now = clock.utcnow()
    with database().reading() as rows:
        key = _upload_key(rows, key_id)
    since = request.args.get("since", type=int)
    if since is None:
        return redirect(url_for("connect.wait", key_id=key_id, since=int(now.timestamp())))
    return _page(key, _since(since, now))


def _since(seconds: int, now: datetime) -> datetime:
    """The moment meant, no longer ago than anybody waits."""
    earliest = now - _LONGEST_WAIT
    if not earliest.timestamp() < seconds:
        return earliest
    return datetime.fromtimestamp(min(seconds, now.timestamp()), UTC)


def _upload_key(rows: Session, key_id: int) -> ApiKey:
    key = rows.get(ApiKey, key_id) or abort(404)
    return key if key.scope == accounts.UPLOAD else abort(404)


def _page(key: ApiKey, since_at: datetime, secret: str | None = None) -> str:
    with database().reading() as rows:
        arrival = first_report.look(rows, key, since_at)
    address, shown = access.settings().public_url or request.url_root, secret or _PLACEHOLDER
    return render_template(
        "connect/key.html",
        key=key,
        secret=secret,
        placeholder=_PLACEHOLDER,
        is_valid=accounts.is_valid(key, clock.utcnow()),
        arrival=arrival,
        waiting_url=url_for("connect.wait", key_id=key.id, since=int(since_at.timestamp())),
        refresh_seconds=REFRESH_SECONDS,
        new_since=duplicati_options.NEW_SINCE,
        new_lines=duplicati_options.new_lines(address, shown),
        old_lines=duplicati_options.old_lines(address, shown),
        trial_line=duplicati_options.trial_line(address, shown),
    )
