"""Settings chosen on pages: who wins, when they are in force, and which jobs are judged anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, update

from app import checks, record, stored_settings
from app.checks import Policy
from app.clock import utcnow
from app.cron.intake import Intake
from app.db import Database
from app.models import Job, StoredSetting
from app.settings import Settings, load
from app.spool import Spool
from app.stored_settings import Current
from tests import factories
from tests.conftest import CHECKOUT
from tests.stage import NOON, alert_kinds, backup_body, only_job, send
from tests.web import Site, site

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"VEILLEUR_INSTANCE_PATH": str(tmp_path / "instance")})


def choose(database: Database, settings: Settings, name: str, value: object, now: object = NOON) -> str:
    with database.writing() as rows:
        return stored_settings.choose(rows, settings, name, value, by="admin", now=now)


# Who wins


def test_the_default_holds_until_something_is_chosen(database: Database, settings: Settings) -> None:
    assert stored_settings.in_force(database, settings).tolerance_seconds == 3600
    assert choose(database, settings, "tolerance_seconds", 600) == "3600"
    assert stored_settings.in_force(database, settings).tolerance_seconds == 600
    assert choose(database, settings, "tolerance_seconds", 700) == "600"
    with database.reading() as rows:
        row = rows.scalars(select(StoredSetting)).one()
        assert (row.name, row.value, row.updated_by) == ("tolerance_seconds", "700", "admin")


def test_a_variable_that_was_set_goes_before_what_is_stored(database: Database, tmp_path: Path) -> None:
    given = load({"VEILLEUR_INSTANCE_PATH": str(tmp_path), "VEILLEUR_TOLERANCE_SECONDS": "60"})
    assert "tolerance_seconds" in given.given
    assert "reminder" not in given.given
    choose(database, given, "tolerance_seconds", 600)
    choose(database, given, "reminder", "every_week")
    found = stored_settings.in_force(database, given)
    assert (found.tolerance_seconds, found.reminder) == (60, "every_week")


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    environ = {"VEILLEUR_INSTANCE_PATH": str(tmp_path), "VEILLEUR_TOLERANCE_SECONDS": " "}
    assert "tolerance_seconds" not in load(environ).given


@pytest.mark.parametrize("damaged", ["", "-1", "a lot", "99999999", "3600.5"])
def test_a_stored_value_that_can_not_be_used_is_left_out(
    database: Database, settings: Settings, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with database.writing() as rows:
        stored_settings.store(rows, "tolerance_seconds", damaged, by="x", now=NOON)
        stored_settings.store(rows, "group_limit", "0", by="x", now=NOON)
    found = stored_settings.in_force(database, settings)
    assert (found.tolerance_seconds, found.group_limit) == (3600, 0)
    assert "tolerance_seconds can't be used" in caplog.text


def test_nothing_is_stored_that_a_variable_could_not_hold(database: Database, settings: Settings) -> None:
    for name, wrong in (("tolerance_seconds", -1), ("reminder", "hourly"), ("report_retention_days", 0)):
        with pytest.raises(ValueError, match=r"whole number|one of"):
            choose(database, settings, name, wrong)
    with database.reading() as rows:
        assert rows.scalars(select(StoredSetting)).all() == []


def test_nobody_reads_past_what_was_chosen() -> None:
    """A setting that can be chosen on a page is read through stored_settings, never from the environment."""
    names = "|".join(stored_settings.NAMES)
    past = re.compile(rf"(\bsettings\(\)|\b_?settings)\.({names})\b")
    allowed = {"stored_settings.py", "setting_table.py", "settings.py"}
    found = [
        f"{path.name}: {match[0]}"
        for path in sorted((CHECKOUT / "app").rglob("*.py"))
        if path.name not in allowed
        for match in past.finditer(path.read_text())
    ]
    assert found == []


# In force at once


def test_what_is_read_often_is_a_few_seconds_old_at_most(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [100.0]
    monkeypatch.setattr("app.stored_settings.time.monotonic", lambda: moment[0])
    current = Current(database, settings)
    assert current.policy() == Policy(3600, "every_day", 5, 7200)
    choose(database, settings, "tolerance_seconds", 60)
    choose(database, settings, "group_limit", 0)
    moment[0] += stored_settings.AGE_SECONDS - 0.1
    assert current.policy().tolerance_seconds == 3600
    moment[0] += 0.2
    assert current.policy() == Policy(60, "every_day", 0, 7200)


def test_many_reports_cost_one_look(database: Database, settings: Settings) -> None:
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    current = Current(database, settings)
    for _report in range(100):
        current.policy()
    assert len([each for each in statements if "stored_setting" in each]) == 1


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def test_an_upload_obeys_what_was_chosen(here: Site) -> None:
    with here.database.writing() as rows:
        stored_settings.choose(rows, here.settings, "tolerance_seconds", 60, by="admin", now=utcnow())
    body = backup_body(utcnow() - timedelta(hours=30), next_at=utcnow() - timedelta(minutes=30))
    sent = here.stranger().post(f"/api/upload?api_key={here.upload_key}", data=body)
    assert sent.status_code == 200
    assert only_job(here.database).why["toleranceSeconds"] == 60


def test_what_waited_in_the_spool_obeys_what_was_chosen(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    asked: list[int] = []

    def policy() -> Policy:
        asked.append(1)
        return stored_settings.policy(database, settings)

    intake = Intake(Spool(tmp_path, 1 << 20), database, policy)
    intake._step()
    assert asked == [], "an empty spool costs nothing"


# Jobs that follow the global tolerance


@pytest.fixture
def followed(database: Database) -> Database:
    """A job that was due at noon; it follows the global tolerance of an hour."""
    send(database, backup_body(NOON - 24 * HOUR, next_at=NOON), NOON - 24 * HOUR)
    return database


def check(database: Database, settings: Settings, now: object) -> None:
    stored_settings.settle(database, now)  # type: ignore[arg-type]
    checks.run(database, stored_settings.policy(database, settings), now)  # type: ignore[arg-type]


def test_lowering_makes_a_late_job_overdue_with_one_alert_at_the_next_check(
    followed: Database, settings: Settings
) -> None:
    check(followed, settings, NOON + timedelta(minutes=20))
    assert (only_job(followed).state, alert_kinds(followed)) == ("late", [])
    choose(followed, settings, "tolerance_seconds", 600, NOON + timedelta(minutes=21))
    assert (only_job(followed).state, alert_kinds(followed)) == ("late", [])
    assert only_job(followed).attention_at == NOON + timedelta(minutes=21)
    for minutes in (22, 23, 24):
        check(followed, settings, NOON + timedelta(minutes=minutes))
        assert (only_job(followed).state, alert_kinds(followed)) == ("overdue", ["overdue"])
    assert only_job(followed).why["toleranceSeconds"] == 600


def test_raising_takes_an_overdue_job_back_and_tells_nobody_that_it_recovered(
    followed: Database, settings: Settings
) -> None:
    check(followed, settings, NOON + 2 * HOUR)
    assert (only_job(followed).state, alert_kinds(followed)) == ("overdue", ["overdue"])
    choose(followed, settings, "tolerance_seconds", 6 * 3600, NOON + 2 * HOUR)
    check(followed, settings, NOON + 2 * HOUR + timedelta(minutes=1))
    job = only_job(followed)
    assert (job.state, alert_kinds(followed)) == ("late", ["overdue"])
    assert job.attention_at == NOON + 6 * HOUR
    check(followed, settings, NOON + 7 * HOUR)
    assert alert_kinds(followed) == ["overdue", "reminder"], "people know of it already"
    send(followed, backup_body(NOON + 8 * HOUR), NOON + 8 * HOUR)
    assert alert_kinds(followed)[-1] == "recovered"


def test_a_job_with_a_tolerance_of_its_own_is_left_alone(followed: Database, settings: Settings) -> None:
    with followed.writing() as rows:
        rows.execute(update(Job).values(tolerance_seconds=7200, attention_at=NOON + 2 * HOUR, state="late"))
    choose(followed, settings, "tolerance_seconds", 0, NOON + HOUR)
    check(followed, settings, NOON + HOUR + timedelta(minutes=1))
    job = only_job(followed)
    assert (job.state, job.attention_at, alert_kinds(followed)) == ("late", NOON + 2 * HOUR, [])


def test_a_failed_job_becomes_overdue_by_the_new_tolerance_and_keeps_its_error_until_then(
    followed: Database, settings: Settings
) -> None:
    send(followed, backup_body(NOON, next_at=NOON + 24 * HOUR, ParsedResult="Fatal"), NOON)
    told = only_job(followed).why | {"error": "the disk is full"}
    with followed.writing() as rows:
        rows.execute(update(Job).values(why=told))
    choose(followed, settings, "tolerance_seconds", 60, NOON + HOUR)
    check(followed, settings, NOON + 2 * HOUR)
    job = only_job(followed)
    assert (job.state, job.why["error"]) == ("failed", told["error"])
    assert job.attention_at == NOON + 24 * HOUR + timedelta(minutes=1)
    with followed.writing() as rows:
        record.settings_changed(rows.get_one(Job, job.id), Policy(90, "every_day"), NOON + 2 * HOUR)
    assert only_job(followed).why["error"] == told["error"]


def test_a_report_taken_in_with_the_tolerance_of_a_moment_before_is_looked_at_once_more(
    followed: Database, settings: Settings
) -> None:
    choose(followed, settings, "tolerance_seconds", 60, NOON + timedelta(seconds=1))
    failed = backup_body(NOON, next_at=NOON + HOUR, ParsedResult="Fatal")
    send(followed, failed, NOON + timedelta(seconds=3), policy=Policy(3600, "every_day"))
    assert only_job(followed).attention_at == NOON + 2 * HOUR
    check(followed, settings, NOON + timedelta(seconds=5))
    assert only_job(followed).attention_at == NOON + HOUR + timedelta(minutes=1)
    # Later checks need not look again.
    with followed.writing() as rows:
        factories.add_check(rows, NOON + timedelta(minutes=5))
        rows.execute(update(Job).values(attention_at=NOON + 5 * HOUR))
    check(followed, settings, NOON + timedelta(minutes=6))
    assert only_job(followed).attention_at == NOON + 5 * HOUR


def test_a_new_reminder_holds_for_what_is_overdue_by_now(followed: Database, settings: Settings) -> None:
    choose(followed, settings, "reminder", "onetime")
    check(followed, settings, NOON + 2 * HOUR)
    assert only_job(followed).attention_at is None
    choose(followed, settings, "reminder", "every_day", NOON + 3 * HOUR)
    assert only_job(followed).attention_at == NOON + 27 * HOUR
    check(followed, settings, NOON + 28 * HOUR)
    assert alert_kinds(followed) == ["overdue", "reminder"]
    with followed.writing() as rows:
        rows.execute(update(Job).values(acknowledged_at=NOON + 28 * HOUR))
    before = only_job(followed).reminder_at
    choose(followed, settings, "reminder", "every_week", NOON + 29 * HOUR)
    assert only_job(followed).reminder_at == before, "somebody wants it quiet"


@pytest.mark.sqlite("asks for SQLite's plan")
def test_the_change_takes_the_index_of_the_jobs_that_are_not_ok(
    database: Database, settings: Settings
) -> None:
    statements: list[tuple[str, object]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    choose(database, settings, "tolerance_seconds", 60)
    choose(database, settings, "reminder", "every_week")
    updates = [each for each in statements if each[0].startswith("UPDATE job")]
    assert len(updates) == 2
    with database.reading() as rows:
        for statement, values in updates:
            plan = rows.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert "ix_job_not_ok" in str(plan), plan
