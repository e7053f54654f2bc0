"""Who watches the watcher: whether checks are being made, decided here for everybody who shows it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVarTuple

from cronsim import CronSim
from flask import current_app
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app import interval
from app.checks import TASK
from app.interval import CronConfig
from app.models import TaskRun

Columns = TypeVarTuple("Columns")

log = logging.getLogger(__name__)


class State(StrEnum):
    OK = "ok"
    DISABLED = "disabled"
    NEVER_RAN = "never ran"
    STALE = "stale"
    DAMAGED = "configuration damaged"


@dataclass(frozen=True, slots=True)
class Watch:
    """How the checks are going. One that failed or was cut off did not complete.

    `disabled_until` is the end of a disabled time that has one.
    `failure` is what the newest check says if it failed: a warning, long before the state becomes stale.
    `next_at` is when the next one is planned, by the interval alone: nobody is asked who would make it.
    """

    state: State
    completed_at: datetime | None
    failure: str | None
    disabled_until: datetime | None
    next_at: datetime | None

    @property
    def is_well(self) -> bool:
        return self.state in (State.OK, State.DISABLED)


def look(rows: Session, now: datetime) -> Watch:
    completed = select(TaskRun.finished_at).where(TaskRun.task == TASK, TaskRun.succeeded.is_(True))
    newest = select(
        _newest(completed).correlate(None).scalar_subquery(), TaskRun.succeeded, TaskRun.message
    ).where(TaskRun.task == TASK, TaskRun.finished_at.is_not(None))
    completed_at, succeeded, message = rows.execute(_newest(newest)).first() or (None, None, None)
    failure = message if succeeded is False else None
    config = configured()
    until = config.disabled_until if config and not config.enabled else None
    return Watch(_state(config, completed_at, now), completed_at, failure, until, _next_at(config, now))


def _next_at(config: CronConfig | None, now: datetime) -> datetime | None:
    if config is None or not config.enabled:
        return None
    return next(CronSim(config.cron_expression, now), None)


def _newest(runs: Select[*Columns]) -> Select[*Columns]:
    return runs.order_by(TaskRun.id.desc()).limit(1)


def _state(config: CronConfig | None, completed_at: datetime | None, now: datetime) -> State:
    if config is None:
        return State.DAMAGED
    if not config.enabled:
        return State.DISABLED
    if completed_at is None:
        return State.NEVER_RAN
    return State.STALE if config.has_missed_checks(completed_at, now) else State.OK


def configured() -> CronConfig | None:
    """The interval in force; None when its file is damaged or can't be read."""
    reader: interval.Reader = current_app.extensions["interval"]
    try:
        return reader.read()
    except (interval.IntervalFileDamaged, OSError) as problem:
        log.error("the interval can't be read: %s", problem)
        return None
