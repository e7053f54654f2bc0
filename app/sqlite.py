"""What SQLite needs: how connections wait for each other, and a file that must be there and stay the same."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection, Dialect, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

WAIT_SECONDS = "wait_seconds"  # execution option: how long to wait for somebody else's transaction

_FILE = "file"
_WAITS = "waits"
_BEGIN_WRITING = "BEGIN IMMEDIATE"
_SHORTEST_PAUSE_SECONDS = 0.0002  # a transaction takes some milliseconds
_LONGEST_PAUSE_SECONDS = 0.005
_PAGES_IN_LOG = 4000  # before they are brought to the file: pages that change often are brought there once
# After these a connection is worth nothing more: one opened on a read-only file stays so for ever.
_BREAKING = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}


class DatabaseFile:
    """The file behind an engine. A connection to a deleted one would go on writing, and all of it be lost."""

    def __init__(self, path: Path, *, may_create: bool = False) -> None:
        self._path = path
        self._may_create = may_create
        self._known: tuple[int, int] | None = None
        self._largest_bytes = 0

    def identity(self) -> tuple[int, int] | None:
        """What tells this file from any other that takes its place; None when there is none."""
        return _identity(self._status())

    def _status(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)  # noqa: PTH116  (Path.stat takes three times as long)
        except OSError:
            return None

    def guard(self, engine: Engine) -> None:
        """Have every connection opened and looked at by this object."""
        event.listen(engine, "do_connect", self._open)
        event.listen(engine, "checkout", self._look)

    def check_unmoved(self, before: tuple[int, int] | None) -> None:
        """Raises OperationalError when what was committed since is in a file that is gone."""
        if self.identity() != before:
            problem = sqlite3.OperationalError(f"the database file {self._path} was replaced or deleted")
            raise OperationalError("COMMIT", None, problem)

    def _open(
        self, dialect: Dialect, record: ConnectionPoolEntry | None, _given: Any, options: dict[str, Any]
    ) -> Any:
        # Looked at before it is opened: exchanged in between, it is taken for the old one and opened again.
        status = self._status()
        if not self._may_create:
            self._refuse_nothing(status)
        mode = "rwc" if self._may_create else "rw"
        connection = dialect.connect(f"file:{quote(str(self._path))}?mode={mode}", uri=True, **options)
        if status is not None:
            self._check_size(status, connection)
        if record is not None:
            record.info[_FILE] = _identity(status) or self.identity()
        return connection

    def _refuse_nothing(self, status: os.stat_result | None) -> None:
        if status is None:
            raise sqlite3.OperationalError(f"the database file {self._path} is missing or can't be reached")
        if status.st_size == 0:
            # SQLite would take it for a new database, and delete the log in which others still write.
            raise sqlite3.DatabaseError(f"the database file {self._path} is empty")

    def _check_size(self, status: os.stat_result, connection: Any) -> None:
        """A file gets smaller by VACUUM, or because somebody cut it: then connections that remember what was
        in it would go on as if it were whole."""
        if self._known == _identity(status) and status.st_size < self._largest_bytes:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                connection.close()
                raise sqlite3.DatabaseError(f"the database file {self._path} was cut short")
        self._known, self._largest_bytes = _identity(status), status.st_size

    def _look(self, _connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        status = self._status()
        if status is None or record.info.get(_FILE) != _identity(status):
            raise InvalidatePoolError("the database file is another one")
        if status.st_size < self._largest_bytes:
            raise InvalidatePoolError("the database file has become smaller")
        self._largest_bytes = status.st_size


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return (status.st_dev, status.st_ino) if status else None


def file_of(engine: Engine, *, may_create: bool = False) -> DatabaseFile | None:
    """The file of an engine; None for one in memory, and for other databases."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path.startswith((":memory:", "file:")):
        return None
    return DatabaseFile(Path(path).absolute(), may_create=may_create)


def prepare(engine: Engine) -> None:
    """Have an engine's connections never lose an update, wait for each other and survive a power cut."""
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _distrust)


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own transaction handling starts a write too late, so that two writers can both
    # read before either writes; with it off, BEGIN IMMEDIATE below takes the lock first.
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=5000",  # until the first transaction sets its own
        "journal_mode=WAL",
        "synchronous=FULL",  # an answered 200 survives a power cut
        "foreign_keys=ON",
        "cache_size=-512",
        f"wal_autocheckpoint={_PAGES_IN_LOG}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    wait_seconds: float = options[WAIT_SECONDS]
    if options.get("writing", False):
        _begin_writing(connection, wait_seconds)
    else:
        _wait(connection, wait_seconds)
        connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection, wait_seconds: float) -> None:
    """SQLite has no queue for writers: whoever finds another one asks again. It would do so itself, but soon
    every 100 ms only, when most of that time nobody writes."""
    _wait(connection, 0.0)
    try:
        _ask_until_begun(connection, wait_seconds)
    except sqlite3.Error as problem:
        # Before it is told: what is asked of this connection next need not begin anything.
        _wait(connection, wait_seconds)
        connection._handle_dbapi_exception(problem, _BEGIN_WRITING, None, None, None)
    _wait(connection, wait_seconds)


def _ask_until_begun(connection: Connection, wait_seconds: float) -> None:
    began_at, waited = time.monotonic(), 0.0
    while True:
        try:
            connection.connection.driver_connection.execute(_BEGIN_WRITING)  # type: ignore[union-attr]
        except sqlite3.Error as problem:
            if _code(problem) != sqlite3.SQLITE_BUSY or waited >= wait_seconds:
                raise
        else:
            return
        time.sleep(min(_SHORTEST_PAUSE_SECONDS + waited / 50, _LONGEST_PAUSE_SECONDS))
        waited = time.monotonic() - began_at


def _wait(connection: Connection, seconds: float) -> None:
    if connection.info.get(_WAITS) != seconds:
        connection.connection.driver_connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")  # type: ignore[union-attr]
        connection.info[_WAITS] = seconds


def _code(problem: BaseException | None) -> int | None:
    code = getattr(problem, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the upper bits only tell more


def _distrust(context: ExceptionContext) -> None:
    if _code(context.original_exception) in _BREAKING:
        context.is_disconnect = True
