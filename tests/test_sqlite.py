"""The database file: never made by whoever only uses it, and noticed when it is gone or another one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DatabaseError, OperationalError

from app import schema
from app.db import Database, insert_if_absent, is_out_of_reach, reason
from app.models import Total

pytestmark = pytest.mark.sqlite("what SQLite needs")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    # What is special in a URL and may stand in one of SQLAlchemy's.
    path = tmp_path / "with #hash & 5% more" / "veilleur.db"
    path.parent.mkdir()
    schema.upgrade(f"sqlite:///{path}")
    made = Database(f"sqlite:///{path}")
    yield made
    made.dispose()


def path_of(database: Database) -> Path:
    return Path(str(database.engine.url.database))


def write(database: Database, name: str) -> None:
    with database.writing() as rows:
        insert_if_absent(rows, Total, name=name, value=1)


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            name
            for (name,) in connection.execute("SELECT name FROM total WHERE name <> 'servers' ORDER BY name")
        ]


def remove(path: Path) -> None:
    for each in path.parent.glob("veilleur.db*"):
        each.unlink()


def test_a_missing_file_is_told_and_not_made(database: Database) -> None:
    path = path_of(database)
    write(database, "before")
    remove(path)
    for _ in range(2):
        with pytest.raises(OperationalError, match="is missing") as problem:
            write(database, "lost")
        assert is_out_of_reach(problem.value)
        assert "\n" not in reason(problem.value)
    with pytest.raises(OperationalError, match="is missing"), database.reading() as rows:
        rows.execute(text("SELECT 1"))
    assert not path.exists()


def test_another_file_in_its_place_is_opened_anew(database: Database, tmp_path: Path) -> None:
    path = path_of(database)
    write(database, "before")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(other),))
    write(database, "not in the copy")
    remove(path)
    other.rename(path)
    write(database, "after")
    assert names(path) == ["after", "before"]


def test_a_commit_into_a_file_that_was_deleted_meanwhile_is_no_success(database: Database) -> None:
    with pytest.raises(OperationalError, match="replaced or deleted"), database.writing() as rows:
        insert_if_absent(rows, Total, name="lost", value=1)
        remove(path_of(database))


@pytest.mark.parametrize("left_bytes", [0, 4096, 8192])
def test_a_file_that_was_cut_short_is_refused_by_connections_that_remember_it(
    database: Database, left_bytes: int, tmp_path: Path
) -> None:
    path = path_of(database)
    write(database, "before")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM INTO ?", (str(tmp_path / "good.db"),))
    write(database, "in the log only")
    os.truncate(path, left_bytes)
    for _ in range(2):
        with pytest.raises(DatabaseError) as problem:
            write(database, "lost")
        assert is_out_of_reach(problem.value)
        assert "\n" not in reason(problem.value)
    remove(path)
    (tmp_path / "good.db").rename(path)
    write(database, "after")
    assert names(path) == ["after", "before"]


def test_a_file_that_was_made_smaller_by_vacuum_is_taken_as_it_is(database: Database) -> None:
    path = path_of(database)
    with database.writing() as rows:
        rows.execute(text("CREATE TABLE ballast (data)"))
        rows.execute(text("INSERT INTO ballast VALUES (randomblob(2000000))"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    write(database, "before")
    large = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE ballast")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < large
    write(database, "after")
    assert names(path) == ["after", "before"]


def test_a_connection_that_was_opened_read_only_is_not_kept(database: Database) -> None:
    database.dispose()
    path = path_of(database)
    with closing(sqlite3.connect(path)) as keeper:
        keeper.execute("SELECT count(*) FROM total").fetchone()  # so that the files beside it stay
        with database.reading() as rows:
            rows.connection().exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(OperationalError, match="readonly"):
            write(database, "refused")
        write(database, "taken")
    assert names(path) == ["taken"]


def test_a_writer_waits_as_long_as_it_is_told_and_a_reader_not_at_all(database: Database) -> None:
    with closing(sqlite3.connect(path_of(database), isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            write(database.waiting(0.3), "refused")
        assert 0.2 < time.monotonic() - began < 20
        with database.reading() as rows:
            assert rows.scalar(text("SELECT count(*) FROM total WHERE name = 'refused'")) == 0
    write(database, "taken")
    assert names(path_of(database)) == ["taken"]


def test_a_writer_who_waits_asks_again_soon_for_as_long_as_he_may(database: Database) -> None:
    asked: list[str] = []

    def listen(connection: sqlite3.Connection, *_rest: object) -> None:
        connection.set_trace_callback(asked.append)

    event.listen(database.engine, "checkout", listen)
    with closing(sqlite3.connect(path_of(database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"), database.waiting(2).writing() as rows:
            rows.connection()
        assert asked.count("BEGIN IMMEDIATE") > 20
        other.execute("ROLLBACK")
    with database.reading() as rows:
        assert rows.scalar(text("PRAGMA busy_timeout")) == 30_000
    write(database, "taken")
    assert names(path_of(database)) == ["taken"]


def test_the_log_grows_to_sixteen_megabytes_before_it_is_brought_to_the_file(database: Database) -> None:
    log = Path(f"{path_of(database)}-wal")
    with database.writing() as rows:
        rows.execute(text("CREATE TABLE ballast (data)"))
    for _ in range(30):
        with database.writing() as rows:
            rows.execute(text("INSERT INTO ballast VALUES (randomblob(1000000))"))
    assert 16e6 < log.stat().st_size < 18e6
    assert path_of(database).stat().st_size > 16e6


def test_who_writes_waits_for_readers_as_long_as_he_may_when_he_commits(database: Database) -> None:
    """Where the file can't have a log beside it, they stand in his way."""
    with database.waiting(7).writing() as rows:
        assert rows.scalar(text("PRAGMA busy_timeout")) == 7000


def test_what_is_asked_without_a_transaction_waits_for_writers_though_one_was_waited_for_in_vain(
    database: Database,
) -> None:
    """There, too: questions that are asked often go to the driver, which begins nothing."""
    with closing(sqlite3.connect(path_of(database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            write(database.waiting(0.3), "refused")
    with database.asking() as rows:
        driver: sqlite3.Connection = rows.connection.driver_connection  # type: ignore[assignment]
        assert driver.execute("PRAGMA busy_timeout").fetchone() == (300,)
