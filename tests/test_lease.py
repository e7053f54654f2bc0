"""Leases: one service at a time, replaced when it is gone, whatever the clock does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select, update

from app import clock, lease, outbox
from app.cron import service as cron_service
from app.cron.holder import Holder, bury_dead
from app.cron.tasks import CHECK, Task, TaskContext, TaskResult
from app.db import Database, make_engine
from app.models import Alert, Delivery, Lease, TaskRun
from tests.crowd import add_jobs, add_receiver
from tests.databases import Postgres
from tests.receivers import HttpReceiver
from tests.stage import NOON, new_database
from tests.test_cron_service import NEVER, Counted, past_run, running, until, write

SECOND = timedelta(seconds=1)


def acquire(database: Database, holder: str, now: object = NOON) -> bool:
    with database.writing() as rows:
        return lease.acquire(rows, "check", holder, now)  # type: ignore[arg-type]


def test_a_lease_has_one_holder_until_it_is_given_back(database: Database) -> None:
    assert acquire(database, "a")
    assert acquire(database, "a")
    assert not acquire(database, "b")
    with database.writing() as rows:
        assert not lease.release(rows, "check", "b")
        assert lease.release(rows, "check", "a")
        assert not lease.release(rows, "check", "a")
    assert acquire(database, "b")


def test_a_lease_that_is_not_renewed_goes_to_whoever_asks_next(database: Database) -> None:
    assert acquire(database, "a")
    with database.writing() as rows:
        assert lease.renew(rows, "check", "a", NOON + 40 * SECOND)
    assert not acquire(database, "b", NOON + 84 * SECOND)
    assert acquire(database, "b", NOON + 85 * SECOND)
    with database.writing() as rows:
        assert not lease.renew(rows, "check", "a", NOON + 86 * SECOND)
        assert lease.holder_of(rows, "check") == "b"


def test_a_lease_from_before_the_clock_was_set_back_holds_nobody_up(database: Database) -> None:
    assert acquire(database, "a", NOON + timedelta(hours=2))
    assert acquire(database, "b", NOON)


def test_of_many_that_ask_at_once_one_gets_it(database: Database) -> None:
    won: list[str] = []
    ready = threading.Barrier(8)

    def ask(holder: str) -> None:
        ready.wait(60)
        if acquire(database, holder):
            won.append(holder)

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(won) == 1


def test_a_session_stopped_in_a_transaction_gives_its_rows_back(postgres: Postgres) -> None:
    engine = make_engine(postgres.url())
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
    engine.dispose()
    assert found == "30s"


# Services


@pytest.fixture
def counted() -> Iterator[Counted]:
    made = Counted()
    yield made
    made.go.set()


@pytest.fixture
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron_service, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(cron_service, "MANUAL_WAIT_SECONDS", 0.5)


def held_by_another(database: Database, task: str, seconds: float = 40) -> None:
    ends_at = clock.utcnow() + timedelta(seconds=seconds)
    write(database, Lease(name=task, holder="other:1:aa", expires_at=ends_at))


@pytest.mark.usefixtures("quick_retry")
def test_two_services_do_a_scheduled_run_once(tmp_path: Path, counted: Counted) -> None:
    past_run(tmp_path, CHECK, NOON)
    tasks = {CHECK: Task(counted, None)}
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, tasks) as first,
        running(tmp_path, tasks) as second,
    ):
        rigs = (first, second)
        for hour, minute in ((12, 20), (12, 40), (18, 0)):
            until(lambda: all(each.health()["activeTasks"] for each in rigs), "both")
            traveller.move_to(NOON.replace(hour=hour, minute=minute, second=1))
            later = clock.iso(NOON.replace(hour=hour, minute=minute) + timedelta(minutes=20))
            for each in rigs:
                until(lambda: each.health()["nextRunTimes"][CHECK] == later, "the run")  # noqa: B023
            until(lambda: not any(each.service._waiting_tasks for each in rigs), "whoever waits")
        assert counted.count == 3
        assert all(each.health()["lastRunTimes"] == {CHECK: "2026-12-01T18:00:01Z"} for each in rigs)
        assert first.health()["holder"] != second.health()["holder"]
        assert {row.holder for row in first.runs()} <= {"", *(each.health()["holder"] for each in rigs)}


@pytest.mark.usefixtures("quick_retry")
def test_what_one_catches_up_the_other_waits_for_and_does_not_repeat(
    tmp_path: Path, counted: Counted
) -> None:
    counted.go.clear()
    tasks = {"yearly": Task(counted, NEVER)}
    with running(tmp_path, tasks) as first:
        assert counted.started.acquire(timeout=30)
        with running(tmp_path, tasks) as second:
            until(lambda: "yearly" in second.service._waiting_tasks, "the second to wait")
            counted.go.set()
            until(
                lambda: second.health()["lastRunTimes"] == first.health()["lastRunTimes"] != {},
                "the second to see it done",
            )
            assert (counted.count, counted.most_at_once) == (1, 1)


@pytest.mark.usefixtures("quick_retry")
def test_what_the_other_one_failed_to_do_is_done(tmp_path: Path, counted: Counted) -> None:
    counted.go.clear()
    counted.fails = True
    with running(tmp_path, {"yearly": Task(counted, NEVER)}):
        assert counted.started.acquire(timeout=30)
        well = Counted()
        with running(tmp_path, {"yearly": Task(well, NEVER)}) as second:
            until(lambda: "yearly" in second.service._waiting_tasks, "the second to wait")
            counted.go.set()
            until(lambda: well.count == 1, "the second to do it")


@pytest.mark.usefixtures("quick_retry")
def test_a_run_waits_for_the_lease_and_is_done_when_it_runs_out(tmp_path: Path, counted: Counted) -> None:
    database = new_database(tmp_path)
    held_by_another(database, "yearly")
    database.dispose()
    with running(tmp_path, {"yearly": Task(counted, NEVER)}) as rig:
        until(lambda: "yearly" in rig.service._waiting_tasks, "the run to wait")
        assert counted.count == 0
        with rig.database.writing() as rows:
            rows.execute(update(Lease).values(expires_at=clock.utcnow()))
        until(lambda: counted.count == 1, "the run")
        until(lambda: rig.health()["lastRunTimes"], "its end")
        with rig.database.reading() as rows:
            assert rows.scalars(select(Lease)).all() == []


@pytest.mark.usefixtures("quick_retry")
def test_a_trigger_waits_for_the_lease_a_while_and_then_says_who_has_it(
    tmp_path: Path, counted: Counted
) -> None:
    past_run(tmp_path, "yearly", clock.utcnow())
    with running(tmp_path, {"yearly": Task(counted, NEVER)}) as rig:
        held_by_another(rig.database, "yearly")
        answer = rig.post("/trigger/yearly")
        assert answer.status_code == 503
        told = answer.json()["error"]
        assert told == "Another cron service (other:1:aa) is doing this; try again in a minute"
        with rig.database.writing() as rows:
            rows.execute(update(Lease).values(expires_at=clock.utcnow()))
        assert rig.post("/trigger/yearly").status_code == 200
        assert counted.count == 1


@pytest.mark.usefixtures("quick_retry")
def test_a_service_that_lost_its_lease_stops_at_the_next_step_and_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_AFTER", timedelta(0))
    steps: list[bool] = []

    def task(context: TaskContext) -> TaskResult:
        steps.append(context.is_ours())
        if len(steps) == 1:
            with context.database.writing() as rows:
                ends_at = clock.utcnow() + 40 * SECOND
                rows.execute(update(Lease).values(holder="other:1:aa", expires_at=ends_at))
            steps.append(context.is_ours())
            steps.append(context.may_go_on())
        return TaskResult("done")

    with running(tmp_path, {"yearly": Task(task, NEVER)}) as rig:
        until(lambda: "yearly" in rig.service._waiting_tasks, "the run to be taken away")
        assert steps == [True, False, False]
        assert [(row.finished_at, row.succeeded) for row in rig.runs()] == [(None, None)]
        assert rig.health()["runningTask"] is None
        with rig.database.writing() as rows:
            rows.execute(update(Lease).values(expires_at=clock.utcnow()))
        until(lambda: len(steps) == 4, "another run")
        until(lambda: rig.health()["lastRunTimes"], "its record")


def test_a_run_of_the_past_does_not_count_after_the_clock_was_set_back(
    tmp_path: Path, counted: Counted
) -> None:
    """A reboot with a clock two hours fast, put right afterwards: no check in between is passed over."""
    past_run(tmp_path, CHECK, NOON + timedelta(minutes=20), holder="before:1:aa")
    past_run(tmp_path, CHECK, NOON + timedelta(hours=2), holder="before:1:aa")
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        until(lambda: rig.health()["activeTasks"], "the schedule")
        traveller.move_to(NOON.replace(minute=20, second=1))
        until(lambda: counted.count == 1, "the run")


# What a killed service leaves behind


def test_only_what_is_certainly_dead_is_taken_over(tmp_path: Path) -> None:
    with Holder(tmp_path) as living:
        watcher = Holder(tmp_path)
        assert watcher.dead() == {}
        left = tmp_path / "cron-1-aa.lock"
        left.write_text(living.name.rpartition(":")[0] + ":aa\nanother boot")
        elsewhere = tmp_path / "cron-2-bb.lock"
        elsewhere.write_text("another-host.example:2:bb\nanother boot")
        assert list(watcher.dead()) == [left]
    assert list(watcher.dead()) == [left]
    assert not list(tmp_path.glob("*.new"))


def test_claims_and_leases_of_a_killed_service_are_free_at_once(database: Database, tmp_path: Path) -> None:
    add_jobs(database, 1)
    with HttpReceiver() as receiver:
        add_receiver(database, "hook", receiver)
    now = clock.utcnow()
    with database.writing() as rows:
        from_now = {"kind": "overdue", "facts": {}, "created_at": now, "message_id": "a" * 32}
        rows.add(Alert(job_id=1, **from_now))
        rows.flush()
        rows.add(Delivery(alert_id=1, channel_id=1, job_id=1, next_attempt_at=now))
    holder = Holder(tmp_path)
    dead = f"{holder.name}x"
    assert acquire(database, dead, now)
    assert len(outbox.claim(database, {1: 10}, now, 60, holder=dead)) == 1
    assert outbox.claim(database, {1: 10}, now + SECOND, 60, holder="b") == []
    (tmp_path / "cron-1-aa.lock").write_text(f"{dead}\n")
    bury_dead(holder, database)
    assert acquire(database, "b", now)
    taken = outbox.claim(database, {1: 10}, clock.utcnow() + SECOND, 60, holder="b")
    assert [each.attempt for each in taken] == [1]
    bury_dead(holder, database)
    assert outbox.claim(database, {1: 10}, clock.utcnow() + SECOND, 60, holder="c") == []
    assert not list(tmp_path.glob("cron-*"))


def test_a_service_without_a_writable_folder_works_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Holder(tmp_path / "nowhere") as holder:
        assert holder.dead() == {}
    assert "can't be written" in caplog.text


def test_a_finished_run_tells_who_did_it(tmp_path: Path, counted: Counted) -> None:
    with running(tmp_path, {"yearly": Task(counted, NEVER)}) as rig:
        rows: list[TaskRun] = until(lambda: [row for row in rig.runs() if row.finished_at], "the run")
        assert [row.holder for row in rows] == [rig.health()["holder"]]
