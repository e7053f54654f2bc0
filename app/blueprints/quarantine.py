"""Bodies that were no usable report: to look at, to learn from, to delete."""

from __future__ import annotations

import zlib

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import defer

from app import access, audit, clock
from app.db import database
from app.models import QuarantinedBody

PAGE_SIZE = 50
_REMEDY = "--allow-paths-in-log-messages"
_ID = "<int(max=9223372036854775807):body_id>"

bp = Blueprint("quarantine", __name__, url_prefix="/quarantine")


@bp.get("")
@access.administrator
def index() -> str:
    before = request.args.get("before", type=int)
    query = select(QuarantinedBody).options(defer(QuarantinedBody.compressed))
    if before is not None:
        query = query.where(QuarantinedBody.id < max(0, min(before, 2**63 - 1)))
    with database().reading() as rows:
        found = list(rows.scalars(query.order_by(QuarantinedBody.id.desc()).limit(PAGE_SIZE + 1)))
    bodies = found[:PAGE_SIZE]
    return render_template(
        "quarantine/index.html",
        bodies=bodies,
        following=bodies[-1].id if len(found) > PAGE_SIZE else None,
        is_first=before is None,
        breaks_itself=any(_REMEDY in body.reason for body in bodies),
    )


@bp.get(f"/{_ID}/raw")
@access.administrator
def raw(body_id: int) -> Response:
    with database().reading() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
    return Response(
        zlib.decompress(body.compressed),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="quarantined-{body_id}.txt"'},
    )


@bp.post(f"/{_ID}/delete")
@access.administrator
def delete(body_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
        rows.delete(body)
        audit.note(
            rows,
            actor=access.actor(),
            action="quarantined body deleted",
            target=f"quarantined body {body_id}",
            before=body.reason[:200],
            now=clock.utcnow(),
            address=access.address(),
        )
    flash(_("Deleted."), "success")
    return redirect(url_for("quarantine.index"))
