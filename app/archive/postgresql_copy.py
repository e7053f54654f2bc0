"""PostgreSQL's own programs: a dump of Veilleur's tables, its proof, and its return in one transaction."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from sqlalchemy import URL, Executable, Inspector, inspect, make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

from app import models  # noqa: F401  (registers the tables)
from app.archive.content import Content, spelled
from app.archive.problems import ArchiveDamaged, ArchiveError, MayGoOn, go_on
from app.db import Base, make_engine

PACKAGE = "postgresql-client"
_DEBIAN = Path("/usr/lib/postgresql")
_POLL_SECONDS = 0.05
TABLES = (*Base.metadata.tables, "alembic_version")


def dump(url: str, target: Path, may_go_on: MayGoOn) -> None:
    """What is committed at this moment, in pg_dump's custom format; nobody is held up."""
    tables = [f"--table={name}" for name in TABLES]
    command = ["--format=custom", "--no-owner", "--no-privileges", *tables, f"--file={target}"]
    with _started("pg_dump", command, _connection_variables(make_url(url))) as child:
        _await(child, may_go_on)


def examine(path: Path, may_go_on: MayGoOn) -> Content:
    """Read a dump to its end; raises ArchiveDamaged with pg_restore's words when that can't be done."""
    counting = _Counting()
    try:
        with _started("pg_restore", ["--file=-", str(path)], {}, stdout=subprocess.PIPE) as child:
            for line in child.stdout or ():
                counting.take(line)
                if counting.lines % 1000 == 0:
                    go_on(may_go_on)
    except _Failed as problem:
        raise ArchiveDamaged(f"its database is damaged ({problem})") from None
    return counting.content()


def look(url: str) -> Content | None:
    """What the database holds; None when it can't be told or holds nothing of Veilleur's."""
    try:
        with _connected(url) as rows:
            revision = rows.scalar(text("SELECT version_num FROM alembic_version"))
            jobs = rows.scalar(text("SELECT count(*) FROM job")) or 0
            reports, newest = rows.execute(text("SELECT count(*), max(received_at) FROM report")).one()
            return Content(revision or "", jobs, reports, newest and spelled(newest))
    except ArchiveError:
        return None


