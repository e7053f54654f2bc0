"""The PostgreSQL database that is copied into: what it may hold before, and how rows get there."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from sqlalchemy import (
    ColumnElement,
    Engine,
    Table,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError

from app import schema
from app.database_copy.problems import CopyError
from app.database_copy.rows import Key, Row, holds_bodies, integer_key, key_of, name_of
from app.db import Base, is_out_of_reach, make_engine, reason
from app.models import ReportTotal, Total

PREFIX = "postgresql+psycopg://"
_LOCK = 0x5645434F  # any number will do, as long as all copies use the same
_VERSIONS = "alembic_version"
# Of nothing, every start and migration leaves zeros there.
_SUMS = (cast(Table, Total.__table__), cast(Table, ReportTotal.__table__))
_ANEW = "Give it a new, empty database of its own (DROP DATABASE …; CREATE DATABASE …)"


class State(enum.Enum):
    """What a target was found to hold."""

    EMPTY = "empty"
    BEGUN = "begun"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Target:
    """A connection that nobody else copies beside; every call is a transaction of its own."""

    rows: Connection
    state: State

    def stored(self, table: Table, batch: Sequence[Row]) -> dict[Key, Row]:
        """What is there under the keys of a batch, and between them where the key is a number."""
        with self.rows.begin():
            found = self.rows.execute(select(table).where(_is_within(table, batch)))
            rows = [dict(each) for each in found.mappings()]
        return {key_of(table, each): each for each in rows}

    def add(self, table: Table, batch: Sequence[Row]) -> None:
        """Raises CopyError with the name of the row that PostgreSQL refuses."""
        try:
            self._insert(table, batch)
        except StatementError as problem:
            if not _is_refusal(problem):
                raise
            for each in batch:
                self._add_one(table, each)

    def _add_one(self, table: Table, row: Row) -> None:
        try:
            self._insert(table, [row])
        except StatementError as problem:
            if not _is_refusal(problem):
                raise
            raise CopyError(f"PostgreSQL refuses {name_of(table, row)} ({reason(problem)})") from None

    def _insert(self, table: Table, batch: Sequence[Row]) -> None:
        with self.rows.begin():
            self.rows.execute(insert(table), list(batch))

    def refer(self, table: Table, columns: Sequence[str], batch: Sequence[Row]) -> None:
        """Fill in what rows say of other rows of their table, now that all of them are there."""
        keys = list(table.primary_key)
        statement = (
            update(table)
            .where(*(each == bindparam(f"key_{each.name}") for each in keys))
            .values({name: bindparam(f"new_{name}") for name in columns})
        )
        given = [
            {f"key_{each.name}": row[each.name] for each in keys}
            | {f"new_{name}": row[name] for name in columns}
            for row in batch
        ]
        with self.rows.begin():
            self.rows.execute(statement, given)

    def each(self, table: Table) -> Iterator[Row]:
        """Every row in any order, few at a time."""
        at_once = 20 if holds_bodies(table) else 1000
        with self.rows.begin():
            found = self.rows.execute(select(table), execution_options={"yield_per": at_once})
            for row in found.mappings():
                yield dict(row)

    def has_rows(self, table: Table) -> bool:
        with self.rows.begin():
            return _has_rows(self.rows, table)

    def finish(self) -> None:
        """Let it be used: new rows get numbers of their own, and starts no longer take it for unfinished."""
        with self.rows.begin():
            # With this one, all the commits before it are on disk too.
            self.rows.execute(text("SET LOCAL synchronous_commit = on"))
            for table in Base.metadata.sorted_tables:
                _set_sequence(self.rows, table)
            self._mark(schema.newest())
        with self.rows.begin():
            for table in Base.metadata.sorted_tables:
                self.rows.execute(text(f"ANALYZE {_quoted(self.rows, table)}"))

    def mark_begun(self) -> None:
        with self.rows.begin():
            for table in _SUMS:
                self.rows.execute(delete(table))
            self._mark(schema.UNFINISHED_COPY + schema.newest())

    def _mark(self, revision: str) -> None:
        self.rows.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


@contextmanager
def opened(url: str) -> Iterator[Target]:
    """A target that is empty, a copy that was begun, or a complete one; raises CopyError for any other."""
    engine = _engine(url)
    try:
        with engine.connect() as rows:
            _lock(rows)
            with rows.begin():
                state = _state(rows)
            if state is State.EMPTY:
                schema.upgrade(url)
            target = Target(rows, state)
            if state is State.EMPTY:
                target.mark_begun()
            yield target
    except DBAPIError as problem:
        raise CopyError(f"the target can't be used ({reason(problem)})") from None
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        if not url.startswith(PREFIX):
            raise ValueError
        # Else a database of another encoding would speak to us in that one.
        given = make_url(url).update_query_dict({"client_encoding": "utf8"})
        return make_engine(given.render_as_string(hide_password=False))
    except (ArgumentError, ValueError):
        raise CopyError(f"--to: expected {PREFIX}user@host/database") from None
    except ModuleNotFoundError as problem:
        raise CopyError(f"the driver for PostgreSQL is not installed ({problem.name})") from None


def _lock(rows: Connection) -> None:
    """Held until the connection ends; that of a copy that was killed ends a moment later."""
    with rows.begin():
        # One that was cut off is taken up again: nothing is lost by a commit that a power cut undoes.
        rows.execute(text("SET synchronous_commit = off"))
        try:
            rows.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        except DBAPIError as problem:
            if getattr(problem.orig, "sqlstate", None) != "55P03":  # lock_not_available
                raise
            raise CopyError("another copy into this target is under way") from None


def _state(rows: Connection) -> State:
    encoding = rows.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise CopyError(f"the target's encoding is {encoding}, and must be UTF8 to hold every name")
    ours = {*Base.metadata.tables, _VERSIONS}
    there = set(inspect(rows).get_table_names())
    if strange := sorted(there - ours) or (sorted(there) if _VERSIONS not in there else []):
        raise CopyError(f"the target holds something else: the table {strange[0]}. {_ANEW}")
    if not there:
        return State.EMPTY
    return _state_by_revision(rows)


def _state_by_revision(rows: Connection) -> State:
    found, newest = schema.revision_of(rows) or "none", schema.newest()
    if found == schema.UNFINISHED_COPY + newest:
        return State.BEGUN
    if found != newest:
        told = found.removeprefix(schema.UNFINISHED_COPY)
        raise CopyError(f"the target holds something else: tables of schema {told}, not {newest}. {_ANEW}")
    has_rows = any(_has_rows(rows, each) for each in Base.metadata.sorted_tables if each not in _SUMS)
    return State.COMPLETE if has_rows else State.EMPTY


def _has_rows(rows: Connection, table: Table) -> bool:
    return rows.execute(select(*table.primary_key).limit(1)).first() is not None


def _is_within(table: Table, batch: Sequence[Row]) -> ColumnElement[bool]:
    number = integer_key(table)
    if number is not None:
        return number.between(batch[0][number.name], batch[-1][number.name])
    return tuple_(*table.primary_key).in_([key_of(table, each) for each in batch])


def _set_sequence(rows: Connection, table: Table) -> None:
    number = integer_key(table)
    if number is None:
        return
    named = {"table": _quoted(rows, table), "column": number.name}
    sequence = rows.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), named)
    if sequence is not None:
        highest = rows.scalar(select(func.max(number)))
        rows.execute(
            text("SELECT setval(CAST(:sequence AS regclass), :number, :is_taken)"),
            {"sequence": sequence, "number": highest or 1, "is_taken": highest is not None},
        )


def _quoted(rows: Connection, table: Table) -> str:
    return rows.dialect.identifier_preparer.format_table(table)


def _is_refusal(problem: StatementError) -> bool:
    return not is_out_of_reach(problem)
