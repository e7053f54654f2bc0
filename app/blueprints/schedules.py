"""The schedule of a job: its editor, what it would expect and would have told, saving and removing it."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from app import (
    access,
    clock,
    job_forms,
    job_page,
    record,
    schedule_forms,
    schedule_page,
    stored_settings,
    trace,
)
from app import schedule_sentences as sentences
from app.db import database
from app.models import Job
from app.recurrence import RecurrenceError, Schedule
from app.schedule_forms import ScheduleForm
from app.schedule_page import Known, Preview

_LARGEST_ID = 2**63 - 1
_SCHEDULE = f"/jobs/<int(max={_LARGEST_ID}):job_id>/schedule"

bp = Blueprint("schedules", __name__)


@bp.get(f"{_SCHEDULE}/edit")
@access.administrator
def edit(job_id: int) -> str:
    """The editor; with `suggestion`, filled in from what the last reports look like."""
    known = _known(job_id)
    taken = known.suggestion if request.args.get("suggestion") else None
    start = schedule_forms.start(schedule_page.zone_of(known.job), known.now)
    shown = taken.schedule if taken else known.typed or start
    form = schedule_forms.filled(known.job, shown)
    return _page(known, form, shown, is_suggestion=taken is not None)


@bp.post(f"{_SCHEDULE}/preview")
@access.administrator
def preview(job_id: int) -> ResponseReturnValue:
    """A fragment for the script, which also tells what is wrong; without it, the whole page once more."""
    form, known = ScheduleForm(), _known(job_id)
    entered = form.read(known.now)
    if request.headers.get("X-Preview"):
        found = _preview(known, form, entered)
        complaints = form.complaints()
        return render_template(
            "schedules/fragment.html", preview=found, complaints=complaints, sentences=sentences
        )
    return _page(known, form, entered), 200 if entered else 400


@bp.post(_SCHEDULE)
@access.administrator
def save(job_id: int) -> ResponseReturnValue:
    form, now = ScheduleForm(), clock.utcnow()
    entered = form.read(now)
    if entered is None:
        return _page(_known(job_id), form, None), 400
    with database().writing() as rows:
        job = _find(rows, job_id, lock=True)
        before = schedule_forms.in_words(job_forms.typed_row(job))
        after = schedule_forms.store(job, entered, now)
        _set_tolerance(rows, job, form.tolerance_seconds(job), now)
        record.schedule_changed(rows, job, stored_settings.policy_in(rows, access.settings()), now)
        _note(rows, job, "schedule changed", before, after)
        is_in_force = job.expected_source == job_forms.TYPED
    if is_in_force:
        flash(_("Schedule saved. It is in force."), "success")
    else:
        flash(_("Schedule saved. It serves where Duplicati does not tell its own times."), "success")
    return _back(job_id)


@bp.get(f"{_SCHEDULE}/remove")
@access.administrator
def confirm_remove(job_id: int) -> ResponseReturnValue:
    known = _known(job_id)
    if known.typed is None and job_forms.typed_row(known.job) is None:
        flash(_("No schedule was entered for this backup."), "warning")
        return _back(job_id)
    following = schedule_page.after_removal(known)
    return render_template(
        "schedules/remove.html",
        job=known.job,
        description=sentences.describe(known.typed) if known.typed else "",
        following=following,
        successor=sentences.successor(following.source if following else None),
        viewer=schedule_page.viewer_zone(),
        sentences=sentences,
    )


@bp.post(f"{_SCHEDULE}/remove")
@access.administrator
def remove(job_id: int) -> ResponseReturnValue:
    now = clock.utcnow()
    with database().writing() as rows:
        job = _find(rows, job_id, lock=True)
        row = job_forms.typed_row(job)
        before = schedule_forms.in_words(row)
        if row is not None:
            job.schedules.remove(row)
        record.schedule_changed(rows, job, stored_settings.policy_in(rows, access.settings()), now)
        _note(rows, job, "schedule removed", before, None)
    flash(_("Schedule removed. The next best source has taken over."), "success")
    return _back(job_id)


def _known(job_id: int) -> Known:
    with database().reading() as rows:
        return schedule_page.read(rows, _find(rows, job_id), clock.utcnow())


def _find(rows: Session, job_id: int, *, lock: bool = False) -> Job:
    query = select(Job).options(selectinload(Job.schedules), joinedload(Job.server)).where(Job.id == job_id)
    if lock:
        query = query.with_for_update(of=Job)
    job = rows.scalar(query)
    return job if job is not None else abort(404)


def _preview(known: Known, form: ScheduleForm, entered: Schedule | None) -> Preview | None:
    if entered is None:
        return None
    try:
        return schedule_page.preview(known, entered, form.tolerance_seconds(known.job))
    except RecurrenceError as problem:
        form.repeat.errors = [*form.repeat.errors, str(problem)]
        return None


def _page(known: Known, form: ScheduleForm, shown: Schedule | None, *, is_suggestion: bool = False) -> str:
    found = known.suggestion
    return render_template(
        "schedules/edit.html",
        job=known.job,
        form=form,
        preview=_preview(known, form, shown),
        complaints=form.complaints(),
        source_words=sentences.in_force(known.job.expected_source),
        suggestion=sentences.suggestion(found) if found else "",
        has_enough_runs=known.has_enough_runs,
        is_suggestion=is_suggestion,
        has_typed=job_forms.typed_row(known.job) is not None,
        zones=job_forms.zones(),
        sentences=sentences,
    )


def _set_tolerance(rows: Session, job: Job, seconds: int | None, now: datetime) -> None:
    if seconds != job.tolerance_seconds:
        before, after = (
            "global" if each is None else f"{each} s" for each in (job.tolerance_seconds, seconds)
        )
        job.tolerance_seconds = seconds
        _note(rows, job, "tolerance changed", before, after)


def _note(rows: Session, job: Job, action: str, before: str | None, after: str | None) -> None:
    trace.note(rows, action, job_page.target(job), before=before, after=after)


def _back(job_id: int) -> ResponseReturnValue:
    return redirect(url_for("jobs.show", job_id=job_id))
