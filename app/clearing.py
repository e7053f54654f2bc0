"""Deletes very many rows in short transactions with pauses, so that no other writer has to wait for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, bindparam, delete, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import Base, Database

MayGoOn = Callable[[], bool]
Position = tuple[datetime, Any]

STRETCH_ROWS = 1000
# A writer who finds SQLite locked asks again at most 25 ms apart during the first 100 ms: in a pause that is
# longer each of them gets his turn. PostgreSQL needs none, but its disk is glad of it.
PAUSE_SECONDS = 0.03
TRANSACTION_SECONDS = 0.03  # with its commit, which takes the longer the more was deleted
LONGEST_WORK_SECONDS, SHORTEST_WORK_SECONDS = 0.015, 0.002  # of that, before the commit
# A statement has as many as go in a part of that: a disk that fetches each row takes long for a few.
FEWEST_ROWS, MOST_ROWS = 20, 160
STATEMENT_SECONDS = 0.008


@dataclass(frozen=True, slots=True)
class Old:
    """Rows whose `at`, which has an index, is before `before_at`, as far as `condition` lets them go.

    `settle` is given the columns `told` of what a transaction has deleted, at its end: it may hold rows that
    others wait for.
    """

    model: type[Base]
    key: InstrumentedAttribute[Any]
    at: InstrumentedAttribute[Any]
    before_at: datetime
    condition: ColumnElement[bool] | None = None
    told: Sequence[InstrumentedAttribute[Any]] = ()
    settle: Callable[[Session, Sequence[Any]], None] | None = None


class _Statements:
    """Built once: that is much of the work of deleting a few rows."""

    def __init__(self, old: Old) -> None:
        these = old.key.in_(bindparam("keys", expanding=True))
        conditions = [these] if old.condition is None else [these, old.condition]
        # What somebody else is deleting is left to them: to wait for it could be for ever.
        self.lock = select(old.key).where(*conditions).with_for_update(skip_locked=True, of=old.model)
        self.delete = (
            delete(cast(Table, old.model.__table__)).where(these).returning(*(old.told or (old.key,)))
        )


class _Pace:
    """How many rows go in one statement, and for how long a transaction deletes: less where it takes long."""

    def __init__(self) -> None:
        self.rows = FEWEST_ROWS
        self.work_seconds = LONGEST_WORK_SECONDS

    def statement_took(self, seconds: float) -> None:
        is_long = seconds > STATEMENT_SECONDS
        self.rows = max(FEWEST_ROWS, self.rows // 2) if is_long else min(MOST_ROWS, self.rows * 2)

    def transaction_took(self, seconds: float) -> None:
        if seconds > TRANSACTION_SECONDS:
            self.work_seconds = max(SHORTEST_WORK_SECONDS, self.work_seconds / 2)
        else:
            self.work_seconds = min(LONGEST_WORK_SECONDS, self.work_seconds * 1.25)


def clear(database: Database, old: Old, may_go_on: MayGoOn) -> int:
    """Delete them, the oldest first; how many. Asks between two transactions whether to go on.

    What may go is looked up without a lock, a stretch at a time.
    """
    removed, pace, statements = 0, _Pace(), _Statements(old)
    position: Position | None = None
    while may_go_on():
        found, position = _stretch(database, old, position)
        while found:
            gone, found = _some(database, old, statements, found, pace)
            removed += gone
            if found or position:
                time.sleep(PAUSE_SECONDS)
            if found and not may_go_on():
                return removed
        if position is None:
            break
    return removed


def _stretch(database: Database, old: Old, after: Position | None) -> tuple[list[Any], Position | None]:
    """The keys of those that may go among the next in order of time, and where to go on from.

    Rows that stay are passed over once, however many there are.
    """
    passed = select(old.at, old.key).where(old.at < old.before_at)
    if after is not None:
        at, key = after
        passed = passed.where(old.at >= at, or_(old.at > at, old.key > key))
    passed = passed.order_by(old.at, old.key).limit(STRETCH_ROWS)
    with database.reading() as session:
        rows = session.execute(passed).all()
        keys = [row[1] for row in rows]
        if old.condition is not None and keys:
            can_go = set(session.scalars(select(old.key).where(old.key.in_(keys), old.condition)))
            keys = [each for each in keys if each in can_go]
    return keys, (rows[-1][0], rows[-1][1]) if len(rows) == STRETCH_ROWS else None


def _some(
    database: Database, old: Old, statements: _Statements, keys: list[Any], pace: _Pace
) -> tuple[int, list[Any]]:
    """One transaction: how many were deleted in its time, and what is left."""
    gone: list[Any] = []
    place = 0
    with database.writing() as session:
        began = before = time.monotonic()
        while place < len(keys) and before - began < pace.work_seconds:
            chosen = keys[place : place + pace.rows]
            gone += _delete(session, statements, chosen)
            place += len(chosen)
            now = time.monotonic()
            pace.statement_took(now - before)
            before = now
        if old.settle is not None and gone:
            old.settle(session, gone)
    pace.transaction_took(time.monotonic() - began)
    return len(gone), keys[place:]


def _delete(session: Session, statements: _Statements, chosen: Sequence[Any]) -> Sequence[Any]:
    rows = session.connection()
    found = rows.scalars(statements.lock, {"keys": list(chosen)}).all()
    return rows.execute(statements.delete, {"keys": list(found)}).all() if found else ()
