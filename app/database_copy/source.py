"""The SQLite database that is copied: opened read-only, seen as it was at one moment, with nobody at work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Table, create_engine, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app import downtime, installation, lease, schema
from app.archive import swap
from app.archive.making import sqlite_path
from app.database_copy.problems import CopyError
from app.database_copy.rows import Row, cleaned, name_of, size_of
from app.db import Base, reason
from app.models import Heartbeat
from app.settings import Settings

BATCH_ROWS = 1000
BATCH_BYTES = 4 * 1024 * 1024
_STILLNESS = timedelta(seconds=1.5 * downtime.BEAT_SECONDS)


@dataclass(frozen=True, slots=True)
class Source:
    """All its tables as they were at one moment."""

    rows: Connection
    _version: int

    def count(self, table: Table) -> int:
        return self.rows.scalar(select(func.count()).select_from(table)) or 0

    def batches(self, table: Table, cleaned_rows: list[str]) -> Iterator[list[Row]]:
        """Rows in the order of their key, few enough at a time for any memory. What had to be cleaned is
        named in `cleaned_rows`."""
        batch: list[Row] = []
        size_bytes = 0
        for row in self._each(table):
            if columns := cleaned(row):
                cleaned_rows.append(f"{name_of(table, row)}: {', '.join(columns)}")
            batch.append(row)
            size_bytes += size_of(row)
            if len(batch) == BATCH_ROWS or size_bytes >= BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
        if batch:
            yield batch

    def _each(self, table: Table) -> Iterator[Row]:
        before = "the first row"
        found = self.rows.execute(select(table).order_by(*table.primary_key))
        while True:
            try:
                row = found.fetchone()
            except (DBAPIError, ValueError, TypeError) as problem:
                raise CopyError(f"{table.name}: {before} can't be read ({reason(problem)})") from None
            if row is None:
                return
            values = dict(row._mapping)
            before = f"what follows {name_of(table, values)}"
            yield values

    def demand_unchanged(self) -> None:
        """Raises CopyError when somebody has written while it was copied. Ends the view of one moment."""
        self.rows.rollback()
        if self.rows.exec_driver_sql("PRAGMA data_version").scalar() != self._version:
            raise CopyError(
                "somebody has written to the source meanwhile; stop everything that uses it, "
                "make the target anew (it must be empty) and copy again"
            )


@contextmanager
def opened(settings: Settings, now: datetime) -> Iterator[Source]:
    """The installation's own database, with every other process kept out of the instance folder.

    Raises CopyError when it can't be copied, InstallationInUse while web or cron service run.
    """
    path, folder = _path_of(settings), settings.instance_path
    with installation.alone(folder):
        if (folder / swap.JOURNAL).exists():
            raise CopyError("a restore was cut off; start the web application once to have it completed")
        engine = create_engine("sqlite://", creator=partial(_connect, path), poolclass=NullPool)
        try:
            with engine.connect() as rows:
                version = rows.exec_driver_sql("PRAGMA data_version").scalar_one()
                rows.exec_driver_sql("BEGIN")
                _demand_newest_schema(rows)
                if path.parent != folder.resolve():
                    _demand_stillness(rows, now)
                yield Source(rows, version)
        except sqlite3.Error as problem:
            raise CopyError(f"{path} can't be read ({problem})") from None
        finally:
            engine.dispose()


def _path_of(settings: Settings) -> Path:
    if not settings.database_url.startswith("sqlite"):
        raise CopyError("VEILLEUR_DATABASE_URL does not name an SQLite database: there is nothing to move")
    path = sqlite_path(settings)
    if not path.is_file():
        raise CopyError(f"there is no database at {path}; VEILLEUR_INSTANCE_PATH says where to look")
    return path


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)


def _demand_newest_schema(rows: Connection) -> None:
    try:
        found = schema.revision_of(rows)
    except DBAPIError as problem:
        raise CopyError(f"the source can't be read ({reason(problem)})") from None
    if found != schema.newest():
        raise CopyError(
            f"the source has schema {found or 'none'}, not {schema.newest()}; bring it up to date "
            "with this version first: flask db upgrade"
        )


def _demand_stillness(rows: Connection, now: datetime) -> None:
    """A database outside of the instance folder may be in use by an installation in another folder."""
    session = Session(rows)
    holder = lease.any_holder(session, now)
    if holder is not None:
        raise CopyError(f"a cron service ({holder}) is at work on the source; stop it first")
    beat_at = session.scalar(select(Heartbeat.beat_at).where(Heartbeat.name == downtime.WEB))
    if beat_at is not None and abs(now - beat_at) < _STILLNESS:
        raise CopyError(
            f"a web application left a sign of life in the source {(now - beat_at).total_seconds():.0f} s "
            f"ago; stop it, and try again {_STILLNESS.total_seconds():.0f} s later"
        )


def tables() -> list[Table]:
    """In an order in which each comes after those it refers to."""
    return list(Base.metadata.sorted_tables)
