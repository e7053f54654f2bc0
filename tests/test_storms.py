"""Storms: many alerts at once become one message, in order, and none is lost in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask_babel import Babel
from sqlalchemy import event, select, update

from app import checks, outbox, routing
from app.checks import TASK, Policy
from app.clock import utcnow
from app.db import Database, insert_if_absent
from app.delivery import Courier
from app.models import Alert, Delivery, Lease
from app.settings import load
from tests import receivers
from tests.stage import NOON, add_channel, backup_body, send

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LATER = NOON + 3 * DAY
GROUPING = Policy(3600, "every_day", group_limit=3)


@pytest.fixture
def phone(database: Database) -> int:
    return add_channel(database, "webhook", "phone", {"url": "http://127.0.0.1:1/"})


def report(database: Database, jobs: dict[str, int], at: datetime, **data: Any) -> None:
    """So many jobs of each server report."""
    for server, number in jobs.items():
        for index in range(number):
            body = backup_body(at, seconds=0, machine=server, name=f"job {index}", **data)
            send(database, body, at, policy=GROUPING)


def messages(database: Database) -> list[tuple[str, Any, int]]:
    """Kind, server (None for several) and number of jobs of each message, in the order they are sent."""
    with database.reading() as rows:
        found = rows.scalars(select(Alert).join(Delivery).order_by(Delivery.id)).all()
        return [(each.kind, each.facts.get("server"), each.facts.get("count", 1)) for each in found]


def alerts(database: Database, kind: str) -> list[Alert]:
    with database.reading() as rows:
        named = select(Alert).where(Alert.kind == kind, Alert.job_id.is_not(None))
        return list(rows.scalars(named.order_by(Alert.id)))


def check_and_route(database: Database, now: datetime) -> None:
    checks.run(database, GROUPING, now)
    routing.route(database, GROUPING.group_limit, now, TASK)


def test_up_to_the_limit_every_job_has_its_own_message(database: Database, phone: int) -> None:
    report(database, {"nas": 2, "web": 1}, NOON)
    check_and_route(database, LATER)
    assert sorted(messages(database)) == [("overdue", "nas", 1), ("overdue", "nas", 1), ("overdue", "web", 1)]


def test_many_jobs_of_one_server_become_one_message(database: Database, phone: int) -> None:
    report(database, {"nas": 4}, NOON)
    check_and_route(database, LATER)
    assert messages(database) == [("overdue", "nas", 4)]
    members = alerts(database, "overdue")
    assert len(members) == 4
    assert len({each.group_id for each in members}) == 1
    with database.reading() as rows:
        head = rows.get(Alert, members[0].group_id)
    assert head is not None
    assert [each["job"] for each in head.facts["members"]] == ["job 0", "job 1", "job 2", "job 3"]


def test_few_servers_keep_apart_and_a_single_job_keeps_its_own_message(
    database: Database, phone: int
) -> None:
    report(database, {"nas": 4, "web": 2, "mail": 1}, NOON)
    check_and_route(database, LATER)
    assert sorted(messages(database)) == [
        ("overdue", "mail", 1),
        ("overdue", "nas", 4),
        ("overdue", "web", 2),
    ]


def test_most_servers_at_the_same_minute_become_one_message(database: Database, phone: int) -> None:
    report(database, {f"server {number}": 2 for number in range(6)}, NOON)
    check_and_route(database, LATER)
    assert messages(database) == [("overdue", None, 12)]


def test_a_storm_larger_than_a_batch_is_still_one_message(
    database: Database, phone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "BATCH", 5)
    report(database, {"nas": 12}, NOON)
    checks.run(database, GROUPING, LATER)
    routing.route(database, 3, LATER, TASK)
    assert messages(database) == [("overdue", "nas", 12)]


def test_while_a_check_goes_on_nothing_is_grouped_yet(database: Database, phone: int) -> None:
    report(database, {"nas": 4}, NOON)
    checks.run(database, GROUPING, LATER)
    with database.writing() as rows:
        insert_if_absent(rows, Lease, name=TASK, holder="other", expires_at=LATER + 45 * SECOND)
    assert routing.route(database, 3, LATER, TASK) == 0
    # Whoever held it died: after the lease the alerts go out all the same.
    assert routing.route(database, 3, LATER + 45 * SECOND, TASK) == 1


def test_zero_as_the_limit_groups_nothing(database: Database, phone: int) -> None:
    report(database, {"nas": 9}, NOON)
    checks.run(database, Policy(3600, "every_day", group_limit=0), LATER)
    assert messages(database) == [("overdue", "nas", 1)] * 9


def test_failures_that_come_one_by_one_are_grouped_after_a_minute(database: Database, phone: int) -> None:
    for second in range(10):
        at = NOON + second * SECOND
        body = backup_body(at, seconds=0, machine="nas", name=f"job {second}", ParsedResult="Fatal")
        send(database, body, at, policy=GROUPING)
        routing.route(database, 3, at, TASK)
    assert messages(database) == [("failed", "nas", 1)] * 3
    routing.route(database, 3, NOON + 62 * SECOND, TASK)
    routing.route(database, 3, NOON + 63 * SECOND, TASK)
    assert messages(database) == [("failed", "nas", 1)] * 3 + [("failed", "nas", 7)]


def test_after_a_calm_minute_messages_are_single_again(database: Database, phone: int) -> None:
    report(database, {"nas": 3}, NOON, ParsedResult="Fatal")
    at = NOON + 61 * SECOND
    send(database, backup_body(at, machine="web", ParsedResult="Fatal"), at, policy=GROUPING)
    assert messages(database) == [("failed", "nas", 1)] * 3 + [("failed", "web", 1)]


def test_a_second_routing_makes_no_second_message(database: Database, phone: int) -> None:
    report(database, {"nas": 4}, NOON)
    check_and_route(database, LATER)
    check_and_route(database, LATER + SECOND)
    assert messages(database) == [("overdue", "nas", 4)]


def test_looking_for_work_when_all_is_quiet_reads_one_row(database: Database) -> None:
    statements: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_rest: statements.append(statement),
    )
    assert routing.route(database, 3, NOON, TASK) == 0
    assert len([each for each in statements if each.startswith("SELECT")]) == 1


# --- the order on a channel


def _claimed(database: Database, now: datetime) -> list[str]:
    """What would be sent now, as kind and number of jobs."""
    channels = dict.fromkeys(outbox.due_channels(database, now), 100)
    return [
        f"{each.alert_kind} {each.facts.get('count', 1)}"
        for each in outbox.claim(database, channels, now, 60)
    ]


def _sent(database: Database) -> None:
    with database.writing() as rows:
        rows.execute(update(Delivery).values(status="sent", next_attempt_at=None))


@pytest.fixture
def recovered_after_a_group(database: Database, phone: int) -> Database:
    report(database, {"nas": 4}, NOON)
    check_and_route(database, LATER)
    send(database, backup_body(LATER, machine="nas", name="job 1"), LATER + SECOND, policy=GROUPING)
    assert messages(database) == [("overdue", "nas", 4), ("recovered", "nas", 1)]
    return database


def test_a_message_about_a_job_waits_for_the_group_it_was_in(recovered_after_a_group: Database) -> None:
    assert _claimed(recovered_after_a_group, LATER + 2 * SECOND) == ["overdue 4"]
    _sent_first = LATER + 3 * SECOND
    assert _claimed(recovered_after_a_group, _sent_first) == []
    with recovered_after_a_group.writing() as rows:
        group = rows.scalars(select(Delivery).where(Delivery.job_id.is_(None))).one()
        group.status, group.next_attempt_at = "sent", None
    assert _claimed(recovered_after_a_group, _sent_first) == ["recovered 1"]


def test_a_group_waits_for_the_messages_of_its_members(database: Database, phone: int) -> None:
    report(database, {"nas": 3}, NOON)
    check_and_route(database, LATER)
    assert messages(database) == [("overdue", "nas", 1)] * 3
    report(database, {"nas": 3}, LATER + 61 * SECOND)
    report(database, {"other": 4}, LATER + 61 * SECOND, ParsedResult="Fatal")
    with database.writing() as rows:
        rows.execute(update(Alert).where(Alert.kind == "recovered").values(routed_at=None))
        rows.execute(select(Delivery).where(Delivery.id > 3))
        for each in rows.scalars(select(Delivery).join(Alert).where(Alert.kind == "recovered")).all():
            rows.delete(each)
    routing.route(database, 1, LATER + 200 * SECOND, TASK)
    assert ("recovered", "nas", 3) in messages(database)
    now = LATER + 300 * SECOND
    assert "recovered 3" not in _claimed(database, now)
    _sent(database)
    with database.writing() as rows:
        last = rows.scalars(select(Delivery).join(Alert).where(Alert.facts["count"].as_integer() == 3)).one()
        last.status, last.next_attempt_at = "pending", now
    assert _claimed(database, now) == ["recovered 3"]


# --- all the way to a receiver


@pytest.fixture
def courier(database: Database) -> Iterator[Courier]:
    app = Flask("test")
    Babel(app)
    made = Courier(app, database, load({"VEILLEUR_GROUP_LIMIT": "1"}), utcnow)
    made.start()
    yield made
    made.stop()


def test_forty_overdue_jobs_reach_the_receiver_as_one_readable_message(
    database: Database, courier: Courier
) -> None:
    with receivers.HttpReceiver() as http:
        add_channel(database, "webhook", "hook", {"url": http.url})
        now = utcnow()
        report(database, {"nas": 20, "web": 20}, now - 3 * DAY)
        checks.run(database, Policy(3600, "every_day", group_limit=1), now)
        courier.wake()
        courier.settle(10)
        assert len(http.requests) == 1
        told = http.requests[0].json()
    assert told["title"] == "Overdue: 40 backups on 2 servers"
    assert told["body"].count("- job ") == 40
    assert "job 7 on nas; expected " in told["body"]
