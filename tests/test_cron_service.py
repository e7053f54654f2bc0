"""The cron service over its real HTTP port, and as a real process with signals."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import time_machine
from flask import Flask, current_app
from sqlalchemy import select
from werkzeug.serving import make_server

from app import clock, interval, schema
from app.cron.control import create_control_app
from app.cron.service import CALLERS, CronService
from app.cron.tasks import CHECK, TASKS, Task, TaskContext, TaskResult
from app.cron.watchdog import DEAD, Watchdog
from app.cron_client import CronClient
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.interval import FILE_NAME, Reader
from app.models import AuditEntry, TaskRun
from app.settings import Settings, load
from tests import databases
from tests.conftest import CHECKOUT, unused_port

TOKEN = "the shared token"
NEVER = "0 0 1 1 *"
NOON = datetime(2026, 11, 23, 12, 7, 30, tzinfo=UTC)


def until(is_so: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"not within {seconds} s: {what}")


def settings_for(folder: Path, **variables: str) -> Settings:
    return load(
        {
            "VEILLEUR_INSTANCE_PATH": str(folder),
            "VEILLEUR_DATABASE_URL": databases.url_of(folder),
            "VEILLEUR_CRON_TOKEN": TOKEN,
            **variables,
        }
    )


def application(settings: Settings) -> Flask:
    app = Flask("veilleur")
    app.extensions["settings"] = settings
    app.extensions[EXTENSION] = Database(settings.database_url)
    app.extensions["interval"] = Reader(settings.instance_path / FILE_NAME)
    app.extensions["cron_peers"] = [CronClient(each, TOKEN) for each in settings.cron_peers]
    return app


@dataclass
class Running:
    """A service whose loop runs in a thread, and the calls to its port."""

    folder: Path
    service: CronService
    database: Database
    url: str
    courier: Courier
    problems: list[BaseException] = field(default_factory=list)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, token: str | None = TOKEN, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return requests.post(self.url + path, headers=headers, timeout=60, **options)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/health").json()
        return found

    def save(self, value: str) -> None:
        interval.save(self.folder / FILE_NAME, value, updated_by="test", now=clock.utcnow())

    def runs(self, task: str | None = None) -> list[TaskRun]:
        with self.database.reading() as session:
            rows = session.scalars(select(TaskRun).order_by(TaskRun.id)).all()
        return [row for row in rows if task in (None, row.task)]


@contextmanager
def running(folder: Path, tasks: Mapping[str, Task], **variables: str) -> Iterator[Running]:
    settings = settings_for(folder, **variables)
    schema.upgrade(settings.database_url)
    app = application(settings)
    database: Database = app.extensions[EXTENSION]
    courier = Courier(app, database, settings, clock.utcnow)
    service = CronService(app, settings, tasks, courier)
    server = make_server("127.0.0.1", 0, create_control_app(service, settings), threaded=True)
    courier.start()
    problems: list[BaseException] = []

    def loop() -> None:
        try:
            service.run()
        except BaseException as problem:  # noqa: BLE001  (told at the end of the test)
            problems.append(problem)

    threads = [threading.Thread(target=loop), threading.Thread(target=server.serve_forever, args=(0.02,))]
    for thread in threads:
        thread.start()
    try:
        yield Running(folder, service, database, f"http://127.0.0.1:{server.port}", courier, problems)
    finally:
        service.stop()
        server.shutdown()
        for thread in threads:
            thread.join(60)
        server.server_close()
        courier.stop()
        database.dispose()
    assert not problems
    assert not any(thread.is_alive() for thread in threads)


def write(database: Database, row: Any) -> None:
    with database.writing() as session:
        session.add(row)


def past_run(folder: Path, task: str, started_at: datetime, **more: Any) -> None:
    url = settings_for(folder).database_url
    schema.upgrade(url)
    database = Database(url)
    values = {"finished_at": started_at, "succeeded": True} | more
    write(database, TaskRun(task=task, cause="schedule", started_at=started_at, **values))
    database.dispose()


class Counted:
    """A task that counts its runs and can be held in the middle of one."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.started = threading.Semaphore(0)
        self.count = 0
        self.at_once = 0
        self.most_at_once = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self, context: TaskContext) -> TaskResult:
        self.count += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        try:
            assert current_app.name == "veilleur"
            assert self.go.wait(60)
        finally:
            self.at_once -= 1
        if self.fails:
            raise ZeroDivisionError("split by nothing\nwith details")
        return TaskResult(f"run {self.count}", {"count": self.count})


