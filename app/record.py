"""Takes a parsed report in: the row, the job's clocks, its state and the alert, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Connection, Table, bindparam, update
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import Session

from app import alerts, checks, expectation, jobs, overdue, report_rows, totals
from app.alerts import News
from app.checks import Policy
from app.db import Database, session_on
from app.expectation import Beliefs, Expectation, Run, Source
from app.known_job import KnownJob, KnownSchedule
from app.models import STATE_RANKS, ApiKey, Job, JobSchedule
from app.overdue import State, Verdict
from app.recurrence import RecurrenceError, Schedule
from app.report_rows import Incoming, Times
from app.reports import Report
from app.upload import Body, Sender

_CLOCK_AHEAD = timedelta(hours=1)
_SCHEDULE_AHEAD = timedelta(days=1)
_KEY_USE_NOTED_EVERY = timedelta(minutes=1)
_NOTE_KEY_USE = update(cast(Table, ApiKey.__table__)).where(ApiKey.id == bindparam("number"))


def take(
    database: Database, report: Report, body: Body, sender: Sender, *, policy: Policy, now: datetime
) -> bool:
    """Store a backup's report; False when the same one is stored already."""
    times = _times(report, now)
    incoming = Incoming.of(report, body, sender, times, now)

    def work(connection: Connection) -> bool:
        return _take(connection, report, incoming, times, sender, policy, now)

    try:
        return database.change_together(work)
    except (IntegrityError, NoResultFound):
        # The job or its server was made or deleted between two statements: it begins anew.
        return database.change_together(work)


def _take(
    connection: Connection,
    report: Report,
    incoming: Incoming,
    times: Times,
    sender: Sender,
    policy: Policy,
    now: datetime,
) -> bool:
    job = jobs.find(connection, report, key_id=sender.stand_in_id, key_label=sender.key_label, now=now)
    report_id = report_rows.add(connection, job.id, report, incoming, now)
    if report_id is None:
        job.save(connection)
        return False
    _note_key_use(connection, sender, now)
    newest = not report.dry_run and _is_newest(job, times)
    sums = totals.note_run(job, report, report_id, newest=newest)
    if not report.dry_run:
        _follow(connection, job, report, times, policy, now)
    job.save(connection)
    totals.note_state(connection, job)
    totals.add(connection, job.id, sums)
    return True


def _follow(
    connection: Connection, job: KnownJob, report: Report, times: Times, policy: Policy, now: datetime
) -> None:
    """What a run changes. One that ended before the newest known is history; a failure is told all the same,
    because a client whose clock was set back also looks like that."""
    if _is_newest(job, times):
        _move_clocks(job, report, times, policy, now)
        _change_state(connection, job, report, policy, now)
    elif not report.good and job.state != State.PAUSED and not checks.is_quiet(job, now):
        _tell(connection, job, alerts.FAILED, job.state, checks.judge(job, policy, now), report, policy, now)


def _is_newest(job: KnownJob, times: Times) -> bool:
    return job.last_ended_at is None or times.ended_at >= job.last_ended_at


def _times(report: Report, now: datetime) -> Times:
    """A run can't have ended after its report came; a client whose clock says so is not believed."""
    ended_at = report.ended_at
    if ended_at is None or ended_at > now + _CLOCK_AHEAD:
        began_at = report.began_at if report.began_at and report.began_at <= now else now
        return Times(began_at, now, "arrival")
    # A clock that is a little ahead must not make the next run look older than this one.
    ended_at = min(ended_at, now)
    return Times(min(report.began_at or ended_at, now), ended_at, "report")


def _note_key_use(connection: Connection, sender: Sender, now: datetime) -> None:
    # Once a minute is enough to show on a page; each report need not write it.
    is_old = sender.key_used_at is None or now - sender.key_used_at > _KEY_USE_NOTED_EVERY
    if sender.key_id is not None and is_old:
        connection.execute(_NOTE_KEY_USE, {"number": sender.key_id, "used_at": now})


def _move_clocks(job: KnownJob, report: Report, times: Times, policy: Policy, now: datetime) -> None:
    run, held = _run_by_its_clock(report, times, now), beliefs(job, policy)
    expected = expectation.after_run(run, held)
    _expect(job, expected)
    job.declared_next_at, job.declared_gap_seconds = expectation.heard(run, expected, held)
    job.last_began_at, job.last_ended_at = run.began_at, times.ended_at
    job.last_outcome = _outcome(report)
    job.last_run_good = report.good
    if report.good:
        job.last_good_at = times.ended_at


def _run_by_its_clock(report: Report, times: Times, now: datetime) -> Run:
    """A client begins when its own clock says so: by that clock a run counts for an occurrence or does not,
    whether the client's is ahead or ours has been set back. More than a day ahead is no clock at all."""
    began_at, ended_at = times.began_at, times.ended_at
    if report.ended_at is not None and report.ended_at <= now + _SCHEDULE_AHEAD:
        began_at, ended_at = report.began_at or report.ended_at, report.ended_at
    return Run(began_at=began_at, ended_at=ended_at, declared_next_at=report.next_scheduled_at)


def _outcome(report: Report) -> str:
    if report.interrupted:
        return "Interrupted"
    return "Partial" if report.partial and report.outcome in ("Success", "Warning") else report.outcome


