"""The overdue check: finds what silence has changed, decides, and records the alerts."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import alerts, check_result, deadline, downtime, maintenance, overdue, totals
from app.alerts import News
from app.check_result import CheckResult
from app.db import Database, reason
from app.deadline import Allowance
from app.known_job import KnownJob
from app.many_rows import NUMBER, Changes
from app.models import STATE_RANKS, Job, Server
from app.overdue import Facts, State, Verdict

log = logging.getLogger(__name__)

TASK = "overdue-backup-check"
BATCH = 500
# So often, and so long each time, a pass waits for jobs that somebody else has locked.
MOST_WAITS = 100
WAIT_SECONDS = 0.05


# All rows of a batch at once: what the ORM does for each is half the work.
# fmt: off
_CHANGES = Changes(Job, (
    "state", "state_rank", "state_since_at", "why", "reminder_at", "attention_at", "downtime_id", "paused_at",
    "paused_until_at", "told",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for jobs without a setting of their own."""

    tolerance_seconds: int
    reminder: str
    group_limit: int = 0
    downtime_credit_seconds: int = 7200


@dataclass(frozen=True, slots=True)
class Change:
    """What one due job turns into: new column values, and perhaps something to tell."""

    values: dict[str, Any]
    news: News | None


def run(
    database: Database,
    policy: Policy,
    now: datetime,
    may_go_on: Callable[[], bool] = lambda: True,
    *,
    joins: bool = False,
    has_recorded: Callable[[], None] = lambda: None,
) -> CheckResult:
    """One pass. Its cost grows with what has become due, not with what exists.

    Two passes at once share the work: a due job is locked while it is decided, and decided once; whoever
    `joins` a pass that another service has begun says so. Each of them ends when nothing is due any more,
    also of what the others had locked. Between two batches `may_go_on` can end it; the next pass finds what
    is left. `has_recorded` is called as soon as there are alerts, though more may follow.
    """
    rests = check_result.at_rest(database, now)
    if rests is not None:
        return rests
    _notice_downtime(database, now)
    recorded, is_done = _decide_all(database, policy, now, may_go_on, joins, has_recorded)
    if is_done:  # else the digest would leave out what has not been looked at
        recorded += downtime.tell(database, now)
    with database.reading() as session:
        return check_result.of(*totals.read(session), recorded)


def _decide_all(
    database: Database,
    policy: Policy,
    now: datetime,
    may_go_on: Callable[[], bool],
    joins: bool,
    has_recorded: Callable[[], None],
) -> tuple[int, bool]:
    """How many alerts were recorded, and whether nothing is left that is due."""
    recorded = waits = 0
    while may_go_on():
        with database.reading() as session:
            if not _is_anything_due(session, now):
                return recorded, True
        if waits == MOST_WAITS:
            return recorded, False
        if waits:
            time.sleep(WAIT_SECONDS)
        with database.writing() as session:
            looked_at, told = _run_batch(session, policy, now, joins)
        recorded += told
        if told:
            has_recorded()
        waits += looked_at < BATCH  # what is still due then is locked: by another service, or by a report
    return recorded, False


def has_room(session: Session, now: datetime) -> bool:
    """Whether more is due than the service that is at it decides next. On SQLite only one writes at a time:
    a second one would be no help."""
    if session.get_bind().dialect.name == "sqlite":
        return False
    due = select(Job.id).where(Job.attention_at < now).order_by(Job.attention_at)
    return session.scalar(due.offset(BATCH).limit(1)) is not None


def _notice_downtime(database: Database, now: datetime) -> None:
    try:
        downtime.notice(database, now)
    except (SQLAlchemyError, ValueError) as problem:
        # It only excuses: without it an alert may come early, but it comes.
        log.error("our own downtime can't be read: %s", reason(problem))


