"""The database file: never made by whoever only uses it, and noticed when it is gone or another one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import schema
from app.db import Database, insert_if_absent, is_out_of_reach, reason
from app.models import Total


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
        return [name for (name,) in connection.execute("SELECT name FROM total ORDER BY name")]


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
            assert rows.scalar(text("SELECT count(*) FROM total")) == 0
    write(database, "taken")
    assert names(path_of(database)) == ["taken"]
