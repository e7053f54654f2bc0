"""Runs one task under guard: whatever it does is recorded, and nothing it does ends the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock, lease
from app.archive.problems import ArchiveError
from app.cron.status import PastRun, Status
from app.cron.tasks import SpoolNotEmpty, Task, TaskContext, TaskResult
from app.db import Database, reason
from app.delivery import Courier
from app.models import TaskRun
from app.settings import Settings

logger = logging.getLogger(__name__)

_LONGEST_ERROR = 300


class HeldElsewhere(Exception):
    """Another cron service has the lease of the task, or has taken it meanwhile."""


class DoneElsewhere(Exception):
    """Another cron service has done since what was due."""

    def __init__(self, run: PastRun) -> None:
        super().__init__()
        self.run = run


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `sent_before` is the courier's count when it began."""

    succeeded: bool
    message: str
    sent_before: int
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run that is recorded: its row, the lease under which it goes on, whether another one began it."""

    row_id: int
    lease_name: str
    joins: bool


class _Hold:
    """The lease of one run: renewed now and then when asked whether it is still ours."""

    def __init__(self, database: Database, name: str, holder: str) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._renewed_at = clock.utcnow()
        self._is_lost = False

    def __call__(self) -> bool:
        now = clock.utcnow()
        if not self._is_lost and not timedelta(0) <= now - self._renewed_at < lease.RENEW_AFTER:
            with self._database.writing() as session:
                self._is_lost = not lease.renew(session, self._name, self._holder, now)
            self._renewed_at = now
        return not self._is_lost


class Runner:
    def __init__(
        self,
        app: Flask,
        database: Database,
        settings: Settings,
        courier: Courier,
        status: Status,
        holder: str = "",
    ) -> None:
        self._holder = holder
        self._seen: dict[str, int] = {}  # the last run of each task that is of the past, by its row
        self._app = app
        self._database = database
        self._settings = settings
        self._courier = courier
        self._status = status

    def remember(self, runs: Mapping[str, PastRun]) -> None:
        """Take over what the database says of runs before this start."""
        self._seen |= {name: run.row_id for name, run in runs.items()}

    def run(
        self,
        name: str,
        task: Task,
        cause: str,
        may_go_on: Callable[[], bool],
        due_at: datetime | None = None,
    ) -> Outcome:
        """Run a task now, in this thread; the status and a TaskRun row tell how it went.

        Raises HeldElsewhere, and DoneElsewhere if another service has done it since `due_at`.
        """
        started_at = clock.utcnow()
        sent_before = self._courier.sent_count
        self._status.beat()
        begun = {"task": name, "cause": cause, "holder": self._holder, "started_at": started_at}
        run = self._begin(task, begun, due_at)
        self._status.began(name)
        is_ours = _Hold(self._database, run.lease_name, self._holder) if run else _always
        context = TaskContext(
            self._settings,
            self._database,
            self._courier,
            started_at,
            lambda: may_go_on() and is_ours(),
            is_ours,
            joins=run is not None and run.joins,
        )
        result, succeeded = self._result(name, task, context)
        ended = {
            "finished_at": clock.utcnow(),
            "succeeded": succeeded,
            "message": result.message,
            "statistics": dict(result.statistics),
        }
        self._end(run, begun | ended)
        self._status.ended(name, PastRun(started_at, None if succeeded else result.message))
        if succeeded:
            logger.info("%s (%s): %s", name, cause, result.message)
        return Outcome(succeeded, result.message, sent_before, result.statistics)

    def _result(self, name: str, task: Task, context: TaskContext) -> tuple[TaskResult, bool]:
        try:
            with self._app.app_context():
                return task.run(context), True
        except (SQLAlchemyError, OSError, SpoolNotEmpty, ArchiveError) as problem:
            logger.error("%s failed: %s", name, _in_short(problem))
            return TaskResult(_in_short(problem)), False
        except Exception as problem:  # one of the two guards: a task may fail in any way
            logger.exception("%s failed", name)
            return TaskResult(_in_short(problem)), False

    def _begin(self, task: Task, begun: Mapping[str, Any], due_at: datetime | None) -> _Begun | None:
        """Take the lease, or join whoever has it, and record the run, in one; None when the database can't.

        Then the task runs all the same, for what it does is claimed row by row.
        """
        name, now = begun["task"], begun["started_at"]
        try:
            with self._database.writing() as session:
                joins = not lease.acquire(session, name, self._holder, now)
                if joins and not task.has_room(session, now):
                    raise HeldElsewhere(lease.holder_of(session, name) or "by now at rest")
                if due_at is not None and not joins:
                    self._stop_if_done(session, name, due_at)
                row = TaskRun(**begun)
                session.add(row)
                session.flush()
                self._seen[name] = row.id
                lease_name = lease.join(session, name, self._holder, now) if joins else name
                return _Begun(row.id, lease_name, joins)
        except SQLAlchemyError as problem:
            logger.error("a run of %s could not be recorded: %s", name, _in_short(problem))
            return None

    def _stop_if_done(self, session: Session, name: str, due_at: datetime) -> None:
        done = lease.done_by_another(session, name, self._holder, due_at, self._seen.get(name, 0))
        if done is not None:
            self._seen[name] = done.id
            raise DoneElsewhere(PastRun(done.started_at, None, done.id))

    def _end(self, run: _Begun | None, values: Mapping[str, Any]) -> None:
        """Record how it went and give the lease back, in one; nothing is told of a run that lost it."""
        name = values["task"]
        try:
            with self._database.writing() as session:
                if run is None:
                    session.add(TaskRun(**values))
                elif lease.release(session, run.lease_name, self._holder):
                    session.execute(update(TaskRun).where(TaskRun.id == run.row_id).values(**values))
                else:
                    raise HeldElsewhere(lease.holder_of(session, name) or "by now at rest")
        except HeldElsewhere:
            self._status.cut_off(name)
            logger.warning("%s: this service was away for too long, another one goes on with it", name)
            raise
        except SQLAlchemyError as problem:
            logger.error("a run of %s could not be recorded: %s", name, _in_short(problem))


def _always() -> bool:
    return True


def past_runs(database: Database) -> dict[str, PastRun]:
    """The last finished run of each task, as far as the database can tell."""
    last = select(func.max(TaskRun.id)).where(TaskRun.finished_at.is_not(None)).group_by(TaskRun.task)
    try:
        with database.reading() as session:
            rows = session.scalars(select(TaskRun).where(TaskRun.id.in_(last))).all()
    except SQLAlchemyError as problem:
        logger.error("the runs before this start can't be read: %s", _in_short(problem))
        return {}
    return {row.task: PastRun(row.started_at, None if row.succeeded else row.message, row.id) for row in rows}


def _in_short(problem: Exception) -> str:
    name, told = type(problem).__name__, reason(problem)
    return name if told == name else f"{name}: {told}"[:_LONGEST_ERROR]
