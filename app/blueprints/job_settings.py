"""What an administrator may set about one job: pauses, tolerance, reminders, notes, what is published."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from app import access, clock, job_page
from app.db import database
from app.job_forms import AcknowledgeForm, NotesForm, PauseForm, PublishForm, ReminderForm, ToleranceForm

_JOB = f"<int(max={job_page.LARGEST_ID}):job_id>"
_LONGEST_TOLD = 200

bp = Blueprint("job_settings", __name__, url_prefix="/jobs")


@bp.post(f"/{_JOB}/pause")
@access.administrator
def pause(job_id: int) -> ResponseReturnValue:
    form, zone = PauseForm(), access.timezone()
    if not form.validate_end(zone, clock.utcnow()):
        return job_page.show(job_id, form), 400
    until_at = form.until_at(zone)
    with job_page.changing(job_id, "job paused") as (job, told, now):
        job.paused_at = job.paused_at if job.state == "paused" else now
        job.paused_until_at = until_at
        told["after"] = clock.iso(until_at) or "until resumed"
    return job_page.back(job_id, _("Paused."))


@bp.post(f"/{_JOB}/resume")
@access.administrator
def resume(job_id: int) -> ResponseReturnValue:
    with job_page.changing(job_id, "job resumed") as (job, _told, _now):
        job.paused_at = job.paused_until_at = None
    return job_page.back(job_id, _("Resumed: this backup is watched again."))


@bp.post(f"/{_JOB}/acknowledge")
@access.administrator
def acknowledge(job_id: int) -> ResponseReturnValue:
    """Somebody knows: no reminder and no further failure is told until it recovers, or until a time."""
    form, zone = AcknowledgeForm(), access.timezone()
    if not form.validate_end(zone, clock.utcnow()):
        return job_page.show(job_id, form), 400
    until_at = form.until_at(zone)
    with database().reading() as rows:
        if job_page.find(rows, job_id).state not in ("overdue", "failed"):
            flash(_("Nothing to acknowledge: this backup is neither overdue nor failing."), "warning")
            return redirect(url_for("jobs.show", job_id=job_id))
    with job_page.changing(job_id, "alert acknowledged") as (job, told, now):
        job.acknowledged_at, job.acknowledged_until_at = now, until_at
        job.acknowledged_by = access.actor()
        told["after"] = clock.iso(until_at) or "until it recovers"
    return job_page.back(job_id, _("Acknowledged: quiet until it recovers or the time is over."))


@bp.post(f"/{_JOB}/acknowledge/withdraw")
@access.administrator
def withdraw_acknowledgement(job_id: int) -> ResponseReturnValue:
    with job_page.changing(job_id, "acknowledgement withdrawn") as (job, _told, _now):
        job.acknowledged_at = job.acknowledged_until_at = job.acknowledged_by = None
    return job_page.back(job_id, _("Reminders go out again."))


@bp.post(f"/{_JOB}/tolerance")
@access.administrator
def tolerance(job_id: int) -> ResponseReturnValue:
    form = ToleranceForm()
    if not form.validate():
        return job_page.show(job_id, form), 400
    with job_page.changing(job_id, "tolerance changed") as (job, told, _now):
        told["before"] = _seconds_words(job.tolerance_seconds)
        job.tolerance_seconds = None if form.minutes.data is None else form.minutes.data * 60
        told["after"] = _seconds_words(job.tolerance_seconds)
    return job_page.back(job_id, _("Tolerance saved."))


def _seconds_words(seconds: int | None) -> str:
    return "global" if seconds is None else f"{seconds} s"


@bp.post(f"/{_JOB}/reminder")
@access.administrator
def reminder(job_id: int) -> ResponseReturnValue:
    form = ReminderForm().offer(access.settings_in_force().reminder)
    if not form.validate():
        return job_page.show(job_id, form), 400
    with job_page.changing(job_id, "reminder changed") as (job, told, _now):
        told["before"] = job.reminder or "global"
        job.reminder = form.reminder.data or None
        told["after"] = job.reminder or "global"
    return job_page.back(job_id, _("Reminder saved."))


@bp.post(f"/{_JOB}/notes")
@access.administrator
def notes(job_id: int) -> ResponseReturnValue:
    form = NotesForm()
    if not form.validate():
        return job_page.show(job_id, form), 400
    with job_page.changing(job_id, "notes changed", is_judged=False) as (job, told, _now):
        told["before"] = (job.notes or "")[:_LONGEST_TOLD] or None
        job.notes = form.text
        told["after"] = (job.notes or "")[:_LONGEST_TOLD] or None
    return job_page.back(job_id, _("Notes saved."))


@bp.post(f"/{_JOB}/publish")
@access.administrator
def publish(job_id: int) -> ResponseReturnValue:
    form = PublishForm()
    if not form.validate():
        return job_page.show(job_id, form), 400
    with job_page.changing(job_id, "publishing changed", is_judged=False) as (job, told, _now):
        told["before"] = _published_words(job.is_published, job.public_name)
        job.is_published, job.public_name = bool(form.is_published.data), form.name
        told["after"] = _published_words(job.is_published, job.public_name)
        is_published = job.is_published
    if is_published:
        return job_page.back(job_id, _("Saved: this backup is shown on the public status page."))
    return job_page.back(job_id, _("Saved: this backup is not shown on the public status page."))


def _published_words(is_published: bool, name: str | None) -> str:
    return f"shown as {name}" if is_published else "not shown"
