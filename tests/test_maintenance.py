"""Maintenance windows: which time they cover, and what they do to a deadline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text

from app import checks, maintenance
from app.checks import Policy
from app.db import Database
from app.deadline import Span
from app.maintenance import Window, WindowError
from app.models import MaintenanceWindow
from app.recurrence import WEEKDAYS
from tests.stage import NOON, POLICY, alert_kinds, backup_body, only_job, send

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


SATURDAYS = Window(weekdays=frozenset({"sat"}), start_time="22:00", duration_minutes=240, zone="Europe/Paris")


def test_a_weekly_window_keeps_its_local_time_when_the_clocks_change() -> None:
    found = list(SATURDAYS.spans(utc(2026, 10, 17), utc(2026, 11, 2)))
    assert found == [
        Span(utc(2026, 10, 17, 20), utc(2026, 10, 18)),
        Span(utc(2026, 10, 24, 20), utc(2026, 10, 25)),
        Span(utc(2026, 10, 31, 21), utc(2026, 11, 1, 1)),
    ]


def test_a_window_that_began_the_day_before_still_counts() -> None:
    at = utc(2026, 11, 29, 0, 30)
    assert list(SATURDAYS.spans(at, at + MINUTE)) == [Span(utc(2026, 11, 28, 21), utc(2026, 11, 29, 1))]


def test_a_window_of_several_days_is_found_from_its_end() -> None:
    week = Window(weekdays=frozenset({"mon"}), start_time="00:00", duration_minutes=6 * 1440, zone="UTC")
    at = utc(2026, 11, 28, 12)  # a Saturday
    assert [each.began_at for each in week.spans(at, at + MINUTE)] == [utc(2026, 11, 23)]


@pytest.mark.parametrize(
    ("window", "field"),
    [
        (Window(starts_at=NOON, ends_at=NOON), "ends_at"),
        (Window(starts_at=NOON), "ends_at"),
        (Window(starts_at=NOON, ends_at=NOON + 400 * DAY), "ends_at"),
        (Window(start_time="22:00", duration_minutes=60), "weekdays"),
        (Window(weekdays=frozenset({"saturday"}), start_time="22:00", duration_minutes=60), "weekdays"),
        (Window(weekdays=frozenset({"sat"}), start_time="24:00", duration_minutes=60), "start_time"),
        (Window(weekdays=frozenset({"sat"}), start_time="9:00", duration_minutes=60), "start_time"),
        (Window(weekdays=frozenset({"sat"}), start_time="١٢:٠٠", duration_minutes=60), "start_time"),
        (Window(weekdays=frozenset({"sat"}), start_time="09:00", duration_minutes=0), "duration_minutes"),
        (Window(weekdays=frozenset({"sat"}), start_time="09:00", duration_minutes=10081), "duration_minutes"),
        (
            Window(weekdays=frozenset({"sat"}), start_time="09:00", duration_minutes=9, zone="Mars/Olympus"),
            "zone",
        ),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_by_the_field(window: Window, field: str) -> None:
    with pytest.raises(WindowError) as refused:
        maintenance.check(window)
    assert refused.value.field == field


def _add(database: Database, window: Window) -> None:
    with database.writing() as rows:
        maintenance.add(rows, "Moving the rack", window, NOON)


def test_what_is_stored_is_what_was_entered(database: Database) -> None:
    _add(database, SATURDAYS)
    with database.reading() as rows:
        assert maintenance.load(rows) == [SATURDAYS]


def test_maintenance_moves_the_alert_and_does_not_swallow_it(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    due_at = NOON + DAY
    _add(database, Window(starts_at=due_at - HOUR, ends_at=due_at + 5 * HOUR))
    checks.run(database, POLICY, due_at + 2 * HOUR)
    job = only_job(database)
    assert job.state == "late"
    assert job.why["maintenanceUntilAt"] == "2026-12-02T17:00:00Z"
    assert job.attention_at == due_at + 6 * HOUR
    checks.run(database, POLICY, due_at + 6 * HOUR)
    assert alert_kinds(database) == []
    checks.run(database, POLICY, due_at + 6 * HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]
    assert only_job(database).why["overdueAt"] == "2026-12-02T18:00:00Z"


def test_a_window_of_another_server_or_job_changes_nothing(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    send(database, backup_body(NOON, seconds=0, machine="other", name="Other"), NOON)
    job = next(each for each in _jobs(database) if each.name == "Other")
    for window in (Window(server_id=job.server_id), Window(job_id=job.id)):
        once = Window(
            server_id=window.server_id, job_id=window.job_id, starts_at=NOON, ends_at=NOON + 9 * DAY
        )
        _add(database, once)
    checks.run(database, POLICY, NOON + 2 * DAY)
    assert {each.name: each.state for each in _jobs(database)} == {
        "Documents nightly": "overdue",
        "Other": "late",
    }


def _jobs(database: Database) -> list[checks.Job]:
    with database.reading() as rows:
        return list(rows.scalars(select(checks.Job)))


def test_a_window_entered_late_does_not_take_back_what_was_told(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, NOON + 2 * DAY)
    _add(database, Window(starts_at=NOON, ends_at=NOON + 9 * DAY))
    checks.run(database, POLICY, NOON + 3 * DAY + MINUTE)
    assert alert_kinds(database) == ["overdue", "reminder"]


def test_removing_a_window_lets_the_alert_go_out_with_the_next_check(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    _add(database, Window(starts_at=NOON, ends_at=NOON + 9 * DAY))
    checks.run(database, POLICY, NOON + 2 * DAY)
    assert alert_kinds(database) == []
    with database.writing() as rows:
        maintenance.remove(rows, rows.scalars(select(MaintenanceWindow)).one(), NOON + 2 * DAY)
    checks.run(database, POLICY, NOON + 2 * DAY + MINUTE)
    assert alert_kinds(database) == ["overdue"]


def test_a_look_ahead_knows_of_maintenance(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    assert len(checks.preview(database, POLICY, NOON + 2 * DAY)) == 1
    _add(database, Window(starts_at=NOON, ends_at=NOON + 9 * DAY))
    assert checks.preview(database, POLICY, NOON + 2 * DAY) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            "starts_at = 'rubbish'", marks=pytest.mark.sqlite("PostgreSQL's columns keep their type")
        ),
        "starts_at = NULL, weekdays = 'sat', start_time = '5'",
        "zone = 'Mars'",
    ],
)
def test_a_damaged_window_is_left_out_and_the_others_hold(database: Database, damage: str) -> None:
    for name in ("Photos", "Mail"):
        send(database, backup_body(NOON, seconds=0, name=name), NOON)
    for job in _jobs(database):
        _add(database, Window(job_id=job.id, starts_at=NOON, ends_at=NOON + 9 * DAY))
    with database.writing() as rows:
        rows.execute(text(f"UPDATE maintenance_window SET {damage}, ends_at = NULL WHERE id = 1"))
    checks.run(database, POLICY, NOON + 2 * DAY)
    assert {each.name: each.state for each in _jobs(database)} == {"Photos": "overdue", "Mail": "late"}


@pytest.mark.sqlite("asks for SQLite's plan")
def test_removing_a_window_does_not_look_through_all_jobs(database: Database) -> None:
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.startswith("UPDATE job"):
            plan = connection.connection.cursor()
            plan.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.extend(row[3] for row in plan.fetchall())

    _add(database, SATURDAYS)
    event.listen(database.engine, "before_cursor_execute", explain)
    with database.writing() as rows:
        maintenance.remove(rows, rows.scalars(select(MaintenanceWindow)).one(), NOON)
    assert plans == ["SEARCH job USING INDEX ix_job_not_ok (state=?)"]


def test_a_long_tolerance_is_carried_on_from_window_to_window(database: Database) -> None:
    """Twelve hours of maintenance a day: forty days of tolerance take eighty."""
    send(database, backup_body(NOON, seconds=0), NOON)
    every_day = Window(weekdays=frozenset(WEEKDAYS), start_time="12:00", duration_minutes=720)
    _add(database, every_day)
    policy = Policy(40 * 86400, "every_day")
    checks.run(database, policy, NOON + DAY + 80 * DAY - MINUTE)
    assert alert_kinds(database) == []
    checks.run(database, policy, NOON + DAY + 80 * DAY + MINUTE)
    assert alert_kinds(database) == ["overdue"]
