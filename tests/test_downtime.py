"""Our own downtime: noticed, credited, told once, and never shown as somebody's overdue backup."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from app import checks, downtime
from app.checks import Policy
from app.db import Database
from app.models import Alert, Downtime, Heartbeat, Job
from tests.stage import NOON, POLICY, alert_kinds, backup_body, only_job, send

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
DUE = NOON + DAY


def alive(database: Database, moment: datetime) -> None:
    """As after signs of life without a break until then."""
    with database.writing() as rows:
        rows.execute(update(Heartbeat).values(beat_at=moment))


def downtimes(database: Database) -> list[tuple[Any, Any]]:
    with database.reading() as rows:
        found = rows.scalars(select(Downtime).order_by(Downtime.id))
        return [(each.began_at, each.ended_at) for each in found]


def digests(database: Database) -> list[dict[str, Any]]:
    with database.reading() as rows:
        return list(rows.scalars(select(Alert.facts).where(Alert.kind == "unverified").order_by(Alert.id)))


def states(database: Database) -> dict[str, str]:
    with database.reading() as rows:
        return {job.name: job.state for job in rows.scalars(select(Job))}


def test_regular_signs_of_life_leave_no_downtime(database: Database) -> None:
    for second in range(0, 600, 30):
        downtime.beat(database, NOON + timedelta(seconds=second))
    assert downtimes(database) == []


def test_a_silence_is_recorded_when_it_ends(database: Database) -> None:
    downtime.beat(database, NOON)
    downtime.beat(database, NOON + 3 * HOUR)
    assert downtimes(database) == [(NOON, NOON + 3 * HOUR)]


def test_a_silence_that_a_check_has_noticed_is_the_one_that_ends(database: Database) -> None:
    downtime.beat(database, NOON)
    downtime.notice(database, NOON + timedelta(seconds=80))
    assert downtimes(database) == []
    for minute in (2, 3, 4):
        downtime.notice(database, NOON + minute * MINUTE)
    assert downtimes(database) == [(NOON, None)]
    downtime.beat(database, NOON + HOUR)
    assert downtimes(database) == [(NOON, NOON + HOUR)]


def test_a_clock_set_back_is_no_downtime(database: Database) -> None:
    downtime.beat(database, NOON)
    downtime.beat(database, NOON - 2 * HOUR)
    downtime.beat(database, NOON - 2 * HOUR + MINUTE)
    assert downtimes(database) == []


def test_where_nobody_ever_took_reports_in_nothing_is_credited(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]


def test_after_a_night_without_power_jobs_are_unverified_then_told(database: Database) -> None:
    """Down from an hour before the run was due until four hours after; three jobs are concerned."""
    for name in ("Photos", "Documents", "Mail"):
        send(database, backup_body(NOON, seconds=0, name=name), NOON)
    downtime.beat(database, DUE - HOUR)
    back_at = DUE + 4 * HOUR
    downtime.beat(database, back_at)
    checks.run(database, POLICY, back_at + MINUTE)
    assert set(states(database).values()) == {"late"}
    assert alert_kinds(database) == ["unverified"]
    told = digests(database)[0]
    assert (told["beganAt"], told["endedAt"], told["count"]) == (
        "2026-12-02T11:00:00Z",
        "2026-12-02T16:00:00Z",
        3,
    )
    assert [each["job"] for each in told["members"]] == ["Documents", "Mail", "Photos"]
    send(database, backup_body(back_at + HOUR, seconds=0, name="Mail"), back_at + HOUR)
    for minutes in range(2, 120, 20):
        checks.run(database, POLICY, back_at + minutes * MINUTE)
    assert alert_kinds(database) == ["unverified"]
    checks.run(database, POLICY, back_at + 2 * HOUR + MINUTE)
    assert alert_kinds(database) == ["unverified", "overdue", "overdue"]
    assert states(database) == {"Photos": "overdue", "Documents": "overdue", "Mail": "ok"}


def test_the_credit_is_as_long_as_the_downtime_and_no_longer(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE)
    downtime.beat(database, DUE + 10 * MINUTE)
    alive(database, DUE + HOUR + 12 * MINUTE)
    checks.run(database, POLICY, DUE + HOUR + 9 * MINUTE)
    job = only_job(database)
    assert job.state == "late"
    assert job.why["unverified"] == {"beganAt": "2026-12-02T12:00:00Z", "endedAt": "2026-12-02T12:10:00Z"}
    checks.run(database, POLICY, DUE + HOUR + 11 * MINUTE)
    assert alert_kinds(database) == ["unverified", "overdue"]


def test_the_cap_is_a_setting(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE - HOUR)
    downtime.beat(database, DUE + 4 * HOUR)
    policy = Policy(3600, "every_day", downtime_credit_seconds=600)
    checks.run(database, policy, DUE + 4 * HOUR + 9 * MINUTE)
    assert alert_kinds(database) == ["unverified"]
    checks.run(database, policy, DUE + 4 * HOUR + 11 * MINUTE)
    assert alert_kinds(database) == ["unverified", "overdue"]


def test_a_job_that_was_due_before_or_after_the_downtime_gets_no_credit(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE + HOUR + MINUTE)
    downtime.beat(database, DUE + 4 * HOUR)
    checks.run(database, POLICY, DUE + 4 * HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]


def test_while_reports_cannot_be_taken_in_jobs_are_unverified_up_to_the_cap(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE - MINUTE)
    for minutes in range(2, 180, 10):
        checks.run(database, POLICY, DUE + minutes * MINUTE)
    assert alert_kinds(database) == ["unverified"]
    assert digests(database)[0]["endedAt"] is None
    checks.run(database, POLICY, DUE + 3 * HOUR + MINUTE)
    assert alert_kinds(database) == ["unverified", "overdue"]


def test_a_downtime_that_concerned_nobody_is_not_told(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, NOON + HOUR)
    downtime.beat(database, NOON + 9 * HOUR)
    alive(database, DUE + HOUR)
    checks.run(database, POLICY, NOON + 10 * HOUR)
    checks.run(database, POLICY, DUE + HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]


def test_a_job_overdue_before_the_downtime_is_not_taken_back(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 2 * HOUR)
    downtime.beat(database, DUE + MINUTE)
    downtime.beat(database, DUE + 9 * HOUR)
    checks.run(database, POLICY, DUE + 10 * HOUR)
    assert alert_kinds(database) == ["overdue"]
    assert only_job(database).state == "overdue"


def test_a_check_right_after_a_short_downtime_tells_of_all_that_were_due_in_it(database: Database) -> None:
    """Late by less than the tolerance: their deadline is still ahead when the digest is made."""
    send(database, backup_body(NOON, seconds=0), NOON)
    send(database, backup_body(NOON + 2 * HOUR, seconds=0, name="Due later"), NOON + 2 * HOUR)
    downtime.beat(database, DUE)
    alive(database, DUE + MINUTE)
    checks.run(database, POLICY, DUE + MINUTE)
    assert set(states(database).values()) == {"late", "ok"}
    alive(database, DUE + 10 * MINUTE)
    downtime.beat(database, DUE + 30 * MINUTE)
    alive(database, DUE + 40 * MINUTE)
    checks.run(database, POLICY, DUE + 40 * MINUTE)
    assert [each["job"] for each in digests(database)[0]["members"]] == ["Documents nightly"]
    for minutes in (60, 79, 81):
        alive(database, DUE + minutes * MINUTE)
        checks.run(database, POLICY, DUE + minutes * MINUTE)
    assert alert_kinds(database) == ["unverified", "overdue"]


def test_a_check_that_is_cut_off_leaves_the_digest_to_the_next(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE - HOUR)
    downtime.beat(database, DUE + 4 * HOUR)
    checks.run(database, POLICY, DUE + 4 * HOUR + MINUTE, lambda: False)
    assert alert_kinds(database) == []
    checks.run(database, POLICY, DUE + 4 * HOUR + MINUTE)
    assert alert_kinds(database) == ["unverified"]


@pytest.mark.sqlite("PostgreSQL's columns keep their type")
def test_a_damaged_sign_of_life_stops_no_alert(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, NOON)
    with database.writing() as rows:
        rows.execute(text("UPDATE heartbeat SET beat_at = 'rubbish'"))
    checks.run(database, POLICY, DUE + 2 * HOUR)
    assert alert_kinds(database) == ["overdue"]


def test_a_process_that_was_there_all_the_time_had_no_downtime(database: Database) -> None:
    """It could write no sign of life for an hour, or the clock was set; the spool took the reports."""
    downtime.beat(database, NOON)
    downtime.beat(database, NOON + HOUR, 30.0)
    assert downtimes(database) == []
    downtime.beat(database, NOON + 2 * HOUR, 300.0)
    assert downtimes(database) == [(NOON + 2 * HOUR - 5 * MINUTE, NOON + 2 * HOUR)]


def test_what_a_check_took_for_a_downtime_is_taken_back(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    downtime.beat(database, DUE - MINUTE)
    downtime.notice(database, DUE + 30 * MINUTE)
    downtime.beat(database, DUE + 40 * MINUTE, 30.0)
    alive(database, DUE + 2 * HOUR)
    checks.run(database, POLICY, DUE + HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]
