"""What is kept and for how long, and what a shorter time would delete."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from app import access, clock, holdings, service_health, setting_forms, task_runs
from app import retention as kept
from app.db import database
from app.setting_forms import RetentionForm
from app.stored_settings import AUDIT_DAYS, REPORT_DAYS

_TASKS = ("retention-cleanup", "audit-log-cleanup")

bp = Blueprint("retention", __name__, url_prefix="/settings/retention")


@bp.get("")
@access.viewer
def index() -> str:
    return _page(setting_forms.filled_retention_form())


def _page(form: RetentionForm) -> str:
    with database().reading() as rows:
        found = holdings.read(rows)
        last = {task: task_runs.last(rows, task) for task in _TASKS}
    health = service_health.ask()
    return render_template(
        "retention/index.html",
        form=form,
        holdings=found,
        database_bytes=holdings.database_bytes(database()),
        last=last,
        planned={task: service_health.next_run(health, task) for task in _TASKS},
        is_service_running=health is not None,
        task_run_days=kept.TASK_RUN_DAYS,
        quarantine_bodies=kept.QUARANTINE_BODIES,
        quarantine_bytes=kept.QUARANTINE_BYTES,
    )


@bp.post("")
@access.administrator
def save() -> ResponseReturnValue:
    """A shorter time is saved after somebody has seen what it will delete."""
    form = RetentionForm()
    if not form.validate_unlocked():
        return _page(form), 400
    if _shortened(form.chosen()) and not request.form.get("confirmed"):
        days = {"report_days": form.report_days.data, "audit_days": form.audit_days.data}
        return redirect(url_for("retention.confirm", **days))
    if setting_forms.save(form.chosen()):
        flash(_("Saved. The next clean-up goes by it."), "success")
    else:
        flash(_("Nothing has changed."), "message")
    return redirect(url_for("retention.index"))


def _shortened(chosen: dict[str, Any]) -> list[str]:
    in_force = access.settings_in_force()
    return [name for name, days in chosen.items() if days < getattr(in_force, name)]


@bp.get("/confirm")
@access.administrator
def confirm() -> ResponseReturnValue:
    form = RetentionForm(formdata=request.args, meta={"csrf": False})
    shortened = _shortened(form.chosen()) if form.validate_unlocked() else []
    if not shortened:
        return redirect(url_for("retention.index"))
    now = clock.utcnow()
    with database().reading() as rows:
        reports = holdings.lost_reports(rows, form.report_days.data, now)
        entries = holdings.lost_audit_entries(rows, form.audit_days.data, now)
    return render_template(
        "retention/confirm.html",
        form=form,
        reports=reports if REPORT_DAYS in shortened else None,
        entries=entries if AUDIT_DAYS in shortened else None,
    )
