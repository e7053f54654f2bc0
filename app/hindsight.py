"""The stored past of a job, as much of it as a backtest needs, and what it shows under two settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app import deadline, downtime, maintenance
from app.backtest import Allow, PastRun, Replay, Setting, replay
from app.checks import Policy
from app.models import Job, Report

LENGTH = timedelta(days=90)
MOST_RUNS = 3000
# Runs from before, which tell what was expected at the beginning.
_LEAD_IN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Runs in the order in which they came, and what moved deadlines; counting begins with `began_at`."""

    runs: tuple[PastRun, ...]
    began_at: datetime
    ended_at: datetime
    is_cut: bool
    allow: Allow

    @property
    def counted(self) -> tuple[PastRun, ...]:
        """Without those that only lead in."""
        return tuple(each for each in self.runs if each.received_at >= self.began_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    past: Past
    now: Replay
    then: Replay


def load(rows: Session, job: Job, policy: Policy, now: datetime) -> Past:
    """The last 90 days, of very many runs the newest. Two queries, and two for what moved deadlines."""
    from_at = now - LENGTH
    inside = _runs(job.id).where(Report.ended_at >= from_at).limit(MOST_RUNS + 1)
    found = [_past_run(row) for row in rows.execute(inside)]
    is_cut = len(found) > MOST_RUNS
    if is_cut:
        found = found[:MOST_RUNS]
        from_at = min(each.received_at for each in found)
    else:
        before = _runs(job.id).where(Report.ended_at < from_at).limit(_LEAD_IN)
        found += [_past_run(row) for row in rows.execute(before)]
    found.sort(key=lambda each: each.received_at)
    oldest_at = found[0].began_at if found else now
    return Past(
        runs=tuple(found),
        began_at=from_at,
        ended_at=now,
        is_cut=is_cut,
        allow=allowance(rows, job, policy, oldest_at, now),
    )


def _runs(job_id: int) -> Select[*tuple[Any, ...]]:
    columns = (
        Report.received_at,
        Report.began_at,
        Report.ended_at,
        Report.next_scheduled_at,
        Report.good,
    )
    mine = select(*columns).where(Report.job_id == job_id, Report.dry_run.is_(False))
    return mine.order_by(Report.ended_at.desc(), Report.id.desc())


def _past_run(row: Row[*tuple[Any, ...]]) -> PastRun:
    return PastRun(
        received_at=row.received_at,
        began_at=row.began_at,
        ended_at=row.ended_at,
        declared_next_at=row.next_scheduled_at,
        good=row.good,
    )


def allowance(rows: Session, job: Job, policy: Policy, oldest_at: datetime, now: datetime) -> Allow:
    """How maintenance as it is entered today, and downtimes that are over, move the deadlines of a job."""
    windows = [each for each in maintenance.load(rows) if each.concerns(job.server_id, job.id)]
    downtimes = [each for each in downtime.since(rows, oldest_at, now) if not each.is_open]

    def allow(expected_at: datetime, deadline_at: datetime) -> deadline.Allowance | None:
        spans = maintenance.spans(windows, job.server_id, job.id, expected_at, deadline_at)
        if not spans and not downtimes:
            return None
        credit = policy.downtime_credit_seconds
        return deadline.allow(expected_at, deadline_at, spans, downtimes, credit)

    return allow


def compare(past: Past, now: Setting, then: Setting) -> Comparison:
    """The same past under the setting in force and under another one."""
    before = _try(past, now)
    return Comparison(past=past, now=before, then=before if then == now else _try(past, then))


def _try(past: Past, setting: Setting) -> Replay:
    oldest_at = past.runs[0].began_at if past.runs else past.began_at
    found = replay(past.runs, setting.since(oldest_at), past.ended_at, past.allow)
    return found.since(past.began_at)
