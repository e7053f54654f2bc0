"""The page of a job: everything it shows, and the one way in which its settings change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from app import (
    access,
    calendar_picture,
    checks,
    clock,
    day_map,
    figures,
    job_forms,
    job_history,
    job_words,
    maintenance,
    record,
    schedule_forms,
    stored_settings,
    timeline_picture,
    trace,
)
from app.db import database
from app.deadline import Span
from app.job_forms import AcknowledgeForm, NotesForm, PauseForm, PublishForm, ReminderForm, ToleranceForm
from app.models import Job, JobSchedule, Report
from app.recurrence import RecurrenceError, upcoming

REPORTS_A_PAGE = 25
OCCURRENCES_SHOWN = 5
MONTHS_SHOWN = 24
LARGEST_ID = 2**63 - 1
DEFAULT_DAYS = "90"


def show(job_id: int, refused: FlaskForm | None = None) -> str:
    """With `refused`, the settings are open and show what was wrong in that form."""
    now, before, days = clock.utcnow(), request.args.get("before"), chosen_days()
    with database().reading() as rows:
        job = find(rows, job_id)
        position = _read_position(before) if before else None
        found = list(rows.scalars(job_history.reports(job_id, position, REPORTS_A_PAGE + 1)))
        newest = found
        if position:
            newest = list(rows.scalars(job_history.reports(job_id, None, timeline_picture.RUNS_SHOWN)))
        told = job_history.told(rows, job_id)
        attempts = job_history.attempts(rows, told)
        picture = _picture(rows, job, newest[: timeline_picture.RUNS_SHOWN], now)
        # A page that refreshes itself keeps what lies far back as it is.
        further = {} if "X-Refresh" in request.headers else _far_back(rows, job_id, days, now)
    shown = found[:REPORTS_A_PAGE]
    return render_template(
        "jobs/show.html",
        job=job,
        reports=shown,
        following=_position(shown[-1]) if len(found) > REPORTS_A_PAGE else None,
        before=before,
        days=days,
        told=told,
        attempts=attempts,
        attempts_shown=job_history.ATTEMPTS_SHOWN,
        picture=picture,
        forms=_forms(job, refused),
        refused=refused,
        is_quiet=checks.is_quiet(job, now),
        advice=job_words.advice(job),
        **_schedule(job, now),
        **further,
    )


def _picture(rows: Session, job: Job, runs: list[Report], now: datetime) -> timeline_picture.Picture:
    tolerance = _tolerance_seconds(job)
    spans: list[Span] = []
    if job.expected_at and job.until_at and job.state != "paused":
        windows = maintenance.concerning(rows, job.server_id, job.id)
        until_at = job.until_at + timedelta(seconds=tolerance)
        spans = maintenance.spans(windows, job.server_id, job.id, job.expected_at, until_at)
    deadline = timeline_picture.deadline_of(job, tolerance, spans)
    return timeline_picture.draw(job, runs, deadline, spans, now)


def _tolerance_seconds(job: Job) -> int:
    return (
        access.settings_in_force().tolerance_seconds
        if job.tolerance_seconds is None
        else job.tolerance_seconds
    )


def _far_back(rows: Session, job_id: int, days: str, now: datetime) -> dict[str, object]:
    zone = timeline_picture.viewer_zone()
    today = now.astimezone(zone).date()
    stretches = day_map.stretches(day_map.first_day(today), today, zone)
    series = job_history.series(rows, job_id, since_of(days, now))
    return {
        "calendar": calendar_picture.draw(job_history.days(rows, job_id, stretches), zone, now),
        "charts": job_words.charts(series, days),
        "months": figures.by_month(series.points, zone, MONTHS_SHOWN),
        "ranges": job_words.RANGES,
        "zone": zone.key,
        "begin_of": lambda day: f"{day_map.begin_of(day + timedelta(days=1), zone).isoformat()}_0",
        "day_title": calendar_picture.day_title,
    }


def _schedule(job: Job, now: datetime) -> dict[str, object]:
    typed = job_forms.typed_row(job)
    in_force = job_words.in_force(job)
    return {
        "typed": typed,
        "governing": in_force,
        "schedule_words": job_words.schedule_words,
        "source_words": job_words.source_words(job),
        "occurrences": _occurrences(in_force or typed, now),
    }


def chosen_days() -> str:
    """How far back the charts go; 404 for what is no choice."""
    days = request.args.get("days", DEFAULT_DAYS)
    return days if days in job_words.RANGES else abort(404)


def since_of(days: str, now: datetime) -> datetime | None:
    return None if days == "all" else now - timedelta(days=int(days))


def find(rows: Session, job_id: int, *, lock: bool = False) -> Job:
    """The job with its server and schedules, or 404."""
    query = select(Job).options(selectinload(Job.schedules), joinedload(Job.server)).where(Job.id == job_id)
    if lock:
        query = query.with_for_update(of=Job)
    job = rows.scalar(query)
    return job if job is not None else abort(404)


def _position(report: Report) -> str:
    return f"{report.ended_at.isoformat()}_{report.id}"


def _read_position(text: str) -> tuple[datetime, int]:
    ended, _line, number = text.rpartition("_")
    try:
        ended_at = clock.from_iso(ended)
    except (ValueError, OverflowError):
        abort(404)
    if not number.isdecimal() or len(number) > 19 or int(number) > LARGEST_ID:
        abort(404)
    return ended_at, int(number)


def _occurrences(row: JobSchedule | None, now: datetime) -> list[datetime]:
    schedule = schedule_forms.schedule_of(row)
    try:
        return upcoming(schedule, now, OCCURRENCES_SHOWN) if schedule else []
    except RecurrenceError:
        return []


def _forms(job: Job, refused: FlaskForm | None) -> dict[str, FlaskForm]:
    if not access.identity().is_administrator:
        return {}
    chosen = access.settings_in_force()
    minutes = None if job.tolerance_seconds is None else job.tolerance_seconds // 60
    forms: list[FlaskForm] = [
        PauseForm(formdata=None),
        AcknowledgeForm(formdata=None),
        ToleranceForm(formdata=None, minutes=minutes),
        ReminderForm(formdata=None, reminder=job.reminder or "").offer(chosen.reminder),
        NotesForm(formdata=None, notes=job.notes),
        PublishForm(formdata=None, is_published=job.is_published, public_name=job.public_name),
    ]
    named = {type(form).__name__: form for form in forms}
    if refused is not None:
        named[type(refused).__name__] = refused
    return named


@contextlib.contextmanager
def changing(
    job_id: int, action: str, *, is_judged: bool = True
) -> Iterator[tuple[Job, dict[str, str | None], datetime]]:
    """One transaction around a change: the caller sets columns and says before and after.

    `is_judged` unless the change has no say in the state: judging anew also puts the next reminder off.
    """
    now = clock.utcnow()
    told: dict[str, str | None] = {}
    with database().writing() as rows:
        job = find(rows, job_id, lock=True)
        yield job, told, now
        if is_judged:
            record.settings_changed(job, stored_settings.policy_in(rows, access.settings()), now)
        note(rows, job, action, told)


def note(rows: Session, job: Job, action: str, told: dict[str, str | None]) -> None:
    """In the audit log: who did this to the job."""
    trace.note(rows, action, target(job), before=told.get("before"), after=told.get("after"))


def target(job: Job) -> str:
    """What the audit log calls a job."""
    return f"job {job.id}: {job.name} on {job.server.name}"


def back(job_id: int, message: str) -> ResponseReturnValue:
    """To the page of the job, which says what was done."""
    flash(message, "success")
    return redirect(url_for("jobs.show", job_id=job_id))
