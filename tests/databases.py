"""Where tests get their databases: every folder has one, of the kind that this run is about."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app import schema
from app.db import Base, Database
from app.installation import DATABASE_FILE

SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass(frozen=True)
class Postgres:
    """A running server; `url()` names a new, empty database of it."""

    port: int

    def url(self) -> str:
        return self.create(f"veilleur_{uuid.uuid4().hex}")

    def create(self, name: str, template: str = "template1") -> str:
        # Copying the files takes half the time of writing each page to the log, which is the default.
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url_of(name)

    def drop(self, name: str) -> None:
        self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def shut(self, name: str) -> None:
        self._run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        self._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def open(self, name: str) -> None:
        self._run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    def url_of(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def address(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={name}"

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@dataclass
class Run:
    """What this run is about; set before the first test."""

    postgres: Postgres | None = None  # None: SQLite
    names: dict[Path, str] = field(default_factory=dict)  # of databases on the server, by the folder

    @property
    def kind(self) -> str:
        return POSTGRESQL if self.postgres else SQLITE


PORT = "VEILLEURS_TESTS_POSTGRES_PORT"  # tells processes that are started by tests what the run is about
# Two processes that ask for one folder: the second to come, or in the same moment.
_MADE_BY_ANOTHER = (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)
RUN = Run(Postgres(int(os.environ[PORT])) if os.environ.get(PORT) else None)


def url_of(folder: Path) -> str:
    """The address of the folder's database, which is empty when it is first asked for."""
    if RUN.postgres is None:
        return f"sqlite:///{folder / DATABASE_FILE}"
    if folder not in RUN.names:
        with contextlib.suppress(*_MADE_BY_ANOTHER):
            RUN.postgres.create(_claim(folder))
    return RUN.postgres.url_of(RUN.names[folder])


def environ_of(folder: Path) -> dict[str, str]:
    """What a process is told about the database of its instance folder: nothing where it finds it itself."""
    return {} if RUN.postgres is None else {"VEILLEUR_DATABASE_URL": url_of(folder)}


def of(folder: Path) -> Database:
    """The folder's database, as a process left it there."""
    return Database(url_of(folder))


def with_schema(folder: Path) -> Database:
    """A new one, with all tables and nothing in them."""
    copy(_template(), folder)
    return of(folder)


def bare(folder: Path) -> Any:
    """A connection of the driver itself, for very many small questions."""
    if RUN.postgres is None:
        return sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)
    return psycopg.connect(RUN.postgres.address(RUN.names[folder]), autocommit=True)


def copy(origin: Path, folder: Path) -> None:
    """Give the folder what is in the database of another one, to which nothing may be connected."""
    if RUN.postgres is None:
        shutil.copyfile(origin / DATABASE_FILE, folder / DATABASE_FILE)
    else:
        RUN.postgres.create(_claim(folder), _name(origin))


def drop(folder: Path) -> None:
    """Databases of this folder and of those in it; files go with their folder."""
    for each in [each for each in RUN.names if each.is_relative_to(folder)]:
        name = RUN.names.pop(each)
        if RUN.postgres:
            RUN.postgres.drop(name)


def name_of(url: str) -> str:
    """On the server, such as `ALTER DATABASE` wants it."""
    return str(make_url(url).database)


def _claim(folder: Path) -> str:
    return RUN.names.setdefault(folder, _name(folder))


def _name(folder: Path) -> str:
    # The same in every process, for some folders are filled by one and copied by others.
    return f"veilleur_{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}"


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="veilleur-schema-"))
    atexit.register(shutil.rmtree, folder)
    schema.upgrade(url_of(folder))
    return folder


def number_anew(rows: Session) -> None:
    """Have numbers go on after the highest that is left, as SQLite's do by themselves."""
    if RUN.postgres:
        rows.flush()
        for table in (each for each in Base.metadata.sorted_tables if "id" in each.columns):
            sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
            rows.execute(
                text(f"SELECT setval({sequence}, coalesce(max(id), 0) + 1, false) FROM {table.name}")
            )


# Faults


NOT_FREE = (sqlite3.OperationalError, psycopg.OperationalError)
LOCKED = "database is locked|lock timeout"  # in the words of both


@contextlib.contextmanager
def locked(folder: Path, wait_seconds: float = 40) -> Iterator[None]:
    """Another program holds what everybody who writes has to wait for; NOT_FREE when somebody else does."""
    if RUN.postgres is None:
        path = folder / DATABASE_FILE
        with closing(sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
        return
    with closing(psycopg.connect(RUN.postgres.address(RUN.names[folder]))) as blocker:
        tables = ", ".join(Base.metadata.tables)
        blocker.execute(f"SET lock_timeout = {round(wait_seconds * 1000)}".encode())
        blocker.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE".encode())
        yield


@contextlib.contextmanager
def missing(folder: Path) -> Iterator[None]:
    """Nobody reaches the database: its files are moved away, or its server lets nobody in."""
    if RUN.postgres:
        RUN.postgres.shut(RUN.names[folder])
        yield
        RUN.postgres.open(RUN.names[folder])
        return
    aside = folder / "aside"
    aside.mkdir()
    for each in folder.glob(f"{DATABASE_FILE}*"):
        each.rename(aside / each.name)
    yield
    assert not (folder / DATABASE_FILE).exists()
    for each in aside.iterdir():
        each.rename(folder / each.name)
    aside.rmdir()


def impatient(database: Database, seconds: float = 0.05) -> Database:
    """The same database for writers that wait hardly at all for others."""
    if database.is_sqlite:
        return database.waiting(seconds)
    return Database(database.engine.url.render_as_string(hide_password=False), wait_seconds=seconds)


def waiting_count(database: Database) -> int:
    """How many transactions wait for another one; PostgreSQL only."""
    here = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with database.reading() as rows:
        return int(rows.scalar(text(f"{here} AND wait_event_type = 'Lock'")) or 0)
