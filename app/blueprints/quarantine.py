"""Bodies that were no usable report: to look at, to learn from, to delete."""

from __future__ import annotations

import zlib

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app import access, quarantine, quarantine_words, stored_settings, trace
from app.db import database
from app.models import QuarantinedBody
from app.reports import UnusableReport
from app.spool import UNCHECKED

PAGE_SIZE = 50
_REMEDY = "--allow-paths-in-log-messages"
_ID = "<int(max=9223372036854775807):body_id>"

bp = Blueprint("quarantine", __name__, url_prefix="/quarantine")
bp.add_app_template_filter(quarantine_words.reason_words)


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


@bp.get(f"/{_ID}")
@access.administrator
def show(body_id: int) -> str:
    with database().reading() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
        older = quarantine.count_older(rows, body_id)
    return render_template(
        "quarantine/show.html",
        body=body,
        shown=quarantine.beginning(body),
        older=older,
        is_unchecked=body.key_label == UNCHECKED,
        breaks_itself=_REMEDY in body.reason,
    )


@bp.post(f"/{_ID}/retry")
@access.administrator
def retry(body_id: int) -> ResponseReturnValue:
    """Read it once more, by the program of today; what can be read leaves the quarantine."""
    with database().reading() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
        policy = stored_settings.policy_in(rows, access.settings())
    try:
        report, stored = quarantine.take_again(database(), body, policy)
    except UnusableReport as problem:
        with database().writing() as rows:
            row = rows.get(QuarantinedBody, body_id) or abort(404)
            row.reason, row.missing_fields = problem.reason, problem.missing_fields
        flash(_("It still can't be read: %(reason)s", reason=problem.reason), "warning")
        return redirect(url_for("quarantine.show", body_id=body_id))
    with database().writing() as rows:
        _remove(rows, body_id, "quarantined body taken in")
    if not report.is_backup:
        told = _("It can be read, and is about no backup (%(operation)s): nothing of it is kept.")
        flash(told % {"operation": report.operation}, "success")
    elif stored:
        flash(_("It could be read: the report of %(name)s is stored.", name=report.backup_name), "success")
    else:
        flash(_("It could be read; the same report was stored before."), "success")
    return redirect(url_for("quarantine.index"))


def _remove(rows: Session, body_id: int, action: str) -> None:
    body = rows.get(QuarantinedBody, body_id) or abort(404)
    rows.delete(body)
    trace.note(rows, action, f"quarantined body {body_id}", before=body.reason[:200])


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


@bp.get(f"/{_ID}/delete")
@access.administrator
def confirm_delete(body_id: int) -> str:
    with database().reading() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
    return render_template("quarantine/delete.html", body=body, older=None)


@bp.post(f"/{_ID}/delete")
@access.administrator
def delete(body_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        _remove(rows, body_id, "quarantined body deleted")
    flash(_("Deleted."), "success")
    return redirect(url_for("quarantine.index"))


@bp.get(f"/{_ID}/delete-older")
@access.administrator
def confirm_delete_older(body_id: int) -> str:
    with database().reading() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
        older = quarantine.count_older(rows, body_id)
    return render_template("quarantine/delete.html", body=body, older=older)


@bp.post(f"/{_ID}/delete-older")
@access.administrator
def delete_older(body_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        body = rows.get(QuarantinedBody, body_id) or abort(404)
        number = quarantine.remove_older(rows, body.id)
        older = f"older than quarantined body {body_id}"
        trace.note(rows, "quarantined bodies deleted", older, before=str(number))
    flash(ngettext("%(num)s body is deleted.", "%(num)s bodies are deleted.", number), "success")
    return redirect(url_for("quarantine.index"))
