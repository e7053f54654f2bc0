"""What a check has found. Of one that finds nothing to do, as most do, it is told by one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, or_, select

from app import downtime, totals
from app.db import Database, UtcDateTime
from app.models import Job, Total
from app.overdue import State
from app.prepared import Prepared

# It asks for the first moment of all rather than whether one is past: PostgreSQL makes its plan once, without
# knowing `now`, and would go through all jobs.
_FIRST_LOOK = Prepared(
    select(
        or_(
            select(func.min(Job.attention_at)).scalar_subquery() < bindparam("now"),
            downtime.has_work(bindparam("silent_since_at", type_=UtcDateTime)),
        ),
        Total.name,
        Total.value,
    )
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    total_jobs: int
    checked_jobs: int  # every job that is not paused: the index tells which of them need a closer look
    overdue_jobs: int
    alerts: int


def at_rest(database: Database, now: datetime) -> CheckResult | None:
    """What there is if nothing is due and nothing is to be told; None when a check has to look closer."""
    with database.asking() as rows:
        found = _FIRST_LOOK.run(rows, {"now": now, "silent_since_at": now - downtime.GAP})
    is_at_rest = found and not found[0][0]
    return of(*totals.summed(row[1:] for row in found), 0) if is_at_rest else None


def of(counts: Mapping[str, int], states: Mapping[str, int], recorded: int) -> CheckResult:
    total = counts[totals.JOBS]
    return CheckResult(
        total_jobs=total,
        checked_jobs=total - states[State.PAUSED],
        overdue_jobs=states[State.OVERDUE],
        alerts=recorded,
    )