def _expect(job: Job | KnownJob, expected: Expectation | None) -> None:
    job.expected_at = expected.expected_at if expected else None
    job.until_at = expected.until_at if expected else None
    job.expected_source = str(expected.source) if expected else None


def beliefs(job: Job | KnownJob, policy: Policy) -> Beliefs:
    """What is stored about the schedule of a job."""
    tolerance = policy.tolerance_seconds if job.tolerance_seconds is None else job.tolerance_seconds
    known = {each.source: _schedule(each) for each in job.schedules}
    return Beliefs(
        declared_next_at=job.declared_next_at,
        declared_gap_seconds=job.declared_gap_seconds,
        collected=known.get(Source.COLLECTED),
        typed=known.get(Source.TYPED),
        tolerance_seconds=tolerance,
    )


def _schedule(row: JobSchedule | KnownSchedule) -> Schedule | None:
    days = frozenset(filter(None, row.days.split(",")))
    try:
        return Schedule(repeat=row.repeat, days=days, zone=row.zone, anchor_at=row.anchor_at)
    except RecurrenceError:
        return None  # a zone this machine no longer knows: the next belief takes over


def _change_state(
    connection: Connection, job: KnownJob, report: Report, policy: Policy, now: datetime
) -> None:
    """What the report itself changes."""
    before = job.state
    decided = checks.judge_after_report(job, policy, good=report.good, now=now)
    if decided.state is State.PAUSED:
        _put(job, decided, now)
        if report.good:
            _end_acknowledgement(job)
        return
    if decided.state is State.FAILED:
        decided.why["error"] = report.error
    _put(job, decided, now)
    kind = _news_kind(job, decided, report, now)
    if report.good and decided.state is not State.OVERDUE:
        _end_acknowledgement(job)
    if kind:
        _tell(connection, job, kind, before, decided, report, policy, now)


def _end_acknowledgement(job: KnownJob) -> None:
    job.acknowledged_at = job.acknowledged_until_at = job.acknowledged_by = None


def _tell(
    connection: Connection,
    job: KnownJob,
    kind: str,
    before: str,
    decided: Verdict,
    report: Report,
    policy: Policy,
    now: datetime,
) -> None:
    facts = checks.facts_to_tell(job.server_name, job.name, before, decided)
    facts |= {
        "outcome": _outcome(report),
        "error": report.error,
        "warningsCount": report.warnings_count,
        "errorsCount": report.errors_count,
        "partial": report.partial,
        "interrupted": report.interrupted,
    }
    with session_on(connection) as session:
        alerts.record(session, [News(job.id, kind, facts)], now, policy.group_limit)
    job.told = kind


def _put(job: Job | KnownJob, decided: Verdict, now: datetime) -> None:
    if job.state != decided.state:
        job.state_since_at = decided.since_at or now
    job.state = str(decided.state)
    job.state_rank = STATE_RANKS[decided.state]
    job.why = decided.why
    job.downtime_id = None
    if decided.state is State.OVERDUE:
        job.attention_at = job.reminder_at
    else:
        job.reminder_at = None
        job.attention_at = decided.attention_at


def _news_kind(job: KnownJob, decided: Verdict, report: Report, now: datetime) -> str | None:
    """What people last heard decides whether there is a recovery to tell, whatever was set meanwhile."""
    if decided.state is State.FAILED and not report.good:
        return None if checks.is_quiet(job, now) else alerts.FAILED
    has_bad_news = job.told in alerts.BAD_NEWS
    return alerts.RECOVERED if report.good and has_bad_news and decided.state is not State.OVERDUE else None


def schedule_changed(session: Session, job: Job, policy: Policy, now: datetime) -> None:
    """After a schedule was saved or removed: what is expected by it, and the new state at once."""
    session.flush()
    session.refresh(job, ["schedules"])
    run = last_run(job)
    if run or job.schedules or job.declared_next_at:
        _expect(job, expectation.after_schedule_change(run, beliefs(job, policy), now))
    settings_changed(job, policy, now)


def last_run(job: Job) -> Run | None:
    """The newest run known, as far as it is remembered."""
    if job.last_began_at is None or job.last_ended_at is None:
        return None
    return Run(began_at=job.last_began_at, ended_at=job.last_ended_at, declared_next_at=None)


def settings_changed(job: Job, policy: Policy, now: datetime) -> None:
    """After a change of pause, tolerance or reminder: the new state at once; when the next run is due stays.

    That the job is overdue under the new setting is told by the next check, not here.
    """
    decided = checks.judge(job, policy, now)
    checks.keep_error(job, decided)
    if decided.state is State.OVERDUE:
        if job.state == State.OVERDUE:
            job.reminder_at = _next_mention(job, policy, now)
            _put(job, decided, now)
        else:
            job.attention_at = now
        return
    _put(job, decided, now)


def _next_mention(job: Job, policy: Policy, now: datetime) -> datetime | None:
    if checks.is_quiet(job, now):
        return job.acknowledged_until_at
    if job.told not in (alerts.OVERDUE, alerts.REMINDER):
        return now  # it became overdue while somebody wanted it quiet: nobody has been told
    return overdue.next_reminder(job.reminder or policy.reminder, now)
