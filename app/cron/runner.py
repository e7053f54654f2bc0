"""Runs one task under guard: whatever it does is recorded, and nothing it does ends the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.cron.status import PastRun, Status
from app.cron.tasks import SpoolNotEmpty, Task, TaskContext, TaskResult
from app.db import Database, reason
from app.delivery import Courier
from app.models import TaskRun
from app.settings import Settings

logger = logging.getLogger(__name__)

_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `sent_before` is the courier's count when it began."""

    succeeded: bool
    message: str
    sent_before: int
    statistics: Mapping[str, Any] = field(default_factory=dict)


class Runner:
    def __init__(
        self, app: Flask, database: Database, settings: Settings, courier: Courier, status: Status
    ) -> None:
        self._app = app
        self._database = database
        self._settings = settings
        self._courier = courier
        self._status = status

    def run(self, name: str, task: Task, cause: str, may_go_on: Callable[[], bool]) -> Outcome:
        """Run a task now, in this thread; the status and a TaskRun row tell how it went."""
        started_at = clock.utcnow()
        sent_before = self._courier.sent_count
        self._status.beat()
        self._status.began(name)
        begun = {"task": name, "cause": cause, "started_at": started_at}
        row_id = self._record(None, begun)
        result, succeeded = self._result(name, task, started_at, may_go_on)
        ended = {
            "finished_at": clock.utcnow(),
            "succeeded": succeeded,
            "message": result.message,
            "statistics": dict(result.statistics),
        }
        self._record(row_id, begun | ended)
        self._status.ended(name, PastRun(started_at, None if succeeded else result.message))
        if succeeded:
            logger.info("%s (%s): %s", name, cause, result.message)
        return Outcome(succeeded, result.message, sent_before, result.statistics)

    def _result(
        self, name: str, task: Task, started_at: datetime, may_go_on: Callable[[], bool]
    ) -> tuple[TaskResult, bool]:
        context = TaskContext(self._settings, self._database, self._courier, started_at, may_go_on)
        try:
            with self._app.app_context():
                return task.run(context), True
        except (SQLAlchemyError, OSError, SpoolNotEmpty) as problem:
            logger.error("%s failed: %s", name, _in_short(problem))
            return TaskResult(_in_short(problem)), False
        except Exception as problem:  # one of the two guards: a task may fail in any way
            logger.exception("%s failed", name)
            return TaskResult(_in_short(problem)), False

    def _record(self, row_id: int | None, values: Mapping[str, Any]) -> int | None:
        try:
            with self._database.writing() as session:
                if row_id is not None:
                    session.execute(update(TaskRun).where(TaskRun.id == row_id).values(**values))
                    return row_id
                row = TaskRun(**values)
                session.add(row)
                session.flush()
                return row.id
        except SQLAlchemyError as problem:
            logger.error("a run of %s could not be recorded: %s", values["task"], _in_short(problem))
            return row_id


def past_runs(database: Database) -> dict[str, PastRun]:
    """The last finished run of each task, as far as the database can tell."""
    last = select(func.max(TaskRun.id)).where(TaskRun.finished_at.is_not(None)).group_by(TaskRun.task)
    try:
        with database.reading() as session:
            rows = session.scalars(select(TaskRun).where(TaskRun.id.in_(last))).all()
    except SQLAlchemyError as problem:
        logger.error("the runs before this start can't be read: %s", _in_short(problem))
        return {}
    return {row.task: PastRun(row.started_at, None if row.succeeded else row.message) for row in rows}


def _in_short(problem: Exception) -> str:
    name, told = type(problem).__name__, reason(problem)
    return name if told == name else f"{name}: {told}"[:_LONGEST_ERROR]
