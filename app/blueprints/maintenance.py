"""Maintenance windows: when backups may be late, by announcement."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import access, clock, job_forms, maintenance, trace
from app.db import database
from app.maintenance_forms import OnceForm, WeeklyForm
from app.models import Job, MaintenanceWindow, Server

_LARGEST_ID = 2**63 - 1
_SERVERS_OFFERED = 200

bp = Blueprint("maintenance", __name__, url_prefix="/settings/maintenance")


@bp.get("")
@access.viewer
def index() -> str:
    zone = access.timezone()
    return _page(OnceForm(formdata=None, zone=zone), WeeklyForm(formdata=None, zone=zone))


def _page(once: OnceForm, weekly: WeeklyForm) -> str:
    with database().reading() as rows:
        servers = select(Server.name).order_by(Server.name).limit(_SERVERS_OFFERED)
        return render_template(
            "maintenance/index.html",
            windows=_windows(rows),
            once=once,
            weekly=weekly,
            job=_job(rows),
            servers=list(dict.fromkeys(rows.scalars(servers))),
            zones=job_forms.zones(),
            days=job_forms.DAYS,
            now=clock.utcnow(),
        )


def _windows(rows: Session) -> list[tuple[MaintenanceWindow, str | None, str | None]]:
    """Each window with the names of the server and the job it is limited to."""
    query = (
        select(MaintenanceWindow, Server.name, Job.name)
        .outerjoin(Server, Server.id == MaintenanceWindow.server_id)
        .outerjoin(Job, Job.id == MaintenanceWindow.job_id)
        .order_by(MaintenanceWindow.id)
    )
    return [(row[0], row[1], row[2]) for row in rows.execute(query)]


def _job(rows: Session) -> Job | None:
    """The job that the page was opened for, if it was opened from one."""
    number = request.values.get("job", type=int)
    if number is None:
        return None
    return rows.get(Job, number) or abort(404) if 0 < number <= _LARGEST_ID else abort(404)


@bp.post("/once")
@access.administrator
def add_once() -> ResponseReturnValue:
    zone = access.timezone()
    form = OnceForm()
    return _add(form) or (_page(form, WeeklyForm(formdata=None, zone=zone)), 400)


@bp.post("/weekly")
@access.administrator
def add_weekly() -> ResponseReturnValue:
    zone = access.timezone()
    form = WeeklyForm()
    return _add(form) or (_page(OnceForm(formdata=None, zone=zone), form), 400)


def _add(form: OnceForm | WeeklyForm) -> ResponseReturnValue | None:
    """Store what was entered; None when the form says what is wrong with it."""
    if not form.validate():
        return None
    now = clock.utcnow()
    with database().writing() as rows:
        job = _job(rows)
        server_id = form.server_id(rows) if job is None else None
        window = form.window(server_id, job.id if job else None)
        if window is None or form.errors:
            return None
        row = maintenance.add(rows, form.name.data.strip(), window, now)
        _note(rows, "maintenance window added", row, after=maintenance.describe(window))
    flash(_("Saved. Deadlines that fall into it move; no alert is swallowed."), "success")
    return redirect(url_for("maintenance.index"))


@bp.get(f"/<int(max={_LARGEST_ID}):window_id>/remove")
@access.administrator
def confirm_remove(window_id: int) -> str:
    with database().reading() as rows:
        window = rows.get(MaintenanceWindow, window_id) or abort(404)
    return render_template("maintenance/remove.html", window=window)


@bp.post(f"/<int(max={_LARGEST_ID}):window_id>/remove")
@access.administrator
def remove(window_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        row = rows.get(MaintenanceWindow, window_id) or abort(404)
        _note(rows, "maintenance window removed", row, before=maintenance.describe(maintenance.of_row(row)))
        maintenance.remove(rows, row, clock.utcnow())
    flash(_("Removed. The next check looks at the backups it had excused."), "success")
    return redirect(url_for("maintenance.index"))


def _note(
    rows: Session, action: str, row: MaintenanceWindow, before: str | None = None, after: str | None = None
) -> None:
    trace.note(rows, action, f"maintenance window {row.id}: {row.name}", before=before, after=after)
