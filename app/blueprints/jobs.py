"""A backup job: its page with everything known of it, its reports and their bodies, and its end."""

from __future__ import annotations

import zlib

from flask import Blueprint, Response, abort, flash, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from app import access, clock, job_history, job_page, jobs, report_words, reports, thinning
from app.db import database
from app.models import Report, ReportBody

LOG_LINES_SHOWN = 200
_JOB = f"<int(max={job_page.LARGEST_ID}):job_id>"
_REPORT = f"{_JOB}/reports/<int(max={job_page.LARGEST_ID}):report_id>"

bp = Blueprint("jobs", __name__, url_prefix="/jobs")


@bp.get(f"/{_JOB}")
@access.viewer
def show(job_id: int) -> str:
    return job_page.show(job_id)


@bp.get(f"/{_JOB}/series")
@access.viewer
def series(job_id: int) -> Response:
    """The figures of the runs in columns, for the charts."""
    since_at = job_page.since_of(job_page.chosen_days(), clock.utcnow())
    with database().reading() as rows:
        job_page.find(rows, job_id)
        found = job_history.series(rows, job_id, since_at)
    points = thinning.thin(found.points)
    columns = zip(*points, strict=True) if points else [()] * len(thinning.Point._fields)
    named = dict(zip(thinning.Point._fields, columns, strict=True))
    return jsonify(
        runs=len(found.points),
        isWhole=found.is_whole,
        endedAt=[round(each.timestamp()) for each in named["ended_at"]],
        good=[int(each) for each in named["good"]],
        **{name: list(named[name]) for name in thinning.FIGURES},
    )


@bp.get(f"/{_REPORT}")
@access.viewer
def report(job_id: int, report_id: int) -> str:
    with database().reading() as rows:
        job = job_page.find(rows, job_id)
        row = _find_report(rows, job_id, report_id)
        body = rows.get(ReportBody, report_id)
    lines = _log_lines(body) if body else ()
    shown = lines[:LOG_LINES_SHOWN]
    return render_template(
        "jobs/report.html",
        job=job,
        report=row,
        body=body,
        entries=report_words.entries(shown),
        hidden=len(lines) - len(shown),
    )


def _find_report(rows: Session, job_id: int, report_id: int) -> Report:
    row = rows.get(Report, report_id)
    return row if row is not None and row.job_id == job_id else abort(404)


def _log_lines(body: ReportBody) -> tuple[str, ...]:
    try:
        return reports.parse(zlib.decompress(body.compressed), body.content_type).log_lines
    except reports.UnusableReport:
        return ()


@bp.get(f"/{_REPORT}/body")
@access.administrator
def body(job_id: int, report_id: int) -> str:
    """The body to read; `raw` hands it out as it came."""
    with database().reading() as rows:
        job = job_page.find(rows, job_id)
        row = _find_report(rows, job_id, report_id)
        found = rows.get(ReportBody, report_id) or abort(404)
    shown = report_words.readable(found)
    return render_template("jobs/body.html", job=job, report=row, body=found, shown=shown)


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


@bp.get(f"/{_JOB}/delete")
@access.administrator
def confirm_delete(job_id: int) -> str:
    with database().reading() as rows:
        return render_template("jobs/delete.html", job=job_page.find(rows, job_id))


@bp.post(f"/{_JOB}/delete")
@access.administrator
def delete(job_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        job = job_page.find(rows, job_id, lock=True)
        name = job.name
        job_page.note(rows, job, "job deleted", {"before": job.name})
        jobs.forget(rows, job)
    flash(_("%(name)s is deleted.", name=name), "success")
    return redirect(url_for("dashboard.index"))
