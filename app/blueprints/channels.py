"""Channels that fail: sending again what was given up."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from app import access, audit, clock, resend
from app.db import database
from app.models import Channel

_ID = "<int(max=9223372036854775807):channel_id>"

bp = Blueprint("channels", __name__, url_prefix="/settings/channels")


@bp.post(f"/{_ID}/retry")
@access.administrator
def retry(channel_id: int) -> ResponseReturnValue:
    now = clock.utcnow()
    with database().writing() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        name, resent = channel.name, resend.send_again(rows, channel_id, now)
        audit.note(
            rows,
            actor=access.actor(),
            action="channel retried",
            target=name,
            after=f"{resent.given_up} given up, {resent.waiting} waiting",
            now=now,
            address=access.address(),
        )
    number = resent.given_up + resent.waiting
    told = ngettext("%(num)s message is sent again.", "%(num)s messages are sent again.", number)
    flash(
        f"{name}: {told}" if number else _("%(name)s: nothing is left to send again.", name=name), "success"
    )
    return redirect(url_for("config.monitoring"))
