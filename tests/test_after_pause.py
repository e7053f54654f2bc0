"""After a pause: what reports have changed meanwhile is told when it ends, and what was known is not."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from app import checks, maintenance, record
from app.checks import Policy
from app.db import Database
from app.maintenance import Window
from app.models import Alert, Job
from tests.stage import NOON, POLICY, alert_kinds, backup_body, only_job, send

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
DUE = NOON + DAY


def _pause(database: Database, at: datetime, until_at: datetime) -> None:
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.paused_at, job.paused_until_at = at, until_at
        record.settings_changed(job, POLICY, at)


def _maintenance(database: Database, starts_at: datetime, ends_at: datetime) -> None:
    with database.writing() as rows:
        maintenance.add(rows, "Rack", Window(starts_at=starts_at, ends_at=ends_at), NOON)


def test_a_failure_during_a_pause_is_told_when_it_ends_and_once(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    _pause(database, NOON + HOUR, DUE + HOUR)
    send(database, backup_body(DUE, ParsedResult="Fatal"), DUE)
    assert alert_kinds(database) == []
    for minutes in (61, 90, 120):
        checks.run(database, POLICY, DUE + minutes * MINUTE)
    assert alert_kinds(database) == ["failed"]
    assert only_job(database).state == "failed"


def test_a_failure_known_before_the_pause_is_not_told_again(database: Database) -> None:
    send(database, backup_body(NOON, ParsedResult="Fatal"), NOON)
    _pause(database, NOON + HOUR, NOON + 3 * HOUR)
    checks.run(database, POLICY, NOON + 4 * HOUR)
    assert only_job(database).state == "failed"
    assert alert_kinds(database) == ["failed"]


def test_a_recovery_during_a_pause_is_told_when_it_ends(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 2 * HOUR)
    _pause(database, DUE + 2 * HOUR, DUE + 5 * HOUR)
    send(database, backup_body(DUE + 3 * HOUR), DUE + 3 * HOUR)
    checks.run(database, POLICY, DUE + 6 * HOUR)
    send(database, backup_body(DUE + DAY), DUE + DAY)
    assert alert_kinds(database) == ["overdue", "recovered"]


def test_maintenance_at_the_end_of_a_pause_is_no_recovery(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 90 * MINUTE)
    _pause(database, DUE + 91 * MINUTE, DUE + 2 * HOUR)
    _maintenance(database, DUE - HOUR, DUE + 5 * HOUR)
    checks.run(database, POLICY, DUE + 3 * HOUR)
    assert only_job(database).state == "late"
    checks.run(database, POLICY, DUE + 6 * HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue", "reminder"]


def test_a_good_backup_during_a_pause_ends_the_acknowledgement(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 2 * HOUR)
    with database.writing() as rows:
        rows.scalars(select(Job)).one().acknowledged_at = DUE + 2 * HOUR
    _pause(database, DUE + 3 * HOUR, DUE + 5 * HOUR)
    send(database, backup_body(DUE + 4 * HOUR), DUE + 4 * HOUR)
    for hours in range(5, 80, 5):
        checks.run(database, POLICY, DUE + hours * HOUR + MINUTE)
    assert alert_kinds(database)[:3] == ["overdue", "recovered", "overdue"]


def test_a_reminder_names_the_deadline_that_maintenance_had_moved(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    _maintenance(database, DUE - HOUR, DUE + 5 * HOUR)
    for hours in (2, 7, 32):
        checks.run(database, POLICY, DUE + hours * HOUR)
    with database.reading() as rows:
        told = [
            (each.kind, each.facts["overdueAt"]) for each in rows.scalars(select(Alert).order_by(Alert.id))
        ]
    assert told == [("overdue", "2026-12-02T18:00:00Z"), ("reminder", "2026-12-02T18:00:00Z")]


def test_without_tolerance_maintenance_counts_from_its_first_moment(database: Database) -> None:
    strict = Policy(0, "every_day")
    send(database, backup_body(NOON, seconds=0), NOON, policy=strict)
    _maintenance(database, DUE, DUE + 5 * HOUR)
    checks.run(database, strict, DUE + HOUR)
    assert alert_kinds(database) == []
    checks.run(database, strict, DUE + 5 * HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]
