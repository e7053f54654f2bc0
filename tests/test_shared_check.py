"""One check, two cron services on PostgreSQL: both decide jobs, and together they do it once."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from app import checks, lease, routing, schema
from app.checks import BATCH, TASK, Policy
from app.clock import utcnow
from app.db import Database
from app.models import Alert, Delivery, Job, Lease, TaskRun
from tests import crowd
from tests.databases import Postgres
from tests.processes import Process, Veilleur, is_listening, started, until
from tests.receivers import HttpReceiver
from tests.test_two_services import quick_folder  # noqa: F401  (a fixture)

JOBS = 4 * BATCH + 100
POLICY = Policy(3600, "every_day", group_limit=10)

# A service that makes a break between its first batch and the second, until a file is there. Told to, it is
# killed in the middle of the second, when all is written and nothing committed.
FIRST = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from app import checks, delivery, installation, lease
from app.clock import utcnow
from app.core import create_core
from app.cron import serve
from app.settings import load

go_on, ends = Path(sys.argv[1]), sys.argv[2] == "killed"
if ends:
    lease.LEASE = timedelta(seconds=3)
    # What it is sending when it is killed would be sent once more.
    delivery._POLL_SECONDS = 3600
    delivery.Courier.wake = lambda courier: None
real, batches = checks._run_batch, []

def batch(*arguments):
    batches.append("begun")
    while len(batches) == 2 and not go_on.exists():
        time.sleep(0.02)
    found = real(*arguments)
    if len(batches) == 2 and ends:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

checks._run_batch = batch
settings, _told = installation.prepare(load(os.environ), utcnow())
os._exit(serve(create_core(settings), settings))
"""


class Couple:
    """Two services with an instance folder each, on one database; the first makes a break in its check."""

    def __init__(self, folder: Path, url: str, settings: dict[str, str]) -> None:
        secrets = {"VEILLEUR_CRON_TOKEN": "t" * 32, "VEILLEUR_SECRET_KEY": "s" * 32}
        settings = {**settings, **secrets, "VEILLEUR_DATABASE_URL": url}
        self.go_on = folder / "go-on"
        self.first, self.second = (self._installed(folder / name, settings) for name in ("a", "b"))
        self.database = crowd.install(self.first)
        crowd.install(self.second).dispose()
        crowd.add_jobs(self.database, JOBS)

    def _installed(self, folder: Path, settings: dict[str, str]) -> Veilleur:
        folder.mkdir()
        return Veilleur(folder, settings)

    @contextlib.contextmanager
    def running(self, end: str) -> Iterator[Process]:
        command = [sys.executable, "-c", FIRST, str(self.go_on), end]
        log = self.first.folder / "cron.log"
        with self.second.cron(), started(command, log, self.first.environ) as process:
            until(lambda: is_listening(self.first.cron_port), "the first", seconds=60)
            yield process

    def check(self, veilleur: Veilleur) -> threading.Thread:
        def call() -> None:
            with contextlib.suppress(OSError):  # a requests error is one, too: nobody answers who is killed
                crowd.trigger(veilleur.cron_port, "t" * 32)

        thread = threading.Thread(target=call)
        thread.start()
        return thread

    def share(self) -> None:
        """Let the first begin, the second join and do more than half, then the first go on."""
        crowd.make_due(self.database, 1, JOBS)
        calls = [self.check(self.first)]
        until(lambda: self.alerts() == BATCH, "the first batch", seconds=60)
        calls.append(self.check(self.second))
        until(lambda: self.alerts() >= 3 * BATCH, "the other one to join", seconds=60)
        self.go_on.touch()
        for each in calls:
            each.join(60)

    def alerts(self) -> int:
        with self.database.reading() as rows:
            return rows.scalar(select(func.count()).where(Alert.job_id.is_not(None))) or 0

    def checks(self) -> list[TaskRun]:
        """Those that were told to do something, in the order of their beginning."""
        with self.database.reading() as rows:
            runs = select(TaskRun).where(TaskRun.task == TASK, TaskRun.cause == "manual")
            return list(rows.scalars(runs.order_by(TaskRun.id)))


@pytest.fixture
def settings() -> dict[str, str]:
    return dict(crowd.SETTINGS)


@pytest.fixture
def couple(quick_folder: Path, postgres: Postgres, settings: dict[str, str]) -> Iterator[Couple]:  # noqa: F811
    made = Couple(quick_folder, postgres.url(), settings)
    yield made
    made.database.dispose()


def _told(run: TaskRun) -> int:
    found = re.search(r"(\d+) new alerts", run.message)
    assert found, run.message
    return int(found[1])


def _each_once(couple: Couple, receiver: HttpReceiver) -> None:
    until(lambda: len(crowd.received(receiver)) >= JOBS, "all messages", seconds=240)
    alerts = crowd.alerts_of_jobs(couple.database)
    assert (len(alerts), alerts.total()) == (JOBS, JOBS)
    assert crowd.received(receiver) == Counter(dict.fromkeys(crowd.message_ids(couple.database), 1))