@pytest.fixture
def counted() -> Iterator[Counted]:
    made = Counted()
    yield made
    made.go.set()


@pytest.fixture
def rig(tmp_path: Path, counted: Counted) -> Iterator[Running]:
    """A service with one idle task on the configured interval and one that never comes up."""
    # Minutes before the next run is due: no test is surprised by one.
    with time_machine.travel(NOON):
        past_run(tmp_path, CHECK, NOON)
        past_run(tmp_path, "yearly", NOON)
        with running(tmp_path, {CHECK: Task(counted, None), "yearly": Task(counted, NEVER)}) as made:
            until(lambda: made.health()["activeTasks"], "the schedule")
            yield made


# Health and access


def test_health_tells_all_and_asks_for_no_token(rig: Running) -> None:
    answer = rig.get("/health")
    found = answer.json()
    assert answer.status_code == 200
    assert found["isRunning"] is True
    assert found["activeTasks"] == [CHECK, "yearly"]
    assert set(found["lastRunTimes"]) == {CHECK, "yearly"}
    assert found["nextRunTimes"]["yearly"].endswith("-01-01T00:00:00Z")
    assert found["nextRunTimes"][CHECK][14:] in ("00:00Z", "20:00Z", "40:00Z")
    assert (found["errors"], found["interval"], found["runningTask"]) == ({}, "20min", None)
    assert clock.from_iso(found["startedAt"]) <= clock.utcnow()


def test_without_the_token_nothing_moves(rig: Running) -> None:
    headers = [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        "Bearer é",
    ]
    for path in ("/trigger/yearly", "/stop/yearly", "/start/yearly", "/reload-config", "/nowhere"):
        for header in headers:
            sent = {} if header is None else {"Authorization": header.encode()}
            answer = requests.post(rig.url + path, headers=sent, timeout=60)
            assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
    assert len(rig.runs("yearly")) == 1
    assert rig.health()["activeTasks"] == [CHECK, "yearly"]


