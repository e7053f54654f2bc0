"""The made-up installation: what it holds, that it is the same every time, and that it bothers nobody."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import func, select

from app import checks, fallbacks, outbox, routing, stored_settings
from app.cron_client import CronClient
from app.db import Base, Database
from app.demo import fleet, timeline
from app.demo.bodies import body_of
from app.models import (
    Alert,
    ApiKey,
    AuditEntry,
    Channel,
    Delivery,
    DeliveryAttempt,
    Job,
    JobSchedule,
    MaintenanceWindow,
    QuarantinedBody,
    Report,
    ReportBody,
    Server,
    TaskRun,
    User,
)
from app.reports import parse
from tests import factories
from tests.processes import is_listening
from tests.receivers import HttpReceiver, ok
from tests.web import Site, site

# A Wednesday afternoon.
NOW = datetime(2026, 11, 25, 14, 7, 31, tzinfo=UTC)
SIZE = ("--servers", "8", "--jobs", "3", "--days", "35")
# What is made of randomness that nobody may foresee.
SECRET = {"message_id", "password_hash", "key_hash", "hint"}


def run(here: Site, *arguments: str) -> Result:
    return here.app.test_cli_runner().invoke(args=["demo", *arguments])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("demo")) as made:
        result = run(made, *SIZE, "--now", NOW.isoformat())
        assert result.exit_code == 0, result.output
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def states(here: Site) -> Counter[str]:
    with here.database.reading() as rows:
        return Counter(rows.scalars(select(Job.state)))


def job(here: Site, server: str, name: str) -> Job:
    query = select(Job).join(Server).where(Server.name == server, Job.name == name)
    with here.database.reading() as rows:
        found = rows.scalars(query).one()
        assert found.server.name == server
        return found


def count(here: Site, model: type[Base], *conditions: object) -> int:
    with here.database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(model).where(*conditions)) or 0


def test_it_looks_like_an_installation_a_week_into_trouble(here: Site) -> None:
    assert states(here) == {"ok": 15, "overdue": 3, "failed": 2, "late": 2, "new": 1, "paused": 1}


@pytest.mark.parametrize("hour", range(0, 24, 5))
def test_the_picture_is_the_same_at_every_time_of_the_day(fresh: Site, hour: int) -> None:
    at = NOW.replace(hour=hour, minute=hour * 2, second=5)
    assert run(fresh, "--servers", "8", "--days", "2", "--now", at.isoformat()).exit_code == 0
    found = states(fresh)
    assert (found["late"], found["new"], found["failed"]) == (2, 1, 2)


def test_the_default_size_is_what_it_promises() -> None:
    clients = fleet.clients(20, 3, 120, NOW)
    fates = Counter(each.fate for each in clients)
    assert len(clients) == len({(each.machine.name, each.name) for each in clients}) == 60
    assert fates[fleet.Fate.OFF] == 4
    assert fates[fleet.Fate.WELL] + fates[fleet.Fate.SHUT_AT_WEEKENDS] == 50


def test_every_fate_is_the_product_s_own_verdict(here: Site) -> None:
    off = job(here, "warehouse-pc", "Delivery notes")
    assert off.state == "overdue"
    assert NOW - off.state_since_at > timedelta(days=3)
    assert off.why["overdueAt"]
    failing = job(here, "office-pc", "Accounting")
    assert "No space left on device" in failing.why["error"]
    assert NOW - failing.state_since_at > timedelta(days=6)
    assert job(here, "nas-attic", "Photos").last_outcome == "Interrupted"
    assert job(here, "mail-01", "Calendars").why["maintenanceUntilAt"]
    assert job(here, "db-01", "Configuration").tolerance_seconds == 6 * 3600
    assert job(here, "media-box", "Camera imports").last_good_at is None
    assert job(here, "warehouse-pc", "Stock database").acknowledged_by == "admin"


def test_new_clients_declare_their_next_run_and_old_ones_do_not(here: Site) -> None:
    assert job(here, "nas-attic", "Documents").expected_source == "declared"
    assert job(here, "mail-01", "Configuration").expected_source == "default"
    assert job(here, "laptop-claire", "Documents").expected_source == "typed"


def test_the_history_holds_everything_that_happens(here: Site) -> None:
    with here.database.reading() as rows:
        outcomes = Counter(rows.scalars(select(Report.outcome)))
        kinds = Counter(rows.scalars(select(Alert.kind)))
    assert {"Success", "Warning", "Fatal"} <= set(outcomes)
    assert set(kinds) >= {"overdue", "reminder", "recovered", "failed"}
    assert count(here, Report, Report.dry_run) == 1
    assert count(here, JobSchedule) >= 3
    assert count(here, MaintenanceWindow) == 2
    assert count(here, QuarantinedBody) == 3
    assert count(here, ApiKey, ApiKey.revoked_at.is_not(None)) == 1
    assert count(here, Job, Job.is_published) == 2
    assert count(here, Job, Job.notes.is_not(None)) == 2
    assert count(here, User, User.language == "fr") == 1
    assert count(here, TaskRun, TaskRun.succeeded.is_(False)) == 1
    assert count(here, AuditEntry) > 30
    with here.database.reading() as rows:
        assert rows.scalar(select(func.max(TaskRun.finished_at))) > NOW - timedelta(minutes=21)


def test_nothing_of_it_is_dated_after_its_end(here: Site) -> None:
    told_later = timedelta(minutes=2)
    for column in (Report.received_at, Report.ended_at, Alert.created_at, AuditEntry.happened_at):
        with here.database.reading() as rows:
            assert rows.scalar(select(func.max(column))) <= NOW + told_later, column


def test_a_short_demo_reaches_into_no_future(fresh: Site) -> None:
    assert run(fresh, "--servers", "1", "--jobs", "1", "--days", "3", "--now", NOW.isoformat()).exit_code == 0
    made_up = ApiKey.label != "first upload key"  # that one is of the real first start
    for column in (ApiKey.created_at, ApiKey.used_at, ApiKey.revoked_at):
        with fresh.database.reading() as rows:
            assert rows.scalar(select(func.max(column)).where(made_up)) <= NOW, column


def test_nothing_of_it_can_ever_be_sent(here: Site) -> None:
    with here.database.reading() as rows:
        for channel in rows.scalars(select(Channel)):
            assert not channel.enabled
            assert ".invalid" in str(channel.config)
        assert fallbacks.regular_channels(rows) == []
        assert rows.scalar(select(Alert.id).where(Alert.routed_at.is_(None))) is None
    assert count(here, Delivery) > 50
    assert count(here, Delivery, Delivery.next_attempt_at.is_not(None)) == 0
    assert count(here, Delivery, Delivery.status == outbox.PENDING) == 0
    assert outbox.due_channels(here.database, NOW + timedelta(days=400)) == []


def test_what_comes_after_it_is_sent_nowhere(fresh: Site) -> None:
    assert run(fresh, "--servers", "2", "--days", "3", "--now", NOW.isoformat()).exit_code == 0
    later, policy = NOW + timedelta(days=9), stored_settings.policy(fresh.database, fresh.settings)
    assert checks.run(fresh.database, policy, later).alerts > 0
    routing.route(fresh.database, policy.group_limit, later + timedelta(minutes=2), checks.TASK)
    assert count(fresh, Delivery, Delivery.next_attempt_at.is_not(None)) == 0


def test_deliveries_have_their_attempts_and_receipts(here: Site) -> None:
    with here.database.reading() as rows:
        attempts = Counter(rows.scalars(select(DeliveryAttempt.delivery_id)))
        for each in rows.scalars(select(Delivery)):
            assert attempts[each.id] == each.attempts >= 1
            assert each.detail
            assert each.finished_at
    assert count(here, Delivery, Delivery.status == outbox.GIVEN_UP) > 0
    assert count(here, Delivery, Delivery.fallback_for.is_not(None)) > 0
    assert count(here, DeliveryAttempt, DeliveryAttempt.started_at > NOW) == 0


def digest(database: Database) -> str:
    """Of all rows but their secrets."""
    found = hashlib.sha256()
    with database.reading() as rows:
        for table in Base.metadata.sorted_tables:
            columns = [each for each in table.columns if each.name not in SECRET]
            # The first start of each installation is at a time of its own.
            for row in rows.execute(select(*columns).order_by(*table.primary_key.columns)):
                values = tuple(row)
                moments = [each for each in values if isinstance(each, datetime)]
                if not any(each > NOW + timedelta(days=366) or _is_today(each) for each in moments):
                    found.update(repr((table.name, values)).encode())
    return found.hexdigest()


def _is_today(moment: datetime) -> bool:
    return abs(moment - datetime.now(UTC)) < timedelta(hours=1)


def test_the_same_seed_makes_the_same_rows(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        with site(tmp_path / name) as here:
            at = datetime(2027, 3, 29, 9, 1, tzinfo=UTC)  # the morning after the clocks have changed
            size = ("--servers", "3", "--days", "12", "--seed", seed)
            assert run(here, *size, "--now", at.isoformat()).exit_code == 0
            made.append(digest(here.database))
    assert made[0] == made[1] != made[2]


def test_its_bodies_are_reports_as_duplicati_writes_them() -> None:
    clients = fleet.clients(20, 3, 20, NOW)
    seen = set()
    for run_ in timeline.runs(clients, 20, 3, NOW):
        report = parse(body_of(run_), "application/json")
        assert report.is_backup
        assert report.outcome == run_.outcome
        assert report.ended_at == run_.ended_at.replace(microsecond=run_.ended_at.microsecond)
        assert (report.partial, report.interrupted) == (run_.partial, run_.interrupted)
        assert (report.machine_id is None) == (not run_.client.machine.is_named)
        assert bool(report.error) == (run_.outcome == "Fatal")
        seen.add(report.duplicati_version)
    assert len(seen) == 3


def test_the_body_is_kept_with_its_report(here: Site) -> None:
    with here.database.reading() as rows:
        body = rows.scalars(select(ReportBody).limit(1)).one()
    assert parse(zlib.decompress(body.compressed), body.content_type).is_backup


# What it refuses


def refused(here: Site, *arguments: str) -> str:
    result = run(here, *arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


def test_an_installation_with_jobs_is_left_alone(fresh: Site) -> None:
    with fresh.database.writing() as rows:
        factories.add_job(rows)
    size = ("--servers", "1", "--days", "8", "--now", NOW.isoformat())
    told = refused(fresh, *size)
    assert "has backup jobs already" in told
    assert "--force" in told
    assert count(fresh, Job) == 1
    assert run(fresh, *size, "--force").exit_code == 0
    assert count(fresh, Job) == 4


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_an_installation_that_tells_somebody_is_refused_in_any_case(
    fresh: Site, force: tuple[str, ...]
) -> None:
    with fresh.database.writing() as rows:
        factories.add_channel(rows, "my phone")
    assert "The channel my phone is on" in refused(fresh, *force)
    assert count(fresh, Report) == 0


def test_it_is_not_made_beside_a_running_cron_service(tmp_path: Path) -> None:
    with HttpReceiver(ok(b"{}")) as service, site(tmp_path, CRON_SERVICE_URL=service.url) as here:
        assert "The cron service is running" in refused(here)
        client: CronClient = here.app.extensions["cron_client"]
        client.close()
    assert not is_listening(here.settings.cron_port)


def test_a_second_demo_beside_the_first_is_possible_with_force(fresh: Site) -> None:
    for force in ((), ("--force",)):
        result = run(fresh, "--servers", "1", "--jobs", "1", "--days", "3", *force)
        assert result.exit_code == 0, result.output
    assert count(fresh, Channel) == 6
    assert count(fresh, User, User.username == "claire") == 1


def test_the_password_of_the_viewer_is_told_once_and_works(fresh: Site) -> None:
    told = run(fresh, "--servers", "1", "--jobs", "1", "--days", "2").output
    password = told.strip().rpartition(" ")[2]
    answer = fresh.stranger().post("/api/auth/login", json={"username": "claire", "password": password})
    assert answer.status_code == 200


def test_odd_sizes_are_refused_in_words(fresh: Site) -> None:
    result = run(fresh, "--servers", "0")
    assert result.exit_code == 2
    assert "--servers" in result.output
