"""A backup job: its state, its reports and alerts, and the settings an administrator may change."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, joinedload, selectinload

from app import access, audit, checks, clock, job_forms, jobs, record, reports
from app.db import database
from app.job_forms import AcknowledgeForm, PauseForm, ReminderForm, ScheduleForm, ToleranceForm
from app.models import Alert, Delivery, Job, JobSchedule, Report, ReportBody
from app.recurrence import RecurrenceError, Schedule, upcoming

REPORTS_A_PAGE = 25
ALERTS_SHOWN = 20
LOG_LINES_SHOWN = 200
OCCURRENCES_SHOWN = 5
_LARGEST_ID = 2**63 - 1
_JOB = f"<int(max={_LARGEST_ID}):job_id>"
_REPORT = f"{_JOB}/reports/<int(max={_LARGEST_ID}):report_id>"

bp = Blueprint("jobs", __name__, url_prefix="/jobs")


@bp.get(f"/{_JOB}")
@access.viewer
def show(job_id: int) -> str:
    return _page(job_id)


def _page(job_id: int, refused: FlaskForm | None = None) -> str:
    """The job's page; with `refused`, the settings are open and show what was wrong in that form."""
    with database().reading() as rows:
        job = _find(rows, job_id)
        found = list(rows.scalars(_reports(job_id, request.args.get("before"))))
        alerts = list(rows.scalars(_newest_alerts(job_id)))
        deliveries = _deliveries(rows, alerts)
    shown = found[:REPORTS_A_PAGE]
    return render_template(
        "jobs/show.html",
        job=job,
        reports=shown,
        following=_position(shown[-1]) if len(found) > REPORTS_A_PAGE else None,
        is_first=not request.args.get("before"),
        alerts=alerts,
        deliveries=deliveries,
        typed=job_forms.typed_row(job),
        occurrences=_occurrences(job_forms.typed_row(job), clock.utcnow()),
        forms=_forms(job, refused),
        refused=refused,
        is_quiet=checks.is_quiet(job, clock.utcnow()),
        zones=job_forms.zones(),
    )


def _find(rows: Session, job_id: int, *, lock: bool = False) -> Job:
    query = select(Job).options(selectinload(Job.schedules), joinedload(Job.server)).where(Job.id == job_id)
    if lock:
        query = query.with_for_update(of=Job)
    job = rows.scalar(query)
    return job if job is not None else abort(404)


def _reports(job_id: int, before: str | None) -> Select[Report]:
    query = select(Report).where(Report.job_id == job_id)
    if before:
        query = query.where(tuple_(Report.ended_at, Report.id) < tuple_(*_read_position(before)))
    return query.order_by(Report.ended_at.desc(), Report.id.desc()).limit(REPORTS_A_PAGE + 1)


def _position(report: Report) -> str:
    return f"{report.ended_at.isoformat()}_{report.id}"


def _read_position(text: str) -> tuple[datetime, int]:
    ended, _line, number = text.rpartition("_")
    try:
        ended_at = clock.from_iso(ended)
    except (ValueError, OverflowError):
        abort(404)
    if not number.isdecimal() or len(number) > 19 or int(number) > _LARGEST_ID:
        abort(404)
    return ended_at, int(number)


def _newest_alerts(job_id: int) -> Select[Alert]:
    return select(Alert).where(Alert.job_id == job_id).order_by(Alert.id.desc()).limit(ALERTS_SHOWN)


def _deliveries(rows: Session, alerts: Sequence[Alert]) -> dict[int, list[Delivery]]:
    # One that was told with others has the deliveries of the message they share.
    sent_as = {alert.id: alert.group_id or alert.id for alert in alerts}
    found: dict[int, list[Delivery]] = {number: [] for number in sent_as.values()}
    if found:
        query = select(Delivery).options(joinedload(Delivery.channel)).where(Delivery.alert_id.in_(found))
        for delivery in rows.scalars(query.order_by(Delivery.id)):
            found[delivery.alert_id].append(delivery)
    return {alert_id: found[number] for alert_id, number in sent_as.items()}


