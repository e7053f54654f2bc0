"""Statements that go straight to the driver: the values, rows and errors are those of any other statement."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app import schema
from app.db import Database, is_out_of_reach
from app.models import Job, Server
from app.prepared import Prepared

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, UTC)
SERVERS, JOBS = cast(Table, Server.__table__), cast(Table, Job.__table__)
ADD_SERVER = Prepared(insert(SERVERS).returning(SERVERS.c.id), ["machine_id", "name", "created_at"])
JOB = {
    "server_id",
    "backup_id",
    "name",
    "created_at",
    "state",
    "state_rank",
    "state_since_at",
    "why",
    "is_published",
}
ADD_JOB = Prepared(insert(JOBS).inline(), sorted(JOB))
A_JOB: dict[str, Any] = {"backup_id": "b", "name": "Docs", "created_at": NOON, "state": "new"}
A_JOB |= {
    "state_rank": 3,
    "state_since_at": NOON,
    "why": {"reason": "neu ✓", "at": None},
    "is_published": False,
}


def add_job(database: Database) -> None:
    def work(connection: Any) -> None:
        ((number,),) = ADD_SERVER.run(connection, {"machine_id": "m", "name": "nas", "created_at": NOON})
        assert ADD_JOB.run(connection, {**A_JOB, "server_id": number}) == []

    database.change_together(work)


def test_what_it_writes_the_orm_reads_and_the_other_way_round(database: Database) -> None:
    add_job(database)
    asked = Prepared(
        select(JOBS.c.why, JOBS.c.created_at, JOBS.c.is_published, JOBS.c.expected_at).where(
            JOBS.c.backup_id == bindparam("backup"), JOBS.c.created_at == bindparam("at")
        )
    )
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        assert (job.why, job.created_at, job.name) == (A_JOB["why"], NOON, "Docs")
        job.expected_at = NOON
    with database.asking() as connection:
        found = asked.run(connection, {"backup": "b", "at": NOON})
        assert found == [(A_JOB["why"], NOON, False, NOON)]
        assert asked.run(connection, {"backup": "other", "at": NOON}) == []
        with pytest.raises(ValueError, match="without a time zone"):
            asked.run(connection, {"backup": "b", "at": NOON.replace(tzinfo=None)})


def test_a_violated_key_is_the_error_of_any_other_statement(database: Database) -> None:
    add_job(database)
    with pytest.raises(IntegrityError) as refused:
        add_job(database)
    assert not is_out_of_reach(refused.value)
    with database.reading() as rows:
        assert len(rows.scalars(select(Job)).all()) == 1


def test_a_question_needs_no_transaction(database: Database) -> None:
    asked = Prepared(select(JOBS.c.id))
    with database.asking() as rows:
        for _ in range(10):
            asked.run(rows, {})
        used: Any = rows.connection.driver_connection
        is_within = used.in_transaction if database.is_sqlite else used.info.transaction_status
    assert not is_within
    with database.writing() as session:
        session.add(Server(machine_id="m", name="nas", created_at=NOON))
        session.flush()
        session.rollback()
    with database.reading() as session:
        assert session.scalars(select(Server.id)).all() == []


@pytest.mark.sqlite("about its lock")
def test_a_fault_of_the_database_is_told_from_one_of_the_request(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'veilleur.db'}"
    schema.upgrade(url)
    database = Database(url, wait_seconds=0.1)
    rename = Prepared(update(SERVERS).where(SERVERS.c.id == bindparam("number")), ["name"])
    with database.writing() as rows:
        rows.connection()
        # Without a transaction of its own it is the statement itself that finds the file locked.
        with database.asking() as connection, pytest.raises(OperationalError) as locked:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            connection.rollback()
            rename.run(connection, {"number": 1, "name": "x"})
    assert is_out_of_reach(locked.value)
    assert "locked" in str(locked.value.orig)
    database.dispose()
