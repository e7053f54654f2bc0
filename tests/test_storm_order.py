"""Storms and the order of things: what waits to be grouped is not overtaken, and never waits for long."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import select

from app import checks, jobs, routing
from app.checks import TASK, Policy
from app.db import Database, insert_if_absent
from app.models import Alert, Channel, Delivery, Job, Lease
from tests.stage import NOON, add_channel, backup_body, send

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LATER = NOON + 3 * DAY
GROUPING = Policy(3600, "every_day", group_limit=2)


@pytest.fixture(autouse=True)
def phone(database: Database) -> int:
    return add_channel(database, "webhook", "phone", {"url": "http://127.0.0.1:1/"})


def _report(database: Database, job: int, second: int, *, good: bool = True) -> None:
    at = NOON + second * SECOND
    body = backup_body(at, seconds=0, name=f"job {job}", ParsedResult="Success" if good else "Fatal")
    send(database, body, at, policy=GROUPING)


def _route(database: Database, second: int) -> None:
    routing.route(database, GROUPING.group_limit, NOON + second * SECOND, TASK)


def _told(database: Database) -> list[list[tuple[str, str]]]:
    """Kind and job of all that each message tells, in the order of the messages."""
    told = []
    with database.reading() as rows:
        for delivery in rows.scalars(select(Delivery).order_by(Delivery.id)):
            head = delivery.alert
            members = rows.scalars(select(Alert).where(Alert.group_id == head.id).order_by(Alert.id)).all()
            told.append([(each.kind, each.facts["job"]) for each in members or [head]])
    return told


def _told_of(database: Database, job: int) -> list[str]:
    return [kind for each in _told(database) for kind, name in each if name == f"job {job}"]


def _stored_of(database: Database, job: int) -> list[str]:
    with database.reading() as rows:
        query = select(Alert.kind).join(Job).where(Job.name == f"job {job}").order_by(Alert.id)
        return list(rows.scalars(query))


def test_a_recovery_does_not_overtake_the_group_that_is_still_to_be_made(database: Database) -> None:
    for job in range(4):
        _report(database, job, 0)
    checks.run(database, GROUPING, LATER)
    send(database, backup_body(LATER, name="job 1"), LATER + SECOND, policy=GROUPING)
    assert _told(database) == []
    routing.route(database, GROUPING.group_limit, LATER + 2 * SECOND, TASK)
    assert _told_of(database, 1) == ["overdue"]
    routing.route(database, GROUPING.group_limit, LATER + 61 * SECOND, TASK)
    assert _told_of(database, 1) == ["overdue", "recovered"]


def test_of_groups_of_several_kinds_each_job_hears_its_own_story_in_order(database: Database) -> None:
    """Job 8 fails after it recovered, job 9 recovers after it failed, each among others of both kinds."""
    for job in range(10):
        _report(database, job, 0, good=job not in (1, 2, 8))
    checks_at = 200
    for job in (1, 2, 8):
        _report(database, job, checks_at)
    for job in (3, 4, 5, 9, 8):
        _report(database, job, checks_at + 5, good=False)
    for job in (9, 3):
        _report(database, job, checks_at + 10)
    for second in range(checks_at + 11, checks_at + 200, 7):
        _route(database, second)
    for job in range(10):
        assert _told_of(database, job) == _stored_of(database, job), job
    assert _told_of(database, 8) == ["failed", "recovered", "failed"]
    assert _told_of(database, 9) == ["failed", "recovered"]


def test_every_order_of_reports_and_routings_is_told_in_order_and_once(database: Database) -> None:
    chance = random.Random(7)  # noqa: S311  (no secret)
    second = 0
    for _step in range(150):
        second += chance.choice((0, 1, 3, 15, 40))
        _report(database, chance.randrange(6), second, good=chance.random() < 0.5)
        if chance.random() < 0.4:
            _route(database, second)
    for extra in (61, 62, 130, 195, 260, 330, 400):
        _route(database, second + extra)
    with database.reading() as rows:
        assert rows.scalars(select(Alert.id).where(Alert.routed_at.is_(None))).all() == []
    for job in range(6):
        assert _told_of(database, job) == _stored_of(database, job), job


def test_after_the_clock_was_set_back_nothing_waits_for_the_old_time(database: Database) -> None:
    for job in range(6):
        _report(database, job, 0, good=False)
    assert sum(map(len, _told(database))) == 2
    _route(database, -2 * 3600)
    assert sum(map(len, _told(database))) == 6


def test_what_was_told_by_a_clock_ahead_does_not_count_as_lately(database: Database) -> None:
    for job in range(2):
        _report(database, job, 2 * 3600, good=False)
    _report(database, 5, 0, good=False)
    assert [len(each) for each in _told(database)] == [1, 1, 1]


def test_a_lease_left_behind_by_a_clock_ahead_holds_nothing_up(database: Database) -> None:
    for job in range(4):
        _report(database, job, 0)
    checks.run(database, GROUPING, LATER)
    with database.writing() as rows:
        insert_if_absent(rows, Lease, name=TASK, holder="dead", expires_at=LATER + 2 * HOUR)
    assert routing.route(database, 2, LATER, TASK) == 1


def test_a_job_deleted_before_the_group_is_made_is_left_out_and_the_rest_is_told(database: Database) -> None:
    for job in range(4):
        _report(database, job, 0)
    checks.run(database, GROUPING, LATER)
    with database.writing() as rows:
        for name in ("job 0", "job 1", "job 2"):
            jobs.forget(rows, rows.scalars(select(Job).where(Job.name == name)).one())
    routing.route(database, GROUPING.group_limit, LATER + SECOND, TASK)
    assert _told(database) == [[("overdue", "job 3")]]


def test_a_channel_added_before_the_group_is_made_hears_of_it_and_one_removed_stops_nothing(
    database: Database, phone: int
) -> None:
    for job in range(4):
        _report(database, job, 0)
    checks.run(database, GROUPING, LATER)
    with database.writing() as rows:
        rows.delete(rows.get(Channel, phone))
    added = add_channel(database, "webhook", "added", {"url": "http://127.0.0.1:1/"})
    routing.route(database, GROUPING.group_limit, LATER + SECOND, TASK)
    with database.reading() as rows:
        assert rows.scalars(select(Delivery.channel_id)).all() == [added]