def preview(database: Database, policy: Policy, at: datetime) -> list[tuple[str, str, Verdict]]:
    """Server, job and verdict of all that would be overdue then if no report came; nothing is stored."""
    found = []
    with database.reading() as session:
        windows = maintenance.load(session)
        for row in session.execute(_facts_of_jobs().order_by(Server.name, Job.name)):
            decided = overdue.verdict(_allowed(_facts(row, policy), row, policy, windows, ()), at)
            if decided.state is State.OVERDUE:
                found.append((row.server_name, row.name, decided))
    return found


def _is_anything_due(session: Session, now: datetime) -> bool:
    return session.scalar(select(Job.id).where(Job.attention_at < now).limit(1)) is not None


def _facts_of_jobs() -> Select[*tuple[Any, ...]]:
    return select(
        Job.id,
        Job.server_id,
        Job.name,
        Job.state,
        Job.state_since_at,
        Job.expected_at,
        Job.until_at,
        Job.expected_source,
        Job.reminder_at,
        Job.told,
        Job.last_good_at,
        Job.last_ended_at,
        Job.last_outcome,
        Job.last_run_good,
        Job.tolerance_seconds,
        Job.reminder,
        Job.paused_at,
        Job.paused_until_at,
        Job.acknowledged_at,
        Job.acknowledged_until_at,
        Job.why,
        Server.name.label("server_name"),
    ).join(Server)


def _run_batch(session: Session, policy: Policy, now: datetime, joins: bool) -> tuple[int, int]:
    due = (
        _facts_of_jobs()
        .where(Job.attention_at < now)
        .order_by(Job.attention_at, Job.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=Job)
    )
    rows = session.execute(due).all()
    if not rows:
        return 0, 0
    windows = maintenance.load(session)
    oldest_at = min((row.expected_at for row in rows if row.expected_at), default=now)
    downtimes = downtime.since(session, oldest_at, now)
    changes = [
        _change(row, _allowed(_facts(row, policy), row, policy, windows, downtimes), policy, now)
        for row in rows
    ]
    _CHANGES.run(session.connection(), [each.values for each in changes])
    news = [each.news for each in changes if each.news]
    recorded = alerts.record(session, news, now, policy.group_limit, in_parts=joins)
    moved = Counter(each.values["state"] for each in changes)
    moved.subtract(row.state for row in rows)
    totals.count_states(session.connection(), rows[0].id, moved)
    return len(rows), recorded


def _allowed(
    facts: Facts,
    row: Row[*tuple[Any, ...]],
    policy: Policy,
    windows: Sequence[maintenance.Window],
    downtimes: Sequence[deadline.Downtime],
) -> Facts:
    """With what moves the deadline of this job. One that people were told of is not taken back."""
    if facts.expected_at is None or facts.deadline_at is None:
        return facts
    if row.state == State.OVERDUE:
        # Reminders name the deadline that was in force, not the one before it was moved.
        was_moved = row.state_since_at > facts.deadline_at
        return replace(facts, allowance=Allowance(row.state_since_at, None, None)) if was_moved else facts
    spans = maintenance.spans(windows, row.server_id, row.id, facts.expected_at, facts.deadline_at)
    if not spans and not downtimes:
        return facts
    credit = policy.downtime_credit_seconds
    moved = deadline.allow(facts.expected_at, facts.deadline_at, spans, downtimes, credit)
    return replace(facts, allowance=moved)


def _facts(row: Row[*tuple[Any, ...]] | Job | KnownJob, policy: Policy) -> Facts:
    tolerance = row.tolerance_seconds
    return Facts(
        expected_at=row.expected_at,
        until_at=row.until_at,
        source=row.expected_source,
        tolerance_seconds=policy.tolerance_seconds if tolerance is None else tolerance,
        last_good_at=row.last_good_at,
        last_ended_at=row.last_ended_at,
        last_run_good=row.last_run_good,
        last_outcome=row.last_outcome,
        paused_at=row.paused_at,
        paused_until_at=row.paused_until_at,
    )