def test_an_empty_token_is_no_token(rig: Running, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token"):
        create_control_app(rig.service, settings_for(tmp_path, VEILLEUR_CRON_TOKEN=""))


def test_every_error_is_json(rig: Running) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for answer, status in (
        (rig.get("/nowhere", headers=headers), 404),
        (rig.get("/trigger/yearly", headers=headers), 405),
        (rig.post("/health"), 405),
        (rig.post("/trigger/a/b"), 404),
    ):
        assert answer.status_code == status
        assert answer.json()["error"]


@pytest.mark.parametrize("verb", ["trigger", "start", "stop"])
def test_an_unknown_task_is_404_and_the_known_ones_are_named(rig: Running, verb: str) -> None:
    answer = rig.post(f"/{verb}/coffee")
    assert answer.status_code == 404
    assert answer.json() == {"error": "Unknown task", "known": [CHECK, "yearly"]}


# Triggers


def test_a_trigger_runs_the_task_now_and_tells_what_it_did(rig: Running) -> None:
    answer = rig.post("/trigger/yearly")
    assert answer.status_code == 200
    assert answer.json() == {
        "taskName": "yearly",
        "success": True,
        "message": "run 1",
        "statistics": {"count": 1},
    }
    row = rig.runs("yearly")[-1]
    assert (row.cause, row.succeeded, row.message, row.statistics) == ("manual", True, "run 1", {"count": 1})
    assert row.finished_at is not None
    assert row.started_at <= row.finished_at


def test_waiting_triggers_share_one_run_that_never_overlaps(rig: Running, counted: Counted) -> None:
    counted.go.clear()
    answers: list[Any] = []
    calls = [
        threading.Thread(target=lambda: answers.append(rig.post("/trigger/yearly").json()))
        for _each in range(4)
    ]
    calls[0].start()
    assert counted.started.acquire(timeout=60)
    for call in calls[1:]:
        call.start()
    until(lambda: rig.service.calls.count == 4, "four callers")
    assert rig.health()["runningTask"] == "yearly"
    counted.go.set()
    for call in calls:
        call.join(60)
    assert sorted(answer["message"] for answer in answers) == ["run 1", "run 2", "run 2", "run 2"]
    assert (counted.count, counted.most_at_once) == (2, 1)


def test_too_many_waiting_calls_are_turned_away_and_health_still_answers(
    rig: Running, counted: Counted
) -> None:
    counted.go.clear()
    calls = [threading.Thread(target=rig.post, args=("/trigger/yearly",)) for _each in range(CALLERS)]
    for call in calls:
        call.start()
    until(lambda: rig.service.calls.count == CALLERS, "all callers")
    answer = rig.post("/trigger/yearly")
    assert answer.status_code == 503
    assert "Too many" in answer.json()["error"]
    assert rig.get("/health").status_code == 200
    counted.go.set()
    for call in calls:
        call.join(60)


def test_a_failing_task_is_recorded_and_the_others_go_on(tmp_path: Path, counted: Counted) -> None:
    failing = Counted(fails=True)
    with running(tmp_path, {"bad": Task(failing, NEVER), "good": Task(counted, NEVER)}) as rig:
        until(lambda: len(rig.runs("good")) == 1, "the catch-up after the failure")
        answer = rig.post("/trigger/bad")
        assert answer.status_code == 500
        message = "ZeroDivisionError: split by nothing"
        assert answer.json() == {"taskName": "bad", "success": False, "message": message}
        assert rig.health()["errors"] == {"bad": message}
        assert [row.succeeded for row in rig.runs("bad")] == [False, False]
        assert rig.post("/trigger/good").status_code == 200
        failing.fails = False
        assert rig.post("/trigger/bad").status_code == 200
        assert rig.health()["errors"] == {}


def test_a_run_that_cannot_be_recorded_does_not_end_the_loop(rig: Running, counted: Counted) -> None:
    with rig.database.writing() as session:
        session.connection().exec_driver_sql("DROP TABLE task_run")
    assert rig.post("/trigger/yearly").status_code == 200
    assert rig.post("/trigger/yearly").json()["message"] == "run 2"
    assert rig.health()["isRunning"]


def test_the_real_check_counts_what_it_found_and_sent(tmp_path: Path) -> None:
    with running(tmp_path, TASKS) as rig:
        until(lambda: len(rig.health()["lastRunTimes"]) == len(TASKS), "all tasks")
        answer = rig.post(f"/trigger/{CHECK}").json()
        assert answer["success"] is True
        assert answer["statistics"] == {
            "totalBackupConfigs": 0,
            "checkedBackups": 0,
            "overdueBackupsFound": 0,
            "notificationsSent": 0,
        }


def test_the_cleanups_delete_by_the_settings(tmp_path: Path) -> None:
    with running(tmp_path, TASKS, VEILLEUR_AUDIT_RETENTION_DAYS="3") as rig:
        until(lambda: len(rig.health()["lastRunTimes"]) == len(TASKS), "all tasks")
        for days in (2, 4):
            moment = clock.utcnow() - timedelta(days=days)
            write(
                rig.database, AuditEntry(happened_at=moment, actor="a", action="b", target="c", address="-")
            )
        answer = rig.post("/trigger/audit-log-cleanup").json()
        assert answer["message"] == "Deleted 1 entries of the audit log older than 3 days"
        assert rig.post("/trigger/retention-cleanup").json()["success"] is True


def test_a_task_beside_the_loop_holds_up_no_other(tmp_path: Path, counted: Counted) -> None:
    began, may_end = threading.Event(), threading.Event()

    def long(_context: TaskContext) -> TaskResult:
        assert not (began.is_set() and not may_end.is_set()), "never twice at once"
        began.set()
        assert may_end.wait(60)
        return TaskResult("done at last")

    tasks = {"long": Task(long, "0 0 1 1 *", beside=True), "quick": Task(counted, "0 0 1 1 *")}
    with running(tmp_path, tasks, VEILLEUR_WATCHDOG_SECONDS="60") as rig, ThreadPoolExecutor(2) as callers:
        assert began.wait(60), "caught up at the start"
        joined = [callers.submit(rig.post, "/trigger/long") for _ in range(2)]
        assert rig.post("/trigger/quick").json()["success"] is True
        assert rig.health()["runningTask"] == "long"
        may_end.set()
        assert {each.result().json()["message"] for each in joined} == {"done at last"}


def test_a_stop_ends_a_task_beside_the_loop_early(tmp_path: Path) -> None:
    def endless(context: TaskContext) -> TaskResult:
        until(lambda: not context.may_go_on(), "the stop", seconds=60)
        raise RuntimeError("stopped before it was done")

    with running(tmp_path, {"long": Task(endless, "0 0 1 1 *", beside=True)}) as rig:
        until(lambda: rig.health()["runningTask"] == "long", "the task")
    assert [row.message for row in rig.runs()] == ["RuntimeError: stopped before it was done"]
    rig.database.dispose()


# Stop and start


def test_a_stopped_task_leaves_the_schedule_until_it_is_started(rig: Running) -> None:
    assert rig.post("/stop/yearly").json() == {"message": "Task yearly stopped"}
    assert rig.health()["activeTasks"] == [CHECK]
    assert "yearly" not in rig.health()["nextRunTimes"]
    for _twice in range(2):
        assert rig.post("/start/yearly").json() == {"message": "Task yearly started"}
    assert rig.health()["activeTasks"] == [CHECK, "yearly"]
    assert len(rig.service._scheduler.get_jobs("yearly")) == 1


def test_a_reload_does_not_start_what_was_stopped(rig: Running) -> None:
    rig.post(f"/stop/{CHECK}")
    rig.save("5min")
    rig.post("/reload-config")
    assert rig.health()["activeTasks"] == ["yearly"]
    rig.post(f"/start/{CHECK}")
    assert rig.health()["nextRunTimes"][CHECK][15] in "05"


# The configured interval


def test_a_reload_puts_the_saved_interval_in_force(rig: Running) -> None:
    rig.save("2hours")
    assert rig.post("/reload-config").json() == {"message": "Configuration reloaded successfully"}
    found = rig.health()
    assert found["interval"] == "2hours"
    next_run = clock.from_iso(found["nextRunTimes"][CHECK])
    assert (next_run.hour % 2, next_run.minute, next_run.second) == (0, 0, 0)


def test_a_changed_file_is_noticed_without_a_reload(rig: Running) -> None:
    rig.save("30min")
    until(lambda: rig.health()["interval"] == "30min", "the changed file")


def test_disabled_takes_the_check_off_the_schedule_and_refuses_to_start_it(rig: Running) -> None:
    rig.save("disabled")
    rig.post("/reload-config")
    assert rig.health()["activeTasks"] == ["yearly"]
    answer = rig.post(f"/start/{CHECK}")
    assert answer.status_code == 409
    assert "disabled" in answer.json()["error"]
    assert rig.post(f"/trigger/{CHECK}").status_code == 200
    rig.save("1min")
    rig.post("/reload-config")
    assert rig.health()["activeTasks"] == [CHECK, "yearly"]


def test_a_damaged_file_keeps_the_old_schedule_and_is_told_once(
    rig: Running, caplog: pytest.LogCaptureFixture
) -> None:
    rig.save("2hours")
    rig.post("/reload-config")
    before = rig.health()
    with caplog.at_level(logging.ERROR, "app.cron.service"):
        (tmp := rig.folder / "broken").write_text('{"interval": "7min"}')
        tmp.replace(rig.folder / FILE_NAME)
        until(lambda: "config" in rig.health()["errors"], "the error")
        answer = rig.post("/reload-config")
        rig.post("/stop/yearly")  # the loop has come round once more
    assert answer.status_code == 500
    assert "can't be used" in answer.json()["error"]
    assert rig.health()["nextRunTimes"][CHECK] == before["nextRunTimes"][CHECK]
    assert len([each for each in caplog.records if each.name == "app.cron.service"]) == 1
    rig.save("2hours")
    until(lambda: "config" not in rig.health()["errors"], "the end of the error")


def test_a_file_damaged_from_the_start_leaves_the_default_in_force_and_says_so(
    tmp_path: Path, counted: Counted
) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with running(tmp_path, {CHECK: Task(counted, None)}) as rig:
        found = until(lambda: rig.health()["activeTasks"] and rig.health(), "the schedule")
        assert "config" in found["errors"]
        assert rig.post("/reload-config").status_code == 500


# Time


def test_scheduled_runs_fire_on_their_minute(tmp_path: Path, counted: Counted) -> None:
    past_run(tmp_path, CHECK, NOON)
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        until(lambda: rig.health()["nextRunTimes"].get(CHECK) == "2026-11-23T12:20:00Z", "the first plan")
        traveller.move_to(NOON.replace(minute=20, second=1))
        until(lambda: rig.health()["nextRunTimes"][CHECK] == "2026-11-23T12:40:00Z", "the next plan")
        assert rig.health()["lastRunTimes"] == {CHECK: "2026-11-23T12:20:01Z"}
        traveller.move_to(NOON.replace(hour=18))
        until(
            lambda: rig.health()["nextRunTimes"][CHECK] == "2026-11-23T18:20:00Z", "the plan after a suspend"
        )
        assert [row.cause for row in rig.runs()] == ["schedule"] * 3
        assert counted.count == 2


@pytest.mark.parametrize(
    ("last", "caught_up"),
    [("12:00:00", False), ("12:07:00", False), ("11:59:59", True), (None, True)],
)
def test_a_missed_run_is_caught_up_once_at_start(
    tmp_path: Path, counted: Counted, last: str | None, caught_up: bool
) -> None:
    if last:
        past_run(tmp_path, CHECK, clock.from_iso(f"2026-11-23T{last}Z"))
    with time_machine.travel(NOON, tick=False), running(tmp_path, {CHECK: Task(counted, None)}) as rig:
        until(lambda: rig.health()["nextRunTimes"], "the schedule")
        rig.post("/reload-config")  # answered after the catch-up
        assert counted.count == int(caught_up)
        assert [row.cause for row in rig.runs()][bool(last) :] == ["catch-up"] * caught_up


def test_a_run_that_was_cut_off_is_caught_up(tmp_path: Path, counted: Counted) -> None:
    past_run(tmp_path, CHECK, NOON.replace(minute=0), finished_at=None, succeeded=None)
    with time_machine.travel(NOON, tick=False), running(tmp_path, {CHECK: Task(counted, None)}):
        until(lambda: counted.count == 1, "the catch-up")


def test_a_disabled_check_is_not_caught_up(tmp_path: Path, counted: Counted) -> None:
    interval.save(tmp_path / FILE_NAME, "disabled", updated_by="test", now=NOON)
    with running(tmp_path, {CHECK: Task(counted, None)}) as rig:
        rig.post("/reload-config")
        assert (counted.count, rig.health()["activeTasks"]) == (0, [])


def test_last_runs_and_errors_survive_a_restart(tmp_path: Path, counted: Counted) -> None:
    now = clock.utcnow().replace(microsecond=0)
    past_run(tmp_path, "good", now)
    past_run(tmp_path, "bad", now - timedelta(days=500))
    past_run(tmp_path, "bad", now, succeeded=False, message="it broke")
    with running(tmp_path, {"good": Task(counted, NEVER), "bad": Task(counted, NEVER)}) as rig:
        found = until(lambda: rig.health()["activeTasks"] and rig.health(), "the schedule")
        assert found["lastRunTimes"] == {"good": clock.iso(now), "bad": clock.iso(now)}
        assert found["errors"] == {"bad": "it broke"}
        assert counted.count == 0


# The loop's end


def test_a_stuck_loop_is_told_by_health(tmp_path: Path, counted: Counted) -> None:
    counted.go.clear()
    with running(tmp_path, {"slow": Task(counted, NEVER)}, VEILLEUR_WATCHDOG_SECONDS="2") as rig:
        until(lambda: rig.get("/health").status_code == 503, "503")
        assert rig.health()["isRunning"] is False
        assert rig.health()["runningTask"] == "slow"
        busy = rig.post("/stop/slow")
        assert busy.status_code == 503
        assert "busy" in busy.json()["error"]
        counted.go.set()
        until(lambda: rig.get("/health").status_code == 200, "health again")


def test_a_loop_that_dies_is_logged_and_has_an_exit_code_of_its_own(
    rig: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with Watchdog(rig.service.status, 60) as watchdog:
        raise ZeroDivisionError("in the loop")
    assert watchdog.exit_code == DEAD == 71
    assert "died" in caplog.text
    with Watchdog(rig.service.status, 60) as watchdog:
        pass
    assert watchdog.exit_code == 0


PROGRAM = """
import sys, time
from pathlib import Path
from app import schema
from app.cron import serve
from app.cron.tasks import Task, TaskResult
from tests.test_cron_service import application, settings_for

folder = Path(sys.argv[1])
settings = settings_for(folder, CRON_PORT=sys.argv[2], VEILLEUR_WATCHDOG_SECONDS=sys.argv[3])
schema.upgrade(settings.database_url)

def slow(context):
    (folder / "began").touch()
    while not (folder / "may-end").exists():
        time.sleep(0.01)
    (folder / "ended").touch()
    return TaskResult("done")

class Broken:
    cron = None
    def run(self, context):
        raise SystemExit("not even this ends it quietly")

tasks = {"slow": Task(slow, "0 0 1 1 *")}
if sys.argv[4:]:
    tasks = {"broken": Broken()}
sys.exit(serve(application(settings), settings, tasks))
"""


@contextmanager
def process(folder: Path, port: int, *, watchdog: int = 300, extra: str = "") -> Iterator[Any]:
    """A service whose task goes on until there is a file that lets it end."""
    arguments = [sys.executable, "-c", PROGRAM, str(folder), str(port), str(watchdog)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT)])}
    child = subprocess.Popen(
        arguments + [extra] * bool(extra), cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_task_finish(tmp_path: Path, number: signal.Signals) -> None:
    port = unused_port()
    with process(tmp_path, port) as child:
        until((tmp_path / "began").exists, "the task", seconds=60)
        child.send_signal(number)
        (tmp_path / "may-end").touch()
        assert child.wait(60) == 0
        assert (tmp_path / "ended").exists()
    database = Database(settings_for(tmp_path).database_url)
    with database.reading() as session:
        assert [row.succeeded for row in session.scalars(select(TaskRun))] == [True]
    database.dispose()


def test_a_caller_gets_its_answer_although_the_service_is_told_to_stop(tmp_path: Path) -> None:
    port = unused_port()
    past_run(tmp_path, "slow", clock.utcnow())
    with process(tmp_path, port) as child:
        until(lambda: answers(port), "the service", seconds=60)
        found: list[requests.Response] = []
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{port}/trigger/slow"
        call = threading.Thread(target=lambda: found.append(requests.post(url, headers=headers, timeout=60)))
        call.start()
        until((tmp_path / "began").exists, "the task")
        child.terminate()
        (tmp_path / "may-end").touch()
        call.join(60)
        assert found[0].json()["message"] == "done"
        assert child.wait(60) == 0


def test_an_idle_service_ends_at_once(tmp_path: Path) -> None:
    port = unused_port()
    past_run(tmp_path, "slow", clock.utcnow())
    with process(tmp_path, port) as child:
        until(lambda: answers(port), "the service", seconds=60)
        child.terminate()
        assert child.wait(60) == 0


def test_a_second_service_on_the_port_says_so_in_one_line(tmp_path: Path, rig: Running) -> None:
    port = int(rig.url.rpartition(":")[2])
    with process(tmp_path, port) as child:
        _output, told = child.communicate(timeout=60)
        assert child.returncode == 1
        assert told == f"cron service: 127.0.0.1:{port} is taken; is another one running?\n"


def test_a_service_stuck_for_too_long_ends_itself(tmp_path: Path) -> None:
    with process(tmp_path, unused_port(), watchdog=2) as child:
        _output, told = child.communicate(timeout=60)
        assert child.returncode == 70
        assert "silent" in told


def test_a_loop_that_dies_takes_the_process_with_it(tmp_path: Path) -> None:
    with process(tmp_path, unused_port(), extra="broken") as child:
        _output, told = child.communicate(timeout=60)
        assert child.returncode == 71
        assert "the loop of the cron service died" in told


def test_a_loop_whose_deliveries_have_stopped_ends_rather_than_look_well(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    schema.upgrade(settings.database_url)
    app = application(settings)
    courier = Courier(app, app.extensions[EXTENSION], settings, clock.utcnow)
    courier.start()
    courier.stop()
    with pytest.raises(RuntimeError, match="deliveries have stopped"):
        CronService(app, settings, {}, courier).run()
    app.extensions[EXTENSION].dispose()
    app.extensions[EXTENSION].dispose()
