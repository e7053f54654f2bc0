"""A consistent copy of a SQLite database that is in use, and the proof that a copy is sound."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.archive.content import Content
from app.archive.problems import ArchiveDamaged, ArchiveError, MayGoOn, go_on
from app.db import LONG_WAIT_SECONDS

_PAGES_A_STEP = 500  # about 2 MB
_PAUSE_SECONDS = 0.005  # leaves the disk to the uploads
_INSTRUCTIONS_A_LOOK = 1_000_000


def copy(source: Path, target: Path, may_go_on: MayGoOn) -> None:
    """Copy what is committed at this moment, in small steps; writers are held up by none of them."""

    def step(_status: int, _remaining: int, _total: int) -> None:
        go_on(may_go_on)
        time.sleep(_PAUSE_SECONDS)

    try:
        with closing(_connect(source, "rw")) as origin, closing(_connect(target, "rwc")) as made:
            made.execute("PRAGMA synchronous=OFF")  # a copy that a power cut spoils is made anew
            # A snapshot of our own: else the copy would begin anew with every upload.
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
            origin.backup(made, pages=_PAGES_A_STEP, progress=step)
            origin.execute("ROLLBACK")
            made.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    except sqlite3.Error as problem:
        raise ArchiveError(f"the database can't be copied ({problem})") from None


def examine(path: Path, may_go_on: MayGoOn) -> Content:
    """Check a copy through and through; raises ArchiveDamaged with SQLite's words when it is not sound."""
    try:
        with closing(_connect(path, "rw")) as rows:
            with _watched(rows, may_go_on):
                found = rows.execute("PRAGMA integrity_check(1)").fetchone()[0]
            go_on(may_go_on)
            if found != "ok":
                raise ArchiveDamaged(f"its database is damaged ({' '.join(found.split())})")
            return _content(rows)
    except sqlite3.Error as problem:
        go_on(may_go_on)
        raise ArchiveDamaged(f"its database is damaged ({problem})") from None


def look(path: Path) -> Content | None:
    """What a database holds that may be in any state; None when it can't be told."""
    try:
        with closing(_connect(path, "rw")) as rows:
            return _content(rows)
    except (sqlite3.Error, ArchiveDamaged):
        return None


def _content(rows: sqlite3.Connection) -> Content:
    revision = rows.execute("SELECT version_num FROM alembic_version").fetchone()
    if revision is None:
        raise ArchiveDamaged("its database names no schema")
    jobs = rows.execute("SELECT count(*) FROM job").fetchone()[0]
    reports, newest = rows.execute("SELECT count(*), max(received_at) FROM report").fetchone()
    return Content(revision[0], jobs, reports, newest and f"{newest[:10]}T{newest[11:19]}Z")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={round(LONG_WAIT_SECONDS * 1000)}")
    return connection


@contextmanager
def _watched(rows: sqlite3.Connection, may_go_on: MayGoOn) -> Iterator[None]:
    rows.set_progress_handler(lambda: not may_go_on(), _INSTRUCTIONS_A_LOOK)
    try:
        yield
    finally:
        rows.set_progress_handler(None, 0)


def finish(path: Path) -> None:
    """Leave one file with everything in it, on disk, that nothing need stand beside."""
    with closing(_connect(path, "rw")) as rows:
        rows.execute("PRAGMA synchronous=FULL")
        rows.execute("PRAGMA journal_mode=DELETE")
    with path.open("rb") as file:
        os.fsync(file.fileno())
