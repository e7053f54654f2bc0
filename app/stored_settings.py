"""Settings that are chosen on pages: a variable that was set wins, then what is stored, then the default."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column, or_, select, update
from sqlalchemy.orm import Session

from app import alerts, overdue
from app.checks import TASK, Policy
from app.db import Database, insert_if_absent
from app.models import Job, StoredSetting, TaskRun
from app.setting_table import SETTINGS
from app.settings import Settings

log = logging.getLogger(__name__)

TOLERANCE = "tolerance_seconds"
REMINDER = "reminder"
GROUP_LIMIT = "group_limit"
REPORT_DAYS = "report_retention_days"
AUDIT_DAYS = "audit_retention_days"
NAMES = (TOLERANCE, REMINDER, GROUP_LIMIT, REPORT_DAYS, AUDIT_DAYS)
# Reports come often: for so long what was read is used for the next ones.
AGE_SECONDS = 5.0

_TABLE = {each.field: each for each in SETTINGS if each.field in NAMES}


def variable(name: str) -> str:
    """The environment variable of the same meaning."""
    return _TABLE[name].variable


def values(session: Session, names: tuple[str, ...]) -> dict[str, str]:
    """What is stored under these names, as text."""
    query = select(StoredSetting.name, StoredSetting.value).where(StoredSetting.name.in_(names))
    return {row[0]: row[1] for row in session.execute(query)}


def in_force(database: Database, settings: Settings) -> Settings:
    with database.reading() as session:
        return in_force_in(session, settings)


def in_force_in(session: Session, settings: Settings) -> Settings:
    """The settings with what was chosen on pages; a stored value that can't be used is left out."""
    wanted = tuple(name for name in NAMES if name not in settings.given)
    chosen = _readable(values(session, wanted)) if wanted else {}
    return replace(settings, **chosen) if chosen else settings


def _readable(stored: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, text in stored.items():
        try:
            found[name] = _TABLE[name].read(text)
        except ValueError as problem:
            log.error("the stored setting %s can't be used; expected %s", name, problem)
    return found


def policy(database: Database, settings: Settings) -> Policy:
    return _policy(in_force(database, settings))


def policy_in(session: Session, settings: Settings) -> Policy:
    return _policy(in_force_in(session, settings))


def _policy(settings: Settings) -> Policy:
    return Policy(
        settings.tolerance_seconds, settings.reminder, settings.group_limit, settings.downtime_credit_seconds
    )


class Current:
    """The settings in force as they were a few seconds ago at most, for what happens often."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._known: tuple[float, Settings] | None = None

    def read(self) -> Settings:
        """Raises SQLAlchemyError when what was read before is too old and the database can't be asked."""
        known = self._known
        if known is not None and time.monotonic() - known[0] < AGE_SECONDS:
            return known[1]
        asked_at = time.monotonic()
        found = in_force(self._database, self._settings)
        self._known = (asked_at, found)
        return found

    def forget(self) -> None:
        """Something was chosen in this process: no need to wait."""
        self._known = None

    def policy(self) -> Policy:
        return _policy(self.read())


def store(session: Session, name: str, value: object, *, by: str, now: datetime) -> None:
    """Put a value in the place of the one before. It must have been checked."""
    new = {"value": str(value), "updated_at": now, "updated_by": by[:80]}
    if not insert_if_absent(session, StoredSetting, name=name, **new):
        session.execute(update(StoredSetting).where(StoredSetting.name == name).values(**new))


def choose(session: Session, settings: Settings, name: str, value: object, *, by: str, now: datetime) -> str:
    """Store one of NAMES and let the jobs that follow it obey; returns what was in force before, as text.

    Raises ValueError for a value the variable of the same meaning could not have either.
    """
    checked = _TABLE[name].read(str(value))
    before = in_force_in(session, settings)
    store(session, name, checked, by=by, now=now)
    if checked != getattr(before, name):
        if name == TOLERANCE:
            _judge_anew(session, now)
        elif name == REMINDER:
            _plan_reminders_anew(session, str(checked), now)
    return str(getattr(before, name))


def _not_ok() -> ColumnElement[bool]:
    # Spelled out: with a bound value SQLite would not take the partial index.
    return literal_column("state <> 'ok'")


def _judge_anew(session: Session, now: datetime) -> None:
    """Have the next check look at every job whose deadline the global tolerance moves."""
    moved = and_(_not_ok(), Job.state.in_(("late", "failed", "overdue")), Job.tolerance_seconds.is_(None))
    later = or_(Job.attention_at.is_(None), Job.attention_at > now)
    session.execute(
        update(Job).where(moved, later).values(attention_at=now),
        execution_options={"synchronize_session": False},
    )


def _plan_reminders_anew(session: Session, reminder: str, now: datetime) -> None:
    """Jobs that are overdue by now are mentioned again as often as was chosen, counted from now."""
    told = Job.told.in_((alerts.OVERDUE, alerts.REMINDER))
    quiet = and_(
        Job.acknowledged_at.is_not(None),
        or_(Job.acknowledged_until_at.is_(None), Job.acknowledged_until_at >= now),
    )
    concerned = and_(_not_ok(), Job.state == "overdue", Job.reminder.is_(None), told, ~quiet)
    mention_at = overdue.next_reminder(reminder, now)
    session.execute(
        update(Job).where(concerned).values(reminder_at=mention_at, attention_at=mention_at),
        execution_options={"synchronize_session": False},
    )


def settle(database: Database, now: datetime) -> None:
    """Before a check: once more for reports that were taken in with the tolerance of a moment before."""
    last = select(TaskRun.started_at).where(TaskRun.task == TASK, TaskRun.finished_at.is_not(None))
    with database.reading() as session:
        changed = select(StoredSetting.updated_at).where(StoredSetting.name == TOLERANCE)
        changed_at = session.scalar(changed)
        checked_at = session.scalar(last.order_by(TaskRun.id.desc()).limit(1)) if changed_at else None
    if changed_at is None or (checked_at and changed_at + timedelta(seconds=3 * AGE_SECONDS) < checked_at):
        return
    with database.writing() as session:
        _judge_anew(session, now - timedelta(seconds=1))
