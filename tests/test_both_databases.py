"""The run on a database is on that database: what tests, sites and processes get, and what is noticed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from app import clock
from app.db import Database
from app.models import ApiKey
from tests import both_databases, order
from tests.conftest import TESTS
from tests.processes import Veilleur
from tests.stage import new_database
from tests.web import site


def test_the_files_that_are_begun_first_are_there() -> None:
    assert [each for each in order.LONGEST if not (TESTS / each).is_file()] == []


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--database"))


def test_every_way_to_a_database_leads_to_the_kind_of_the_run(
    database: Database, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "another").mkdir()
    another = new_database(tmp_path / "another")
    with site(tmp_path) as here:
        found = [each.engine.dialect.name for each in (database, another, here.database)]
    another.dispose()
    assert found == [kind] * 3


def test_processes_work_on_what_the_test_looks_into(tmp_path: Path, kind: str) -> None:
    veilleur = Veilleur(tmp_path)
    assert veilleur.finish("flask", "key", "add", "of the process").returncode == 0
    database = veilleur.database()
    assert database.engine.dialect.name == kind
    with database.reading() as rows:
        assert "of the process" in rows.scalars(select(ApiKey.label)).all()
    database.dispose()


def test_no_test_sees_the_rows_of_another(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        database = new_database(tmp_path / name)
        with database.writing() as rows:
            assert rows.scalars(select(ApiKey.label)).all() == []
            rows.add(ApiKey(label=name, scope="read", key_hash=name, hint=name, created_at=clock.utcnow()))
        database.dispose()


def test_a_database_of_the_wrong_kind_is_noticed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    sqlite3.connect(tmp_path / "of-this-process.db").close()
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "veilleur.db").touch()
    noticed = both_databases.taken(request.node)
    assert [Path(each).name for each in noticed] == ["of-this-process.db", "veilleur.db"]
    (tmp_path / "instance" / "veilleur.db").unlink()
