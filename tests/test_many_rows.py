"""Many rows in one statement: what is stored is what single statements would have stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select

from app import checks
from app.clock import utcnow
from app.db import Database
from app.many_rows import Additions, Changes
from app.models import Alert, Delivery, Job
from tests import crowd
from tests.stage import NOON, POLICY, add_channel, backup_body, send

ADD = Additions(
    Alert, ("message_id", "kind", "facts", "created_at", "routed_at"), returned=("message_id", "id")
)
FACTS = {
    "job": 'a "quoted" \\ name',
    "error": "\0 ✓ 😀 \ud800",
    "count": 3,
    "none": None,
    "members": [{"a": 1}],
}


def alert(number: int, **other: Any) -> dict[str, Any]:
    kept = {"kind": "overdue", "facts": FACTS, "created_at": NOON, "routed_at": None}
    return {"message_id": f"{number:032x}", **kept, **other}


def test_rows_are_added_in_their_order_with_all_that_they_hold(database: Database) -> None:
    with database.writing() as rows:
        added = ADD.run(rows.connection(), [alert(number) for number in range(9, 0, -1)])
        numbers = {row[0]: row[1] for row in added}
    with database.reading() as rows:
        stored = rows.scalars(select(Alert).order_by(Alert.id)).all()
    assert [each.message_id for each in stored] == [f"{number:032x}" for number in range(9, 0, -1)]
    assert numbers == {each.message_id: each.id for each in stored}
    assert all(each.facts == FACTS and each.created_at == NOON and each.routed_at is None for each in stored)


def test_columns_that_are_not_named_get_their_defaults(database: Database) -> None:
    channel = add_channel(database, "ntfy", "n", {})
    with database.writing() as rows:
        ((_message, number),) = ADD.run(rows.connection(), [alert(1)])
        add = Additions(Delivery, ("alert_id", "channel_id", "job_id", "next_attempt_at"))
        row = {"alert_id": number, "channel_id": channel, "job_id": None, "next_attempt_at": NOON}
        assert list(add.run(rows.connection(), [row])) == []
    with database.reading() as rows:
        stored = rows.scalars(select(Delivery)).one()
        assert (stored.status, stored.attempts, stored.job_id, stored.next_attempt_at) == (
            "pending",
            0,
            None,
            NOON,
        )


def test_only_the_rows_that_are_named_are_changed(database: Database) -> None:
    for name in ("a", "b", "c"):
        send(database, backup_body(NOON, name=name), NOON)
    change = Changes(Job, ("why", "paused_at", "state_rank"))
    at = datetime(2026, 11, 23, 7, 0, 0, 123456, UTC)
    with database.writing() as rows:
        first, second, third = rows.scalars(select(Job.id).order_by(Job.id)).all()
        changed = [
            {"number": third, "why": FACTS, "paused_at": at, "state_rank": 4},
            {"number": first, "why": {}, "paused_at": None, "state_rank": 3},
        ]
        change.run(rows.connection(), changed)
    with database.reading() as rows:
        found = {job.id: job for job in rows.scalars(select(Job))}
    assert (found[third].why, found[third].paused_at, found[third].state_rank) == (FACTS, at, 4)
    assert (found[first].why, found[first].paused_at, found[first].state_rank) == ({}, None, 3)
    assert (found[second].state_rank, found[second].name) == (5, "b")


def test_a_moment_without_a_time_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="without a time zone"), database.writing() as rows:
        ADD.run(rows.connection(), [alert(1, created_at=NOON.replace(tzinfo=None))])
    with database.reading() as rows:
        assert rows.scalar(select(func.count()).select_from(Alert)) == 0


def test_a_batch_of_a_check_is_one_statement_for_each_table(database: Database) -> None:
    crowd.add_jobs(database, 40)
    crowd.make_due(database, 1, 40)
    add_channel(database, "ntfy", "n", {})
    many: list[str] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, _given: Any, _context: Any, is_many: bool
    ) -> None:
        many.extend([statement] * is_many)

    event.listen(database.engine, "before_cursor_execute", note)
    assert checks.run(database, POLICY, utcnow()).alerts == 40
    # SQLite's driver goes over the rows by itself, without a message to anybody.
    assert bool(many) == database.is_sqlite
