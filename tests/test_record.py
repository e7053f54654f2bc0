"""Taking reports in: rows, clocks, states and alerts."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from app import checks, jobs, quarantine, record
from app.checks import Policy
from app.db import Database
from app.models import Job, JobSchedule, QuarantinedBody, Report, ReportBody, Server, Total
from app.reports import UnusableReport
from app.upload import Body, Sender
from tests import databases
from tests.processes import until
from tests.stage import NOON, POLICY, SAMPLES, SENDER, alert_kinds, backup_body, only_job, send

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def _count(database: Database, model: type) -> int:
    with database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(model)) or 0


def test_a_first_good_report_makes_server_job_row_and_body(database: Database) -> None:
    body = backup_body(NOON - HOUR)
    assert send(database, body, NOON)
    with database.reading() as rows:
        report = rows.scalars(select(Report)).one()
        kept = rows.get_one(ReportBody, report.id)
        server = rows.scalars(select(Server)).one()
        assert zlib.decompress(kept.compressed) == body
    assert (server.machine_id, server.name) == ("nas", "nas")
    assert (report.outcome, report.good, report.examined_files, report.examined_bytes) == (
        "Success",
        True,
        7,
        391655,
    )
    assert (report.began_at, report.ended_at) == (NOON - HOUR - timedelta(minutes=1), NOON - HOUR)
    assert report.duration_seconds == 60
    job = only_job(database)
    assert (job.state, job.last_good_at, job.expected_source) == ("ok", NOON - HOUR, "default")
    assert job.expected_at == NOON - HOUR - timedelta(minutes=1) + DAY
    assert job.attention_at == job.until_at == job.expected_at
    assert alert_kinds(database) == []


def test_the_same_report_is_stored_once_even_when_fifty_arrive_together(database: Database) -> None:
    body = backup_body(NOON - HOUR)
    with ThreadPoolExecutor(10) as pool:
        new = list(pool.map(lambda _: send(database, body, NOON), range(50)))
    assert new.count(True) == 1
    assert _count(database, Report) == 1
    with database.reading() as rows:
        assert rows.get_one(Total, "jobs").value == 1


def test_a_report_without_times_or_log_counts_as_repeated_for_some_minutes_only(database: Database) -> None:
    body = b'{"Data": {"ParsedResult": "Success", "ExaminedFiles": 5}, "Extra": {"backup-name": "documents"}}'
    assert send(database, body, NOON)
    assert not send(database, body, NOON + timedelta(minutes=5))
    assert send(database, body, NOON + DAY)
    assert only_job(database).last_good_at == NOON + DAY


def test_the_clients_own_word_on_the_next_run_is_believed(database: Database) -> None:
    tonight = NOON + 10 * HOUR
    send(database, backup_body(NOON - HOUR, next_at=tonight), NOON)
    job = only_job(database)
    assert (job.expected_at, job.expected_source, job.declared_next_at) == (tonight, "declared", tonight)


def test_a_manual_run_moves_neither_the_expectation_nor_its_source(database: Database) -> None:
    tonight = NOON + 10 * HOUR
    send(database, backup_body(NOON - HOUR, next_at=tonight), NOON)
    send(database, backup_body(NOON + HOUR), NOON + HOUR)
    job = only_job(database)
    assert (job.expected_at, job.expected_source) == (tonight, "declared")
    assert job.last_good_at == NOON + HOUR


def test_a_failed_run_is_told_at_once_and_does_not_count_as_good(database: Database) -> None:
    send(database, backup_body(NOON - DAY), NOON - DAY)
    send(database, backup_body(NOON, ParsedResult="Error"), NOON)
    job = only_job(database)
    assert (job.state, job.last_good_at, job.last_outcome) == ("failed", NOON - DAY, "Error")
    assert alert_kinds(database) == ["failed"]


@pytest.mark.parametrize(
    ("data", "outcome"),
    [({"PartialBackup": True, "ParsedResult": "Warning"}, "Partial"), ({"Interrupted": True}, "Interrupted")],
)
def test_partial_and_interrupted_runs_are_told_as_such(
    database: Database, data: dict[str, object], outcome: str
) -> None:
    send(database, backup_body(NOON, **data), NOON)
    job = only_job(database)
    assert (job.state, job.last_outcome, job.last_good_at) == ("failed", outcome, None)
    assert alert_kinds(database) == ["failed"]


def test_why_a_run_failed_is_shown_with_the_job(database: Database) -> None:
    body = (SAMPLES / "065-live-2.0.7.1-backup-missing-source-fatal.json").read_bytes()
    send(database, body, NOON)
    why = only_job(database).why
    assert why["outcome"] == "Fatal"
    assert "source path /srv/nas/nosuch does not exist" in str(why["error"])


def test_a_good_run_after_a_failed_one_is_one_recovery(database: Database) -> None:
    send(database, backup_body(NOON, ParsedResult="Fatal"), NOON)
    send(database, backup_body(NOON + HOUR), NOON + HOUR)
    send(database, backup_body(NOON + 2 * HOUR), NOON + 2 * HOUR)
    assert alert_kinds(database) == ["failed", "recovered"]
    assert only_job(database).state == "ok"


def test_a_dry_run_is_kept_but_changes_nothing(database: Database) -> None:
    send(database, backup_body(NOON - DAY), NOON - DAY)
    before = only_job(database)
    send(database, backup_body(NOON, Dryrun=True), NOON)
    after = only_job(database)
    assert _count(database, Report) == 2
    assert (after.state, after.expected_at, after.last_good_at) == (
        "ok",
        before.expected_at,
        before.last_good_at,
    )


def test_an_older_report_that_comes_late_is_history_only(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    before = only_job(database)
    send(database, backup_body(NOON - 2 * DAY), NOON + HOUR)
    after = only_job(database)
    assert (after.state, after.last_good_at, after.expected_at) == ("ok", NOON, before.expected_at)
    assert _count(database, Report) == 2
    assert alert_kinds(database) == []


def test_a_failure_by_a_clock_that_was_set_back_is_told_all_the_same(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    send(database, backup_body(NOON - 2 * DAY, ParsedResult="Fatal"), NOON + HOUR)
    assert alert_kinds(database) == ["failed"]


def test_a_failure_after_a_run_by_a_clock_that_was_ahead_is_told(database: Database) -> None:
    send(database, backup_body(NOON + timedelta(minutes=50)), NOON)
    send(
        database,
        backup_body(NOON + timedelta(minutes=30), ParsedResult="Fatal"),
        NOON + timedelta(minutes=31),
    )
    assert only_job(database).state == "failed"
    assert alert_kinds(database) == ["failed"]


def test_after_a_manual_run_a_weekly_client_is_expected_a_week_later(database: Database) -> None:
    for week in range(2):
        ended_at = NOON + week * 7 * DAY + HOUR
        send(database, backup_body(ended_at, seconds=60, next_at=NOON + (week + 1) * 7 * DAY), ended_at)
    due_at = NOON + 14 * DAY
    send(database, backup_body(due_at + 3 * HOUR), due_at + 3 * HOUR)
    job = only_job(database)
    assert (job.expected_at, job.expected_source) == (due_at + 7 * DAY, "default")


def test_a_recovery_is_told_even_when_a_setting_ended_the_overdue_state_before(database: Database) -> None:
    send(database, backup_body(NOON - 2 * DAY), NOON - 2 * DAY)
    checks.run(database, POLICY, NOON)
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.tolerance_seconds = 7 * 86400
        record.settings_changed(job, POLICY, NOON)
    send(database, backup_body(NOON + HOUR), NOON + HOUR)
    send(database, backup_body(NOON + 2 * HOUR), NOON + 2 * HOUR)
    assert alert_kinds(database) == ["overdue", "recovered"]


def test_a_pause_does_not_make_an_overdue_job_news_again(database: Database) -> None:
    send(database, backup_body(NOON - 2 * DAY), NOON - 2 * DAY)
    checks.run(database, POLICY, NOON)
    for paused_at in (NOON, None):
        with database.writing() as rows:
            job = rows.scalars(select(Job)).one()
            job.paused_at = paused_at
            record.settings_changed(job, POLICY, NOON)
    checks.run(database, POLICY, NOON + HOUR)
    assert alert_kinds(database) == ["overdue", "reminder"]


def test_a_run_said_to_end_in_the_future_counts_from_its_arrival(database: Database) -> None:
    send(database, backup_body(datetime(2099, 1, 1, tzinfo=NOON.tzinfo)), NOON)
    job = only_job(database)
    assert job.last_good_at == NOON
    assert job.expected_at is not None
    assert job.expected_at <= NOON + DAY


def test_reports_without_ids_belong_to_the_key_and_the_name(database: Database) -> None:
    send(database, backup_body(NOON, machine=None), NOON)
    send(database, backup_body(NOON, machine=None), NOON, sender=Sender(2, "other key", "-"))
    with database.reading() as rows:
        found = rows.execute(
            select(Server.machine_id, Server.name, Job.backup_id).join(Job).order_by(Server.id)
        )
        assert [tuple(row) for row in found] == [
            ("key:1", "test key", "name:Documents nightly"),
            ("key:2", "other key", "name:Documents nightly"),
        ]


def test_a_new_name_for_the_same_ids_is_a_label_only(database: Database) -> None:
    send(database, backup_body(NOON - DAY), NOON - DAY)
    renamed = backup_body(NOON).replace(b'"backup-name": "Documents nightly"', b'"backup-name": "Papers"')
    send(database, renamed, NOON)
    assert only_job(database).name == "Papers"


def test_an_overdue_job_is_not_recovered_by_a_report_that_is_itself_too_old(database: Database) -> None:
    send(database, backup_body(NOON - 5 * DAY), NOON - 5 * DAY)
    checks.run(database, POLICY, NOON)
    send(database, backup_body(NOON - 4 * DAY), NOON)
    assert alert_kinds(database) == ["overdue"]
    assert only_job(database).state == "overdue"
    send(database, backup_body(NOON), NOON + HOUR)
    assert alert_kinds(database) == ["overdue", "recovered"]


def test_an_unusable_body_is_kept_with_its_reason(database: Database) -> None:
    problem = UnusableReport("not a report", ["backup-name"])
    quarantine.keep(database, Body(b"\x00\xff", "text/plain"), problem, SENDER, now=NOON)
    with database.reading() as rows:
        kept = rows.scalars(select(QuarantinedBody)).one()
    assert zlib.decompress(kept.compressed) == b"\x00\xff"
    assert (kept.reason, kept.missing_fields, kept.key_label) == ("not a report", ["backup-name"], "test key")


def test_a_typed_schedule_takes_over_where_the_client_declares_nothing(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        rows.add(_typed(job, "1W", NOON - DAY))
        record.schedule_changed(rows, job, POLICY, NOON)
    job = only_job(database)
    assert (job.expected_source, job.expected_at) == ("typed", NOON + 6 * DAY)


@pytest.mark.usefixtures("postgres")
def test_a_report_that_waits_for_a_schedule_to_be_saved_goes_by_it(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    later = NOON + 3 * HOUR
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as rows:
            job = rows.scalars(select(Job).with_for_update(of=Job)).one()
            rows.add(_typed(job, "1D", NOON))
            record.schedule_changed(rows, job, POLICY, later)
            rows.flush()
            reporting = pool.submit(send, database, backup_body(later), later)
            until(lambda: databases.waiting_count(database) == 1, "the report")
        assert reporting.result(30)
    assert only_job(database).expected_source == "typed"


def _typed(job: Job, repeat: str, anchor_at: datetime) -> JobSchedule:
    return JobSchedule(
        job_id=job.id, source="typed", repeat=repeat, days="", zone="UTC", anchor_at=anchor_at, set_at=NOON
    )


def test_a_paused_job_says_nothing_and_wakes_at_its_end(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.paused_at, job.paused_until_at = NOON, NOON + 5 * DAY
        record.settings_changed(job, POLICY, NOON)
    assert only_job(database).state == "paused"
    send(database, backup_body(NOON + DAY, ParsedResult="Fatal"), NOON + DAY)
    checks.run(database, POLICY, NOON + 4 * DAY)
    assert alert_kinds(database) == []
    checks.run(database, POLICY, NOON + 5 * DAY + HOUR)
    assert alert_kinds(database) == ["overdue"]


def test_a_pause_or_a_tolerance_does_not_move_what_the_client_declared(database: Database) -> None:
    send(database, backup_body(NOON, next_at=NOON + HOUR), NOON)
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.paused_at, job.paused_until_at, job.tolerance_seconds = NOON, NOON + HOUR, 2 * 3600
        record.settings_changed(job, POLICY, NOON)
    assert only_job(database).expected_at == NOON + HOUR


def test_a_wider_tolerance_ends_an_overdue_state_quietly(database: Database) -> None:
    send(database, backup_body(NOON - 2 * DAY), NOON - 2 * DAY)
    checks.run(database, POLICY, NOON)
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.tolerance_seconds = 7 * 86400
        record.settings_changed(job, Policy(3600, "every_day"), NOON)
    assert only_job(database).state == "late"
    assert alert_kinds(database) == ["overdue"]


def test_a_forgotten_job_takes_its_rows_and_its_empty_server_along(database: Database) -> None:
    send(database, backup_body(NOON), NOON)
    with database.writing() as rows:
        jobs.forget(rows, rows.scalars(select(Job)).one())
    assert [_count(database, model) for model in (Job, Server, Report, ReportBody)] == [0, 0, 0, 0]
    with database.reading() as rows:
        assert rows.get_one(Total, "jobs").value == 0
