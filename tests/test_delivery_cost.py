"""What deliveries cost: statements, commits and rows looked at, however many messages there are or wait."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, insert, select, text, update
from sqlalchemy.engine.interfaces import DBAPICursor

from app import alerts, outbox
from app.alerts import News
from app.clock import utcnow
from app.db import Database
from app.models import Alert, Channel, Delivery, DeliveryAttempt
from app.outbox import Ended
from app.traffic import AHEAD
from tests import receivers
from tests.couriers import SENT, courier, webhook

SECOND = timedelta(seconds=1)


@contextlib.contextmanager
def _counting(database: Database) -> Iterator[Counter[str]]:
    """Statements by their first word, whatever number of rows each has, and commits."""
    found: Counter[str] = Counter()

    def execute(_connection: Connection, _cursor: DBAPICursor, statement: str, *_rest: Any) -> None:
        found[statement.split()[0]] += 1

    def commit(_connection: Connection) -> None:
        found["commits"] += 1

    event.listen(database.engine, "before_cursor_execute", execute)
    event.listen(database.engine, "commit", commit)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", execute)
        event.remove(database.engine, "commit", commit)


def _add_waiting(database: Database, channel_id: int, count: int, *, job_id: int | None = None) -> None:
    """So many messages, each about a job of its own or all about one."""
    now = utcnow()
    with database.writing() as rows:
        first = (rows.scalar(select(Alert.id).order_by(Alert.id.desc()).limit(1)) or 0) + 1
        numbers = range(first, first + count)
        common = {"kind": "overdue", "facts": {"job": "Documents"}, "created_at": now, "routed_at": now}
        told = [common | {"id": each, "message_id": f"{each:032x}"} for each in numbers]
        rows.connection().execute(insert(Alert), told)
        due = {"channel_id": channel_id, "next_attempt_at": now - SECOND}
        waiting = [due | {"alert_id": each, "job_id": job_id or each} for each in numbers]
        rows.connection().execute(insert(Delivery), waiting)


def _finished(database: Database, claims: list[outbox.Claim]) -> None:
    outbox.finish(database, [Ended(each, SENT, utcnow(), 0.01) for each in claims])


@pytest.mark.parametrize("count", [1, 60])
def test_taking_on_and_writing_down_cost_the_same_statements_for_one_message_and_for_many(
    database: Database, count: int
) -> None:
    hook = webhook(database, "hook")
    _add_waiting(database, hook, count)
    with _counting(database) as found:
        claims = outbox.claim(database, {hook: AHEAD}, utcnow(), 60)
        _finished(database, claims)
    assert len(claims) == count
    assert found["commits"] == 2
    assert found.total() - found["commits"] - found["BEGIN"] - found["PRAGMA"] <= 8, found
    with database.reading() as rows:
        assert len(rows.scalars(select(DeliveryAttempt)).all()) == count
        assert set(rows.scalars(select(Delivery.status))) == {"sent"}


def test_of_two_hundred_messages_each_costs_less_than_four_statements_and_half_a_commit(
    database: Database,
) -> None:
    with receivers.HttpReceiver() as http:
        hook = webhook(database, "hook", http.url)
        _add_waiting(database, hook, 200)
        with _counting(database) as found, courier(database) as running:
            receivers.wait_until(lambda: len(http.requests) == 200, 60)
            running.settle(20)
        assert len({each.headers["Idempotency-Key"] for each in http.requests}) == 200
    # Twice what they take on a busy machine, where fewer come together.
    assert found["commits"] <= 200 / 2, found
    assert found.total() <= 4 * 200, found


def test_recording_many_alerts_takes_as_many_statements_as_recording_two(database: Database) -> None:
    webhook(database, "hook")
    totals = []
    for count in (2, 500):
        with database.writing() as rows, _counting(database) as found:
            told = [News(None, "overdue", {"job": f"job {number}"}) for number in range(count)]
            alerts.record(rows, told, utcnow())
        totals.append(found.total())
    assert totals[0] == totals[1]
    with database.reading() as rows:
        told_of = rows.execute(select(Alert.id, Delivery.alert_id).outerjoin(Delivery)).all()
    assert len(told_of) == 502
    assert all(row[0] == row[1] for row in told_of)


# What is looked at


def _work(database: Database, hook: int) -> int:
    """What the database looks at to find who has something, to take on ten and to write them down."""
    now = utcnow()
    with _looked_at(database) as found:
        assert outbox.due_channels(database, now) == [hook]
        claims = outbox.claim(database, {hook: 10}, now, 60)
        _finished(database, claims)
    assert len(claims) == 10
    return found[0]


@contextlib.contextmanager
def _looked_at(database: Database) -> Iterator[list[int]]:
    """Steps of SQLite's machine; pages of PostgreSQL's tables and indexes."""
    total = [0]

    def watch(connection: Connection, _cursor: DBAPICursor, statement: str, values: Any, *rest: Any) -> None:
        many = rest[-1]
        if database.is_sqlite or many or statement.split()[0] not in ("SELECT", "UPDATE"):
            return
        raw: Any = connection.connection.driver_connection
        analyzed = "ANALYZE, BUFFERS, " if statement.startswith("SELECT") else ""
        plan = raw.execute(f"EXPLAIN ({analyzed}FORMAT JSON) {statement}", values).fetchone()[0][0]["Plan"]
        total[0] += plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
        # From this cost on it compiles a statement first, which takes longer than any of ours.
        assert plan["Total Cost"] < 100_000, statement

    def step() -> int:
        total[0] += 1
        return 0

    def begun(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(step, 10)

    name, listener = ("begin", begun) if database.is_sqlite else ("before_cursor_execute", watch)
    event.listen(database.engine, name, listener)
    try:
        yield total
    finally:
        event.remove(database.engine, name, listener)
        database.dispose()


@pytest.mark.parametrize("of_one_job", [False, True])
def test_ten_messages_cost_no_more_when_ten_thousand_others_wait(
    database: Database, of_one_job: bool
) -> None:
    hook = webhook(database, "hook")
    _add_waiting(database, hook, 100)
    _analyze(database)
    few = _work(database, hook)
    _add_waiting(database, hook, 10_000, job_id=1_000_000 if of_one_job else None)
    _analyze(database)
    many = _work(database, hook)
    assert many <= 2 * few, (few, many)


def _analyze(database: Database) -> None:
    with database.writing() as rows:
        rows.execute(text("ANALYZE"))


# What was taken on ahead


def test_what_was_taken_on_and_not_begun_is_given_back_as_if_it_never_had_been(database: Database) -> None:
    hook = webhook(database, "hook")
    _add_waiting(database, hook, 3)
    with database.reading() as rows:
        before = rows.execute(select(Delivery.id, Delivery.attempts, Delivery.next_attempt_at)).all()
    now = utcnow()
    claims = outbox.claim(database, {hook: AHEAD}, now, 60, "nas:1:aa")
    _finished(database, claims[:1])
    outbox.give_back(database, claims)
    with database.reading() as rows:
        query = select(Delivery.id, Delivery.attempts, Delivery.next_attempt_at, Delivery.claimed_by)
        after = rows.execute(query.order_by(Delivery.id)).all()
    assert after[0][1:] == (1, None, None)  # it has been sent meanwhile
    assert [row[:3] for row in after[1:]] == before[1:]
    assert {row[3] for row in after} == {None}


def test_a_channel_that_begins_to_fail_gives_back_what_was_taken_on_for_it(database: Database) -> None:
    with receivers.HttpReceiver() as http:
        http.queue = [receivers.ok()]
        http.behaviour = receivers.status(500)
        hook = webhook(database, "hook", http.url)
        _add_waiting(database, hook, 50)
        with courier(database, threads=1):
            receivers.wait_until(lambda: len(http.requests) >= 2)
            receivers.wait_until(lambda: _attempts_written(database) >= 2)
            with database.writing() as rows:
                rows.execute(update(Delivery).where(Delivery.attempts == 0).values(next_attempt_at=None))
            receivers.wait_until(lambda: not _claimed(database))
    with database.reading() as rows:
        counted = Counter(rows.scalars(select(Delivery.attempts)))
    assert set(counted) == {0, 1}, counted
    assert counted[1] == len(http.requests)


def _attempts_written(database: Database) -> int:
    with database.reading() as rows:
        return len(rows.scalars(select(DeliveryAttempt.id)).all())


def _claimed(database: Database) -> bool:
    with database.reading() as rows:
        mine = Delivery.claimed_by.is_not(None), Delivery.next_attempt_at.is_not(None)
        return rows.scalar(select(Delivery.id).where(*mine).limit(1)) is not None


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_channel_that_is_switched_off_or_removed_sends_nothing_of_what_was_taken_on(
    database: Database, is_removed: bool
) -> None:
    with receivers.HttpReceiver() as http:
        http.queue = [receivers.ok(), receivers.held()]
        http.behaviour = receivers.slow(1)
        hook = webhook(database, "hook", http.url)
        _add_waiting(database, hook, 50)
        with courier(database, threads=1) as running:
            receivers.wait_until(lambda: len(http.requests) == 2)
            with database.writing() as rows:
                change = delete(Channel) if is_removed else update(Channel).values(enabled=False)
                rows.execute(change.where(Channel.id == hook))
            http.release()
            running.settle(60)
            assert len(http.requests) <= 20
        with database.reading() as rows:
            counted = Counter(rows.scalars(select(Delivery.attempts)))
    assert counted == ({} if is_removed else {1: len(http.requests), 0: 50 - len(http.requests)})


def test_a_courier_that_stops_gives_back_what_it_has_not_begun(database: Database) -> None:
    with receivers.HttpReceiver(receivers.slow(0.2)) as http:
        hook = webhook(database, "hook", http.url)
        _add_waiting(database, hook, 50)
        with courier(database, threads=2):
            receivers.wait_until(lambda: len(http.requests) >= 3)
        sent = len(http.requests)
    assert sent < 50
    with database.reading() as rows:
        counted = Counter(row[:] for row in rows.execute(select(Delivery.status, Delivery.attempts)))
        due = rows.scalars(select(Delivery.id).where(Delivery.next_attempt_at <= utcnow())).all()
    assert counted == {("sent", 1): sent, ("pending", 0): 50 - sent}
    assert len(due) == 50 - sent