def judge(job: Job | KnownJob, policy: Policy, now: datetime) -> Verdict:
    """The verdict on a job that is already loaded."""
    return overdue.verdict(_facts(job, policy), now)


def judge_after_report(job: Job | KnownJob, policy: Policy, *, good: bool, now: datetime) -> Verdict:
    """The verdict once a report has moved the clocks of a job that is loaded."""
    return overdue.after_report(_facts(job, policy), job.state, good, now)


def _change(row: Row[*tuple[Any, ...]], facts: Facts, policy: Policy, now: datetime) -> Change:
    decided = overdue.verdict(facts, now)
    blamed = facts.allowance.downtime if facts.allowance and decided.state is not State.OVERDUE else None
    is_paused = decided.state is State.PAUSED
    keep_error(row, decided)
    values: dict[str, Any] = {
        NUMBER: row.id,
        "state": str(decided.state),
        "state_rank": STATE_RANKS[decided.state],
        "state_since_at": row.state_since_at if decided.state == row.state else decided.since_at or now,
        "why": decided.why,
        "reminder_at": None,
        "attention_at": decided.attention_at,
        "downtime_id": blamed.id if blamed else None,
        "paused_at": row.paused_at if is_paused else None,
        "paused_until_at": row.paused_until_at if is_paused else None,
    }
    kind = None
    if decided.state is State.OVERDUE:
        kind = _overdue_news(row, now)
        reminder_at = row.reminder_at
        if is_quiet(row, now):
            kind, reminder_at = None, row.acknowledged_until_at
        elif kind:
            due_at = row.reminder_at if row.state == State.OVERDUE else now
            reminder_at = overdue.following_reminder(row.reminder or policy.reminder, due_at, now)
        values |= {"reminder_at": reminder_at, "attention_at": reminder_at}
        values["told"] = kind or row.told
    else:
        kind = _news_after_pause(row, decided.state, now)
        values["told"] = kind or row.told
    before = alerts.FAILED if kind == alerts.RECOVERED and row.told == alerts.FAILED else row.state
    news = News(row.id, kind, facts_to_tell(row.server_name, row.name, before, decided)) if kind else None
    return Change(values, news)


def keep_error(job: Row[*tuple[Any, ...]] | Job, decided: Verdict) -> None:
    """What a failed run said of itself is known from its report alone; it stays while the job is failed."""
    if decided.state is State.FAILED and job.state == State.FAILED and "error" in (job.why or {}):
        decided.why.setdefault("error", job.why["error"])


def is_quiet(job: Row[*tuple[Any, ...]] | Job | KnownJob, now: datetime) -> bool:
    """Somebody has said that they know."""
    until_at = job.acknowledged_until_at
    return job.acknowledged_at is not None and (until_at is None or now <= until_at)


def _overdue_news(row: Row[*tuple[Any, ...]], now: datetime) -> str | None:
    if row.state != State.OVERDUE:
        # After a pause people know already, unless something else was told since.
        known = row.told in (alerts.OVERDUE, alerts.REMINDER)
        return alerts.REMINDER if known else alerts.OVERDUE
    return alerts.REMINDER if row.reminder_at and row.reminder_at < now else None


def _news_after_pause(row: Row[*tuple[Any, ...]], state: State, now: datetime) -> str | None:
    """What a run has changed while it was not to be told; what silence has changed is not for here."""
    has_run = row.paused_at and row.last_ended_at and row.last_ended_at > row.paused_at
    if row.state != State.PAUSED or state is State.PAUSED or not has_run:
        return None
    if state is State.FAILED:
        return None if is_quiet(row, now) else alerts.FAILED
    return alerts.RECOVERED if row.last_run_good and row.told in alerts.BAD_NEWS else None


def facts_to_tell(server: str, job: str, previous_state: str, decided: Verdict) -> dict[str, object]:
    """What a message about a job is made of."""
    return {
        "server": server,
        "job": job,
        "state": str(decided.state),
        "previousState": previous_state,
        **decided.why,
    }
