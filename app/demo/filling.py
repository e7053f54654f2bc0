"""Takes the made-up reports in and checks between them, as if each moment were now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any

from sqlalchemy import event, func, select

from app import checks, record, routing
from app.check_result import CheckResult
from app.checks import Policy
from app.db import Database
from app.demo.bodies import CONTENT_TYPE, Run, body_of
from app.demo.decisions import Decision
from app.demo.timeline import MINUTE
from app.models import Alert, Job
from app.reports import parse
from app.upload import Body, Sender

CHECK_EVERY = timedelta(minutes=20)
# Before that the checks are made less often: it is quicker, and nobody looks at each any more.
_CLOSE_LOOK = timedelta(days=21)
_SELDOM = timedelta(hours=2)
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


@contextmanager
def in_haste(url: str) -> Iterator[Database]:
    """The database for one fill: its commits wait for no disk until `settle` makes all of it safe at once."""
    database = Database(url)
    if database.is_sqlite:
        event.listen(database.engine, "connect", _hurry)
    try:
        yield database
    finally:
        database.dispose()


def _hurry(connection: Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def settle(database: Database) -> None:
    """Bring what was written in haste to the disk for good."""
    if database.is_sqlite:
        with database.engine.connect() as connection:
            connection.rollback()
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@dataclass
class Filling:
    """One fill of a database: everything in it happens in the order of its time."""

    database: Database
    policy: Policy
    now: datetime
    senders: dict[str, Sender]
    decisions: list[Decision]
    results: list[tuple[datetime, CheckResult]] = field(default_factory=list)
    _looked_until: datetime = _BEGIN

    def take_all(self, runs: list[Run], told: Callable[[], None]) -> None:
        waiting = sorted(self.decisions, key=lambda each: each.at)
        for run in runs:
            while waiting and waiting[0].at <= run.arrives_at:
                self._decide(waiting.pop(0))
            self._check_until(run.arrives_at)
            self._take(run)
            told()
        for each in waiting:
            self._decide(each)
        self._check_until(self.now)
        self._check(_mark(self.now, CHECK_EVERY, forward=False))

    def _take(self, run: Run) -> None:
        raw, carrier = body_of(run), run.client.machine.name
        carrier = carrier if carrier in self.senders else ""
        sender, at = self.senders[carrier], run.arrives_at
        body = Body(raw, CONTENT_TYPE)
        record.take(self.database, parse(raw, CONTENT_TYPE), body, sender, policy=self.policy, now=at)
        if sender.key_used_at is None or at - sender.key_used_at > MINUTE:
            self.senders[carrier] = replace(sender, key_used_at=at)

    def _decide(self, decision: Decision) -> None:
        self._check_until(decision.at)
        with self.database.writing() as session:
            decision.make(session, self.policy)

    def _check_until(self, at: datetime) -> None:
        """Make those checks that find something; all the others would change nothing."""
        if at < self._looked_until:
            return
        self._looked_until = _mark(at, CHECK_EVERY, forward=True)
        while due_at := self._attention_at():
            every = CHECK_EVERY if self.now - due_at < _CLOSE_LOOK else _SELDOM
            check_at = _mark(due_at, every, forward=True)
            if check_at > at:
                return
            self._check(check_at)

    def _attention_at(self) -> datetime | None:
        with self.database.reading() as session:
            return session.scalar(select(func.min(Job.attention_at)))

    def _check(self, at: datetime) -> None:
        result = checks.run(self.database, self.policy, at)
        self.results.append((at, result))
        if self._is_any_waiting():
            routing.route(self.database, self.policy.group_limit, at + MINUTE, checks.TASK)

    def _is_any_waiting(self) -> bool:
        with self.database.reading() as session:
            return session.scalar(select(Alert.id).where(Alert.routed_at.is_(None)).limit(1)) is not None


def _mark(at: datetime, every: timedelta, *, forward: bool) -> datetime:
    """The next moment a check is made, strictly later than `at`, or the last one before it."""
    return _BEGIN + ((at - _BEGIN) // every + forward) * every
