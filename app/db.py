"""Database engine and transactions, with the rules SQLite and PostgreSQL each need."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app
from sqlalchemy import Connection, DateTime, Engine, TypeDecorator, create_engine, event, literal
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session

from app import sqlite
from app.group_commit import GroupCommit
from app.sqlite import WAIT_SECONDS

if TYPE_CHECKING:
    from sqlalchemy.dialects.sqlite import Insert

T = TypeVar("T")

EXTENSION = "database"
LONG_WAIT_SECONDS = 30.0  # for checks, commands and migrations: nobody waits for them
SHORT_WAIT_SECONDS = 5.0  # for requests: somebody does, and so do those behind
CONNECT_SECONDS = 5
IDLE_TIMEOUT_MILLISECONDS = 30_000
# To begin and to end one are two round trips, and after its end the driver has every statement planned anew.
_WITHOUT_TRANSACTION = {"isolation_level": "AUTOCOMMIT"}


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


def make_engine(url: str, *, may_create: bool = False, wait_seconds: float = LONG_WAIT_SECONDS) -> Engine:
    """An engine whose transactions wait so long for others; an SQLite file is made only when it may be."""
    options = {WAIT_SECONDS: wait_seconds}
    if not url.startswith("sqlite"):
        engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=20,
            connect_args={"connect_timeout": CONNECT_SECONDS},
            execution_options=options,
        )
        event.listen(engine, "connect", partial(_limit_waiting, engine))
        return engine
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=20,
        pool_use_lifo=True,  # so that those beyond the usual number keep no pages in memory
        connect_args={"check_same_thread": False},
        execution_options=options,
    )
    sqlite.prepare(engine)
    file = sqlite.file_of(engine, may_create=may_create)
    if file:
        file.guard(engine)
    return engine


def _limit_waiting(engine: Engine, connection: Any, _record: Any) -> None:
    milliseconds = round(engine.get_execution_options()[WAIT_SECONDS] * 1000)
    connection.execute(f"SET lock_timeout = {milliseconds}")
    # A process that was stopped in the middle of a transaction must not hold its rows for ever.
    connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MILLISECONDS}")
    connection.commit()


def _ends_all(problem: Exception) -> bool:
    return isinstance(problem, SQLAlchemyError) and is_out_of_reach(problem)


def is_out_of_reach(problem: SQLAlchemyError) -> bool:
    """Whether the database itself is at fault (locked, full, missing, damaged, silent), not the request."""
    if isinstance(problem, IntegrityError | DataError | ProgrammingError):
        return False
    return isinstance(problem, DBAPIError | DisconnectionError | PoolTimeout)


def reason(problem: Exception) -> str:
    """In one line and the driver's words alone: a statement's values may hold what nobody should read."""
    told = getattr(problem, "orig", None) or problem
    first_line = str(told).strip().partition("\n")[0]
    return first_line or type(told).__name__


class Database:
    """Transactions on one database; safe to share between threads, made anew after a fork."""

    def __init__(self, url: str, *, wait_seconds: float = LONG_WAIT_SECONDS) -> None:
        self.engine = make_engine(url, wait_seconds=wait_seconds)
        self._writer = self.engine.execution_options(writing=True)
        self._asker = self.engine if self.is_sqlite else self.engine.execution_options(**_WITHOUT_TRANSACTION)
        self._file = sqlite.file_of(self.engine)
        self._group = GroupCommit(_ends_all)

    def waiting(self, seconds: float) -> Database:
        """The same database, whose writers wait so long for others (on SQLite; PostgreSQL keeps its wait)."""
        other = copy.copy(self)
        other._writer = self._writer.execution_options(**{WAIT_SECONDS: seconds})
        return other

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view; nothing written in it is kept."""
        with Session(self.engine) as session:
            yield session

    @contextlib.contextmanager
    def asking(self) -> Iterator[Connection]:
        """For what happens often: without the ORM, and on PostgreSQL without a transaction, so that each
        question sees what there is in its own moment."""
        with self._asker.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed when the block ends without an error."""
        with (
            self._in_place(),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextlib.contextmanager
    def changing(self) -> Iterator[Connection]:
        """As `writing`, without the ORM."""
        with self._in_place(), self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        """Raises when what the block has committed is in a file that is gone."""
        before = self._file.identity() if self._file else None
        yield
        if self._file:
            self._file.check_unmoved(before)

    def change_together(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, after the commit of a transaction that others of this process may share.

        On SQLite alone, which has one writer at a time and pays for each commit with a write to the disk;
        PostgreSQL joins commits by itself. When another work fails, this one may be called a second time.
        """
        if self.is_sqlite:
            return self._group.run(self.changing, work)
        with self.changing() as connection:
            return work(connection)

    def forget_connections(self) -> None:
        """After a fork: the parent's connections are not ours to use or close."""
        self.engine.dispose(close=False)

    def dispose(self) -> None:
        self.engine.dispose()


@contextlib.contextmanager
def session_on(connection: Connection) -> Iterator[Session]:
    """The ORM within a transaction that somebody else commits or undoes."""
    with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
        yield session
        session.flush()


def insert_for(session: Session, model: type[Base]) -> Insert:
    """An INSERT that can be told what to do on a conflict; each database has its own."""
    return dialect_insert(session.get_bind().dialect.name)(model)


def dialect_insert(name: str) -> Callable[..., Insert]:
    """SQLAlchemy's `insert` for the database of this name. Only its own dialect is loaded by that: the one
    for PostgreSQL takes 2.4 MB. As for types, they are alike in all that is used here."""
    made: Callable[..., Insert] = import_module(f"sqlalchemy.dialects.{name}").insert
    return made


def insert_if_absent(session: Session, model: type[Base], **values: Any) -> bool:
    """Insert a row unless one with the same unique key is there; of two at once, one is told True."""
    statement = insert_for(session, model).values(**values).on_conflict_do_nothing()
    # A row comes back only when it was inserted; drivers differ in what they count.
    return session.connection().execute(statement.returning(literal(1))).first() is not None


def database() -> Database:
    """The current application's database."""
    found: Database = current_app.extensions[EXTENSION]
    return found