def _occurrences(row: JobSchedule | None, now: datetime) -> list[datetime]:
    if row is None:
        return []
    days = frozenset(filter(None, row.days.split(",")))
    try:
        schedule = Schedule(repeat=row.repeat, days=days, zone=row.zone, anchor_at=row.anchor_at)
        return upcoming(schedule, now, OCCURRENCES_SHOWN)
    except RecurrenceError:
        return []


def _forms(job: Job, refused: FlaskForm | None) -> dict[str, FlaskForm]:
    if not access.identity().is_administrator:
        return {}
    chosen = access.settings()
    minutes = None if job.tolerance_seconds is None else job.tolerance_seconds // 60
    forms: list[FlaskForm] = [
        PauseForm(formdata=None),
        AcknowledgeForm(formdata=None),
        ToleranceForm(formdata=None, minutes=minutes),
        ReminderForm(formdata=None, reminder=job.reminder or "").offer(chosen.reminder),
        job_forms.filled_schedule_form(job_forms.typed_row(job), access.timezone()),
    ]
    named = {type(form).__name__: form for form in forms}
    if refused is not None:
        named[type(refused).__name__] = refused
    return named


@bp.get(f"/{_REPORT}")
@access.viewer
def report(job_id: int, report_id: int) -> str:
    with database().reading() as rows:
        job = _find(rows, job_id)
        row = _find_report(rows, job_id, report_id)
        body = rows.get(ReportBody, report_id)
    lines = _log_lines(body) if body else ()
    return render_template(
        "jobs/report.html",
        job=job,
        report=row,
        body=body,
        lines=lines[:LOG_LINES_SHOWN],
        hidden=max(0, len(lines) - LOG_LINES_SHOWN),
    )


def _find_report(rows: Session, job_id: int, report_id: int) -> Report:
    row = rows.get(Report, report_id)
    return row if row is not None and row.job_id == job_id else abort(404)


def _log_lines(body: ReportBody) -> tuple[str, ...]:
    try:
        return reports.parse(zlib.decompress(body.compressed), body.content_type).log_lines
    except reports.UnusableReport:
        return ()


@bp.get(f"/{_REPORT}/raw")
@access.administrator
def raw(job_id: int, report_id: int) -> Response:
    with database().reading() as rows:
        _find_report(rows, job_id, report_id)
        body = rows.get(ReportBody, report_id) or abort(404)
    return Response(
        zlib.decompress(body.compressed),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="report-{report_id}.txt"'},
    )


@contextlib.contextmanager
def _changing(
    job_id: int, action: str, *, schedule: bool = False
) -> Iterator[tuple[Job, dict[str, str | None], datetime]]:
    """One transaction around a change: the caller sets columns and says before and after."""
    now, chosen = clock.utcnow(), access.settings()
    told: dict[str, str | None] = {}
    with database().writing() as rows:
        job = _find(rows, job_id, lock=True)
        yield job, told, now
        policy = checks.Policy.of(chosen)
        if schedule:
            record.schedule_changed(rows, job, policy, now)
        else:
            record.settings_changed(job, policy, now)
        _note(rows, job, action, told, now)


def _note(rows: Session, job: Job, action: str, told: dict[str, str | None], now: datetime) -> None:
    audit.note(
        rows,
        actor=access.actor(),
        action=action,
        target=f"job {job.id}: {job.name} on {job.server.name}",
        before=told.get("before"),
        after=told.get("after"),
        now=now,
        address=access.address(),
    )


def _back(job_id: int, message: str) -> ResponseReturnValue:
    flash(message, "success")
    return redirect(url_for("jobs.show", job_id=job_id))


@bp.post(f"/{_JOB}/pause")
@access.administrator
def pause(job_id: int) -> ResponseReturnValue:
    form, zone = PauseForm(), access.timezone()
    if not form.validate_end(zone, clock.utcnow()):
        return _page(job_id, form), 400
    until_at = form.until_at(zone)
    with _changing(job_id, "job paused") as (job, told, now):
        job.paused_at = job.paused_at if job.state == "paused" else now
        job.paused_until_at = until_at
        told["after"] = clock.iso(until_at) or "until resumed"
    return _back(job_id, _("Paused."))


@bp.post(f"/{_JOB}/resume")
@access.administrator
def resume(job_id: int) -> ResponseReturnValue:
    with _changing(job_id, "job resumed") as (job, _told, _now):
        job.paused_at = job.paused_until_at = None
    return _back(job_id, _("Resumed: this backup is watched again."))