def test_both_services_take_part_and_each_message_comes_once(couple: Couple) -> None:
    with HttpReceiver() as hook:
        crowd.add_receiver(couple.database, "hook", hook)
        with couple.running("well"):
            couple.share()
            _each_once(couple, hook)
    begun, joined = couple.checks()
    assert begun.holder != joined.holder
    assert _told(begun) >= BATCH
    assert _told(joined) >= BATCH
    assert _told(begun) + _told(joined) == JOBS
    for each in (begun, joined):
        assert each.succeeded, each.message
        assert each.statistics["overdueBackupsFound"] == JOBS
        assert each.statistics["checkedBackups"] == JOBS


def test_what_a_killed_service_was_at_the_other_one_does(couple: Couple) -> None:
    with HttpReceiver() as hook:
        crowd.add_receiver(couple.database, "hook", hook)
        with couple.running("killed") as first:
            couple.share()
            assert first.child.wait(60) == -signal.SIGKILL
            _each_once(couple, hook)
    begun, joined = couple.checks()
    assert (begun.finished_at, begun.succeeded) == (None, None)
    assert _told(joined) == JOBS - BATCH


@pytest.mark.parametrize("settings", [{"VEILLEUR_DOWNTIME_CREDIT_SECONDS": "0"}])
def test_what_two_services_find_is_one_message(couple: Couple) -> None:
    with HttpReceiver() as hook:
        crowd.add_receiver(couple.database, "hook", hook)
        with couple.running("well"):
            couple.share()
            until(lambda: hook.requests, "a message", seconds=60)
            with couple.database.reading() as rows:
                assert rows.scalar(select(func.count()).where(Alert.routed_at.is_(None))) == 0
    with couple.database.reading() as rows:
        assert [
            each.facts["count"] for each in rows.scalars(select(Alert).where(Alert.job_id.is_(None)))
        ] == [JOBS]
        assert rows.scalar(select(func.count()).select_from(Delivery)) == 1
    assert len(hook.requests) == 1


# The rules, without processes


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    url = postgres.url()
    schema.upgrade(url)
    made = Database(url)
    yield made
    made.dispose()


def test_a_small_check_is_left_to_the_one_who_is_at_it(database: Database) -> None:
    crowd.add_jobs(database, BATCH + 1)
    crowd.make_due(database, 1, BATCH)
    with database.reading() as rows:
        assert not checks.has_room(rows, utcnow())
    crowd.make_due(database, BATCH + 1, BATCH + 1)
    with database.reading() as rows:
        assert checks.has_room(rows, utcnow())


def test_a_pass_ends_when_what_others_have_locked_is_decided_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.add_jobs(database, 3)
    crowd.make_due(database, 1, 3)
    with database.writing() as rows:
        rows.execute(select(Job.id).where(Job.id == 2).with_for_update())
        monkeypatch.setattr(checks, "MOST_WAITS", 2)
        assert checks.run(database, POLICY, utcnow()).alerts == 2
        monkeypatch.setattr(checks, "MOST_WAITS", 100)
        let_go = threading.Timer(0.3, rows.commit)
        let_go.start()
        assert checks.run(database, POLICY, utcnow()).alerts == 1
        let_go.join()


def add_due_and_a_receiver(database: Database, count: int) -> None:
    crowd.add_jobs(database, count)
    crowd.make_due(database, 1, count)
    with HttpReceiver() as hook:
        crowd.add_receiver(database, "hook", hook)


def test_few_alerts_of_one_who_joined_wait_for_what_the_others_find(database: Database) -> None:
    add_due_and_a_receiver(database, 3)
    now = utcnow()
    with database.writing() as rows:
        name = lease.join(rows, TASK, "nas:1:aa", now)
    checks.run(database, POLICY, now, joins=True)
    assert routing.route(database, 10, now, TASK) == 0
    with database.writing() as rows:
        assert lease.release(rows, name, "nas:1:aa")
    assert routing.route(database, 10, now, TASK) == 3


def test_two_that_route_at_once_make_one_message(database: Database) -> None:
    add_due_and_a_receiver(database, 600)
    now = utcnow()
    checks.run(database, POLICY, now)
    # Held by a third one until both others have seen that there is something to route.
    with database.writing() as rows:
        lease.be_alone(rows, "routing")
        made: list[int] = []
        threads = [
            threading.Thread(target=lambda: made.append(routing.route(database, 10, now, TASK)))
            for _ in range(2)
        ]
        for each in threads:
            each.start()
        until(lambda: _waiting(database) == 2, "both to wait")
    for each in threads:
        each.join(60)
    assert sorted(made) == [0, 1]


def _waiting(database: Database) -> int:
    with database.reading() as rows:
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return int(rows.connection().exec_driver_sql(waits).scalar_one())


def test_whoever_joined_and_was_stopped_holds_up_nobody_for_longer_than_a_lease(database: Database) -> None:
    now = utcnow()
    with database.writing() as rows:
        lease.join(rows, TASK, "nas:1:aa", now)
        assert lease.is_held(rows, TASK, now)
        assert not lease.is_held(rows, TASK, now + lease.LEASE)
        rows.execute(update(Lease).values(expires_at=now + lease.LEASE))
        lease.free(rows, "nas:1:aa", now)
        assert not lease.is_held(rows, TASK, now)
