"""Database engine and transactions, with the rules SQLite and PostgreSQL each need."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import DateTime, Engine, TypeDecorator, create_engine, event, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.orm import DeclarativeBase, Session

EXTENSION = "database"
BUSY_TIMEOUT_MILLISECONDS = 30_000
IDLE_TIMEOUT_MILLISECONDS = 30_000


class Base(DeclarativeBase):
    """Parent of all models."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: timezone-aware in Python, UTC in the database; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def make_engine(url: str) -> Engine:
    """An engine whose SQLite connections never lose an update and wait for each other."""
    if not url.startswith("sqlite"):
        engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    engine = create_engine(url, pool_size=10, max_overflow=20, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own transaction handling starts a write too late, so that two writers can both
    # read before either writes; with it off, BEGIN IMMEDIATE below takes the lock first.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=FULL",  # an answered 200 survives a power cut
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # A process that was stopped in the middle of a transaction must not hold its rows for ever.
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MILLISECONDS}")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class Database:
    """Transactions on one database; safe to share between threads, made anew after a fork."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._writer = self.engine.execution_options(writing=True)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view; nothing written in it is kept."""
        with Session(self.engine) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed when the block ends without an error."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def forget_connections(self) -> None:
        """After a fork: the parent's connections are not ours to use or close."""
        self.engine.dispose(close=False)

    def dispose(self) -> None:
        self.engine.dispose()


def insert_if_absent(session: Session, model: type[Base], **values: Any) -> bool:
    """Insert a row unless one with the same unique key is there; of two at once, one is told True."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(model).values(**values).on_conflict_do_nothing()
    # A row comes back only when it was inserted; drivers differ in what they count.
    return session.connection().execute(statement.returning(literal(1))).first() is not None


def database() -> Database:
    """The current application's database."""
    found: Database = current_app.extensions[EXTENSION]
    return found