def others_connected(url: str) -> int:
    """Connections of other programs to this database."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with _connected(url) as rows:
        return rows.scalar(text(query)) or 0


def bring_back(url: str, path: Path, aside: str, afterwards: Sequence[Executable]) -> bool:
    """Move the tables that are there into schema `aside`, restore the dump, run what comes `afterwards`:
    all of it or, whatever happens, nothing. Tells whether there were tables to move."""
    with _connected(url) as rows:
        there = _ours(inspect(rows))
    before = [f"ALTER TABLE {name} SET SCHEMA {aside};" for name in there]
    if before:
        before.insert(0, f"CREATE SCHEMA {aside};")
    after = ["RESET search_path;", *(f"{_literal(each)};" for each in afterwards), "COMMIT;"]
    command = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    variables = _connection_variables(make_url(url))
    with _started("psql", command, variables, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        stdin = cast(IO[bytes], child.stdin)
        try:
            _tell(stdin, ["BEGIN;", *before])
            restoring = ["--no-owner", "--no-privileges", "--file=-", str(path)]
            with _started("pg_restore", restoring, {}, stdout=stdin):
                pass
            _tell(stdin, after)
            stdin.close()
        except (_Failed, BrokenPipeError):
            # psql may have failed first and knows better why; without its COMMIT nothing has happened.
            raise
    return bool(there)


def put_back(url: str, aside: str) -> None:
    """Undo `bring_back`: the restored tables go, those in schema `aside` return."""
    with _connected(url) as rows:
        for name in _ours(inspect(rows)):
            rows.execute(text(f"DROP TABLE {name} CASCADE"))
        here = rows.scalar(text("SELECT current_schema()"))
        for name in _ours(inspect(rows), aside):
            rows.execute(text(f'ALTER TABLE {aside}.{name} SET SCHEMA "{here}"'))
        rows.execute(text(f"DROP SCHEMA IF EXISTS {aside}"))
        rows.commit()


def _ours(inspector: Inspector, schema: str | None = None) -> list[str]:
    there = set(inspector.get_table_names(schema=schema))
    return [name for name in TABLES if name in there]


def _literal(statement: Executable) -> str:
    dialect = make_url("postgresql://").get_dialect()()
    compiled = cast(ClauseElement, statement).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return str(compiled)


def _tell(stream: IO[bytes], lines: Sequence[str]) -> None:
    stream.write("".join(f"{line}\n" for line in lines).encode())
    stream.flush()


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as problem:
        reason = str(problem.orig).partition("\n")[0]
        raise ArchiveError(f"the database can't be used ({reason})") from None
    finally:
        engine.dispose()


class _Failed(ArchiveError):
    """A program of PostgreSQL ended with an error; the text is what it wrote."""


def _program(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    installed = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda each: float(each.parts[4]))
    if not installed:
        raise ArchiveError(f"{name} is not installed; on Debian: apt-get install {PACKAGE}")
    return str(installed[-1])


def _connection_variables(url: URL) -> dict[str, str]:
    # In the environment, since everybody on a machine may read command lines.
    given = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
        **url.query,
    }
    names = {"dbname": "database", "application_name": "appname"}
    return {f"PG{names.get(key, key).upper()}": str(value) for key, value in given.items() if value}


@contextmanager
def _started(
    name: str,
    arguments: Sequence[str],
    variables: dict[str, str],
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside the block; raises _Failed with its words when it does not end well."""
    environ = {**os.environ, "LC_ALL": "C", **variables}
    with tempfile.TemporaryFile() as words:
        with (
            subprocess.Popen(  # noqa: S603  (a program of ours to choose, no shell)
                [_program(name), *arguments], stdin=stdin, stdout=stdout, stderr=words, env=environ
            ) as child,
            ExitStack() as unless_done,
        ):
            unless_done.callback(child.kill)
            yield child
            unless_done.pop_all()
        if child.returncode:
            words.seek(0)
            told = words.read(2000).decode(errors="replace").strip().partition("\n")[0]
            raise _Failed(told or f"{name} ended with status {child.returncode}")


def _await(child: subprocess.Popen[bytes], may_go_on: MayGoOn) -> None:
    while child.poll() is None:
        go_on(may_go_on)
        time.sleep(_POLL_SECONDS)


class _Counting:
    """Reads the script a dump turns into, and counts the rows it would insert."""

    def __init__(self) -> None:
        self.lines = 0
        self._table = ""
        self._columns: list[str] = []
        self._rows = dict.fromkeys(TABLES, 0)
        self._revision = ""
        self._newest: datetime | None = None

    def take(self, line: bytes) -> None:
        self.lines += 1
        if self._table:
            self._take_row(line)
        elif line.startswith(b"COPY ") and line.rstrip().endswith(b"FROM stdin;"):
            name, _, columns = line[5:].decode().partition(" (")
            self._table = name.rpartition(".")[2]
            self._columns = columns.partition(")")[0].split(", ")

    def _take_row(self, line: bytes) -> None:
        if line.rstrip(b"\n") == b"\\.":
            self._table = ""
            return
        self._rows[self._table] = self._rows.get(self._table, 0) + 1
        if self._table == "report":
            at = datetime.fromisoformat(self._value(line, "received_at")).astimezone(UTC)
            self._newest = max(self._newest or at, at)
        elif self._table == "alembic_version":
            self._revision = self._value(line, "version_num")

    def _value(self, line: bytes, column: str) -> str:
        return line.rstrip(b"\n").split(b"\t")[self._columns.index(column)].decode()

    def content(self) -> Content:
        if not self._revision:
            raise ArchiveDamaged("its database names no schema")
        return Content(
            self._revision,
            self._rows["job"],
            self._rows["report"],
            spelled(self._newest) if self._newest else None,
        )
