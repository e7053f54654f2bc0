"""The overdue check: finds what silence has changed, decides, and records the alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select, update
from sqlalchemy.orm import Session

from app import alerts, overdue
from app.alerts import News
from app.db import Database
from app.models import STATE_RANKS, Job, Server, Total
from app.overdue import Facts, State, Verdict

TASK = "overdue-backup-check"
BATCH = 500
JOBS_TOTAL = "jobs"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for jobs without a setting of their own."""

    tolerance_seconds: int
    reminder: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    total_jobs: int
    checked_jobs: int  # every job that is not paused: the index tells which of them need a closer look
    overdue_jobs: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one due job turns into: new column values, and perhaps something to tell."""

    values: dict[str, Any]
    news: News | None


def run(database: Database, policy: Policy, now: datetime) -> CheckResult:
    """One pass. Its cost grows with what has become due, not with what exists.

    Two passes at once share the work: a due job is locked while it is decided, and decided once.
    """
    recorded = 0
    while _is_anything_due(database, now):
        with database.writing() as session:
            looked_at, told = _run_batch(session, policy, now)
        recorded += told
        if looked_at < BATCH:
            break
    return _result(database, recorded)


def preview(database: Database, policy: Policy, at: datetime) -> list[tuple[str, str, Verdict]]:
    """Server, job and verdict of all that would be overdue then if no report came; nothing is stored."""
    found = []
    with database.reading() as session:
        for row in session.execute(_facts_of_jobs().order_by(Server.name, Job.name)):
            decided = overdue.verdict(_facts(row, policy), at)
            if decided.state is State.OVERDUE:
                found.append((row.server_name, row.name, decided))
    return found


def _is_anything_due(database: Database, now: datetime) -> bool:
    with database.reading() as session:
        return session.scalar(select(Job.id).where(Job.attention_at < now).limit(1)) is not None


def _facts_of_jobs() -> Select[*tuple[Any, ...]]:
    return select(
        Job.id,
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
        Server.name.label("server_name"),
    ).join(Server)


def _run_batch(session: Session, policy: Policy, now: datetime) -> tuple[int, int]:
    due = (
        _facts_of_jobs()
        .where(Job.attention_at < now)
        .order_by(Job.attention_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=Job)
    )
    rows = session.execute(due).all()
    changes = [_change(row, policy, now) for row in rows]
    if changes:
        session.execute(update(Job), [each.values for each in changes])
    told = alerts.record(session, [each.news for each in changes if each.news], now)
    return len(rows), told


def _facts(row: Row[*tuple[Any, ...]] | Job, policy: Policy) -> Facts:
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


def judge(job: Job, policy: Policy, now: datetime) -> Verdict:
    """The verdict on a job that is already loaded."""
    return overdue.verdict(_facts(job, policy), now)


def _change(row: Row[*tuple[Any, ...]], policy: Policy, now: datetime) -> Change:
    decided = overdue.verdict(_facts(row, policy), now)
    values: dict[str, Any] = {
        "id": row.id,
        "state": str(decided.state),
        "state_rank": STATE_RANKS[decided.state],
        "state_since_at": row.state_since_at if decided.state == row.state else decided.since_at or now,
        "why": decided.why,
        "reminder_at": None,
        "attention_at": decided.attention_at,
    }
    if decided.state is not State.PAUSED:
        values |= {"paused_at": None, "paused_until_at": None}
    kind = None
    if decided.state is State.OVERDUE:
        kind = _overdue_news(row, now)
        reminder_at = (
            row.reminder_at if kind is None else overdue.next_reminder(row.reminder or policy.reminder, now)
        )
        values |= {"reminder_at": reminder_at, "attention_at": reminder_at}
        values["told"] = kind or row.told
    else:
        values["told"] = row.told
    news = News(row.id, kind, facts_to_tell(row.server_name, row.name, row.state, decided)) if kind else None
    return Change(values, news)


def _overdue_news(row: Row[*tuple[Any, ...]], now: datetime) -> str | None:
    if row.state != State.OVERDUE:
        # After a pause people know already, unless something else was told since.
        known = row.told in (alerts.OVERDUE, alerts.REMINDER)
        return alerts.REMINDER if known else alerts.OVERDUE
    return alerts.REMINDER if row.reminder_at and row.reminder_at < now else None


def facts_to_tell(server: str, job: str, previous_state: str, decided: Verdict) -> dict[str, object]:
    """What a message about a job is made of."""
    return {
        "server": server,
        "job": job,
        "state": str(decided.state),
        "previousState": previous_state,
        **decided.why,
    }


def _result(database: Database, recorded: int) -> CheckResult:
    with database.reading() as session:
        total = session.scalar(select(Total.value).where(Total.name == JOBS_TOTAL)) or 0
        # Spelled out: with a bound value SQLite would not take the partial index.
        not_ok: ColumnElement[bool] = literal_column("state <> 'ok'")
        counted = select(Job.state, func.count()).where(not_ok, Job.state.in_(("overdue", "paused")))
        counts = {row[0]: row[1] for row in session.execute(counted.group_by(Job.state))}
    return CheckResult(
        total_jobs=total,
        checked_jobs=total - counts.get(State.PAUSED, 0),
        overdue_jobs=counts.get(State.OVERDUE, 0),
        alerts=recorded,
    )
