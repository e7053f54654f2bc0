"""The runs of the cron service's tasks, as far as they are kept: pages of a history, and the last few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.lease import LEASE, work_of
from app.models import Lease, TaskRun

PAGE_SIZE = 20
STRIP_SIZE = 60

DONE, FAILED, RUNNING, CUT_OFF = "done", "failed", "running", "cut-off"


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run and how it ended; `outcome` is one of DONE, FAILED, RUNNING, CUT_OFF."""

    row: TaskRun
    outcome: str

    @property
    def seconds(self) -> float | None:
        return (self.row.finished_at - self.row.started_at).total_seconds() if self.row.finished_at else None


def history(session: Session, now: datetime, task: str | None, before: int | None) -> list[PastRun]:
    """The newest first, one more than a page shows."""
    query = select(TaskRun).order_by(TaskRun.id.desc()).limit(PAGE_SIZE + 1)
    if task is not None:
        query = query.where(TaskRun.task == task)
    if before is not None:
        query = query.where(TaskRun.id < before)
    return _told(session, session.scalars(query).all(), now)


def strip(session: Session, now: datetime, task: str) -> list[PastRun]:
    """The last runs of one task, the oldest first."""
    newest = select(TaskRun).where(TaskRun.task == task).order_by(TaskRun.id.desc()).limit(STRIP_SIZE)
    return _told(session, session.scalars(newest).all(), now)[::-1]


def last(session: Session, task: str) -> TaskRun | None:
    """The newest run that came to an end."""
    finished = select(TaskRun).where(TaskRun.task == task, TaskRun.finished_at.is_not(None))
    return session.scalar(finished.order_by(TaskRun.id.desc()).limit(1))


def _told(session: Session, runs: Sequence[TaskRun], now: datetime) -> list[PastRun]:
    held: set[tuple[str, str]] = set()
    if any(run.finished_at is None for run in runs):
        query = select(Lease.name, Lease.holder).where(
            Lease.expires_at > now, Lease.expires_at <= now + 2 * LEASE
        )
        held = {(work_of(row[0]), row[1]) for row in session.execute(query)}
    found = []
    for run in runs:
        found.append(PastRun(run, _outcome(run, held)))
        if run.finished_at is None:
            held.discard((run.task, run.holder))  # only the newest can be the one that is under way
    return found


def _outcome(run: TaskRun, held: set[tuple[str, str]]) -> str:
    if run.finished_at is None:
        return RUNNING if (run.task, run.holder) in held else CUT_OFF
    return DONE if run.succeeded else FAILED
