"""What an upload costs: so many statements and no more, and the same work however much is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import event, insert, select

from app import accounts
from app.clock import utcnow
from app.db import Database
from app.models import Report, ReportBody
from tests.stage import backup_body
from tests.statements import noted
from tests.web import Site, site

STORED = 4000
WRITING = ["INSERT", "INSERT", "UPDATE", "UPDATE"]  # the report, its body, the job, sums


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


class Client:
    """Sends reports of one job, each an hour after the one before; the use of its key is noted already."""

    def __init__(self, here: Site) -> None:
        with here.database.writing() as rows:
            key, secret = accounts.new_key(rows, "client", accounts.UPLOAD, utcnow())
            key.used_at = utcnow() + timedelta(hours=1)
        self._web, self._path = here.stranger(), f"/api/upload?api_key={secret}"
        self._ended_at = utcnow() - timedelta(days=2)

    def send(self, **data: object) -> dict[str, object]:
        self._ended_at += timedelta(hours=1)
        return self.repeat(**data)

    def repeat(self, **data: object) -> dict[str, object]:
        answer = self._web.post(
            self._path, data=backup_body(self._ended_at, **data), content_type="application/json"
        )
        assert answer.status_code == 200
        told: dict[str, object] = answer.json
        return told


def store_many(database: Database) -> None:
    """Older reports of the same job, with their bodies."""
    with database.writing() as rows:
        model = rows.execute(select(Report.__table__).limit(1)).mappings().one()
        body = rows.execute(select(ReportBody.__table__).limit(1)).mappings().one()
        reports: list[dict[str, Any]] = []
        for number in range(STORED):
            at = model["ended_at"] - timedelta(minutes=number)
            changed = {"fingerprint": f"{model['id']}-{number}", "ended_at": at, "received_at": at}
            reports.append({name: value for name, value in {**model, **changed}.items() if name != "id"})
        numbers = rows.scalars(insert(Report).returning(Report.id), reports).all()
        rows.execute(insert(ReportBody), [{**body, "report_id": each} for each in numbers])


def first_words(statements: list[str]) -> list[str]:
    """Without what begins a transaction, and without the settings, which are read again after seconds."""
    words = [each.split()[0] for each in statements if "stored_setting" not in each]
    return [each for each in words if each not in ("BEGIN", "PRAGMA")]


def reading(database: Database) -> list[str]:
    """The key, then the job, which PostgreSQL locks before it reads it."""
    return ["SELECT"] * (2 if database.is_sqlite else 3)


@contextmanager
def steps_of_sqlite(database: Database) -> Iterator[list[int]]:
    """One entry for every step that SQLite takes in any connection."""
    taken: list[int] = []

    def watch(connection: sqlite3.Connection, *_rest: object) -> None:
        connection.set_progress_handler(lambda: taken.append(1), 1)

    def unwatch(connection: sqlite3.Connection, *_rest: object) -> None:
        connection.set_progress_handler(None, 1)

    event.listen(database.engine, "checkout", watch)
    event.listen(database.engine, "checkin", unwatch)
    yield taken
    event.remove(database.engine, "checkout", watch)
    event.remove(database.engine, "checkin", unwatch)


Noted = TypeVar("Noted")


def noted_with_few_and_with_many(
    here: Site, noting: Callable[[Database], AbstractContextManager[list[Noted]]]
) -> tuple[list[Noted], list[Noted]]:
    """What is noted of an upload while hardly anything is stored, and of one when much is."""
    client = Client(here)
    client.send()
    client.send()
    with noting(here.database) as with_few:
        assert client.send() == {"success": True}
    store_many(here.database)
    with noting(here.database) as with_many:
        assert client.send() == {"success": True}
    return with_few, with_many


def test_a_report_of_a_known_job_takes_the_same_statements_however_many_are_stored(here: Site) -> None:
    with_few, with_many = noted_with_few_and_with_many(here, noted)
    assert first_words(with_few) == first_words(with_many) == reading(here.database) + WRITING


def test_a_report_that_is_known_writes_nothing_more(here: Site) -> None:
    client = Client(here)
    client.send()
    with noted(here.database) as statements:
        assert client.repeat() == {"success": True, "duplicate": True}
    assert first_words(statements) == [*reading(here.database), WRITING[0]]


def test_no_statement_names_a_column_of_the_job_that_stays_as_it_is(here: Site) -> None:
    """SQLite writes every index that holds one which is named: by state and name there are four."""
    client = Client(here)
    client.send()
    client.send()
    with noted(here.database) as statements:
        client.send()
    (saved,) = [each for each in statements if each.startswith("UPDATE job")]
    assert "last_ended_at" in saved
    for name in ("name", "state", "state_rank", "told", "stored_bytes", "downtime_id"):
        assert f" {name}=" not in saved, saved


@pytest.mark.sqlite("counts its steps")
def test_the_work_of_sqlite_stays_the_same_however_many_reports_are_stored(here: Site) -> None:
    with_few, with_many = noted_with_few_and_with_many(here, steps_of_sqlite)
    assert 100 < len(with_many) <= 1.1 * len(with_few), (len(with_few), len(with_many))