@bp.post(f"/{_JOB}/acknowledge")
@access.administrator
def acknowledge(job_id: int) -> ResponseReturnValue:
    """Somebody knows: no reminder and no further failure is told until it recovers, or until a time."""
    form, zone = AcknowledgeForm(), access.timezone()
    if not form.validate_end(zone, clock.utcnow()):
        return _page(job_id, form), 400
    until_at = form.until_at(zone)
    with database().reading() as rows:
        if _find(rows, job_id).state not in ("overdue", "failed"):
            flash(_("Nothing to acknowledge: this backup is neither overdue nor failing."), "warning")
            return redirect(url_for("jobs.show", job_id=job_id))
    with _changing(job_id, "alert acknowledged") as (job, told, now):
        job.acknowledged_at, job.acknowledged_until_at = now, until_at
        job.acknowledged_by = access.actor()
        told["after"] = clock.iso(until_at) or "until it recovers"
    return _back(job_id, _("Acknowledged: quiet until it recovers or the time is over."))


@bp.post(f"/{_JOB}/acknowledge/withdraw")
@access.administrator
def withdraw_acknowledgement(job_id: int) -> ResponseReturnValue:
    with _changing(job_id, "acknowledgement withdrawn") as (job, _told, _now):
        job.acknowledged_at = job.acknowledged_until_at = job.acknowledged_by = None
    return _back(job_id, _("Reminders go out again."))


@bp.post(f"/{_JOB}/tolerance")
@access.administrator
def tolerance(job_id: int) -> ResponseReturnValue:
    form = ToleranceForm()
    if not form.validate():
        return _page(job_id, form), 400
    with _changing(job_id, "tolerance changed") as (job, told, _now):
        told["before"] = _seconds_words(job.tolerance_seconds)
        job.tolerance_seconds = None if form.minutes.data is None else form.minutes.data * 60
        told["after"] = _seconds_words(job.tolerance_seconds)
    return _back(job_id, _("Tolerance saved."))


def _seconds_words(seconds: int | None) -> str:
    return "global" if seconds is None else f"{seconds} s"


@bp.post(f"/{_JOB}/reminder")
@access.administrator
def reminder(job_id: int) -> ResponseReturnValue:
    form = ReminderForm().offer(access.settings().reminder)
    if not form.validate():
        return _page(job_id, form), 400
    with _changing(job_id, "reminder changed") as (job, told, _now):
        told["before"] = job.reminder or "global"
        job.reminder = form.reminder.data or None
        told["after"] = job.reminder or "global"
    return _back(job_id, _("Reminder saved."))


@bp.post(f"/{_JOB}/schedule")
@access.administrator
def schedule(job_id: int) -> ResponseReturnValue:
    form = ScheduleForm()
    entered = form.schedule(clock.utcnow()) if form.validate() else None
    if entered is None:
        return _page(job_id, form), 400
    with _changing(job_id, "schedule changed", schedule=True) as (job, told, now):
        told["before"] = job_forms.schedule_words(job_forms.typed_row(job))
        told["after"] = job_forms.store_schedule(job, entered, now)
    return _back(job_id, _("Schedule saved. The next runs it expects are shown below."))


@bp.post(f"/{_JOB}/schedule/remove")
@access.administrator
def remove_schedule(job_id: int) -> ResponseReturnValue:
    with _changing(job_id, "schedule removed", schedule=True) as (job, told, _now):
        row = job_forms.typed_row(job)
        told["before"] = job_forms.schedule_words(row)
        if row is not None:
            job.schedules.remove(row)
    return _back(job_id, _("Schedule removed."))


@bp.get(f"/{_JOB}/delete")
@access.administrator
def confirm_delete(job_id: int) -> str:
    with database().reading() as rows:
        return render_template("jobs/delete.html", job=_find(rows, job_id))


@bp.post(f"/{_JOB}/delete")
@access.administrator
def delete(job_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        job = _find(rows, job_id, lock=True)
        name = job.name
        _note(rows, job, "job deleted", {"before": job.name}, clock.utcnow())
        jobs.forget(rows, job)
    flash(_("%(name)s is deleted.", name=name), "success")
    return redirect(url_for("dashboard.index"))
