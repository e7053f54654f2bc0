"""The overdue check: states, alerts, reminders, and how little it touches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from app import checks
from app.checks import Policy
from app.db import Database
from app.models import Alert, Delivery, Job
from tests.stage import NOON, POLICY, add_channel, alert_kinds, backup_body, only_job, send
from tests.statements import noted

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def _state(database: Database) -> str:
    return only_job(database).state


def test_a_job_goes_from_ok_to_late_to_overdue_and_alerts_once(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    due_at = NOON + DAY
    checks.run(database, POLICY, due_at)
    assert _state(database) == "ok"
    checks.run(database, POLICY, due_at + MINUTE)
    assert _state(database) == "late"
    checks.run(database, POLICY, due_at + HOUR)
    assert _state(database) == "late"
    result = checks.run(database, POLICY, due_at + HOUR + MINUTE)
    assert (result.total_jobs, result.overdue_jobs, result.alerts) == (1, 1, 1)
    for minutes in range(2, 60, 7):
        checks.run(database, POLICY, due_at + HOUR + minutes * MINUTE)
    assert alert_kinds(database) == ["overdue"]
    job = only_job(database)
    assert job.state_since_at == due_at + HOUR
    assert job.why["overdueAt"] == "2026-12-02T13:00:00Z"
    assert job.why["source"] == "default"


@pytest.mark.parametrize(
    ("reminder", "days", "expected"),
    [("onetime", 400, 0), ("every_day", 10, 9), ("every_week", 29, 4), ("every_month", 100, 3)],
)
def test_reminders_follow_their_policy(database: Database, reminder: str, days: int, expected: int) -> None:
    policy = Policy(3600, reminder)
    send(database, backup_body(NOON, seconds=0), NOON)
    start_at = NOON + DAY + HOUR + MINUTE
    for day in range(days):
        checks.run(database, policy, start_at + day * DAY + day * timedelta(seconds=1))
    assert alert_kinds(database) == ["overdue"] + ["reminder"] * expected


def test_a_daily_reminder_stays_daily_however_rarely_checks_come(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    for hours in range(26, 26 + 30 * 24 + 1, 7):
        checks.run(database, POLICY, NOON + hours * HOUR)
    assert alert_kinds(database) == ["overdue"] + ["reminder"] * 29


def test_a_good_report_ends_it_with_one_recovery(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    checks.run(database, POLICY, NOON + 3 * DAY)
    send(database, backup_body(NOON + 3 * DAY), NOON + 3 * DAY + MINUTE)
    checks.run(database, POLICY, NOON + 3 * DAY + 2 * MINUTE)
    assert alert_kinds(database) == ["overdue", "recovered"]
    assert _state(database) == "ok"


def test_a_failed_job_that_then_falls_silent_becomes_overdue(database: Database) -> None:
    send(database, backup_body(NOON, ParsedResult="Fatal"), NOON)
    checks.run(database, POLICY, NOON + DAY)
    assert _state(database) == "failed"
    checks.run(database, POLICY, NOON + DAY + 2 * HOUR)
    assert alert_kinds(database) == ["failed", "overdue"]


def test_every_enabled_channel_gets_its_delivery_with_the_alert(database: Database) -> None:
    add_channel(database, "webhook", "one", {"url": "http://127.0.0.1:1/"})
    add_channel(database, "webhook", "two", {"url": "http://127.0.0.1:1/"})
    send(database, backup_body(NOON), NOON)
    checks.run(database, POLICY, NOON + 3 * DAY)
    with database.reading() as rows:
        alert = rows.scalars(select(Alert)).one()
        assert [each.alert_id for each in rows.scalars(select(Delivery))] == [alert.id, alert.id]
    assert alert.facts["server"] == "nas"
    assert alert.facts["previousState"] == "ok"


def test_checks_at_the_same_time_alert_once_for_each_job(database: Database) -> None:
    for number in range(60):
        send(database, backup_body(NOON, name=f"job {number}"), NOON)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: checks.run(database, POLICY, NOON + 3 * DAY), range(8)))
    assert alert_kinds(database) == ["overdue"] * 60


def test_more_jobs_than_a_batch_are_all_decided(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BATCH", 7)
    for number in range(20):
        send(database, backup_body(NOON, name=f"job {number}"), NOON)
    result = checks.run(database, POLICY, NOON + 3 * DAY)
    assert (result.overdue_jobs, result.alerts) == (20, 20)


def test_alerts_are_announced_batch_by_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BATCH", 7)
    for number in range(16):
        send(database, backup_body(NOON, name=f"job {number}"), NOON)
    told: list[int] = []
    checks.run(database, POLICY, NOON + 3 * DAY, has_recorded=lambda: told.append(len(alert_kinds(database))))
    assert told == [7, 14, 16]
    checks.run(database, POLICY, NOON + 3 * DAY, has_recorded=lambda: told.append(0))
    assert len(told) == 3


def test_a_pass_with_nothing_due_is_one_question(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    with noted(database) as statements:
        result = checks.run(database, POLICY, NOON + HOUR)
    assert [each.split()[0] for each in statements] == ["SELECT"]
    assert (result.total_jobs, result.checked_jobs, result.overdue_jobs) == (1, 1, 0)


@pytest.mark.sqlite("asks for SQLite's plan")
def test_whether_anything_is_due_is_one_entry_of_an_index(database: Database) -> None:
    with noted(database) as statements:
        checks.run(database, POLICY, NOON)
    with database.reading() as rows:
        values = (None,) * statements[0].count("?")
        plan = rows.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[0]}", values).all()
    assert "SEARCH job USING COVERING INDEX ix_job_attention_at" in str(plan)


def test_a_preview_stores_and_sends_nothing(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    assert checks.preview(database, POLICY, NOON + HOUR) == []
    found = checks.preview(database, POLICY, NOON + 5 * DAY)
    assert [(server, job) for server, job, _verdict in found] == [("nas", "Documents nightly")]
    assert alert_kinds(database) == []
    assert _state(database) == "ok"


def test_a_tolerance_of_its_own_wins_over_the_global_one(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    with database.writing() as rows:
        rows.scalars(select(Job)).one().tolerance_seconds = 5 * 3600
    checks.run(database, POLICY, NOON + DAY + 4 * HOUR)
    assert _state(database) == "late"
    checks.run(database, POLICY, NOON + DAY + 6 * HOUR)
    assert _state(database) == "overdue"
