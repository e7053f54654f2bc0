"""The sign of life that Veilleur gives after each check: to a real receiver, and never in the check's way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import time_machine

from app import clock
from app.cron import heartbeat
from app.cron.heartbeat import Heartbeat, fail_url
from app.cron.tasks import CHECK, Task
from app.settings import SettingError, load
from tests.conftest import CHECKOUT, unused_port
from tests.receivers import HttpReceiver, hang, redirect, refused_port, status
from tests.test_cron_service import NEVER, NOON, Counted, Running, past_run, running, until

SECRET = "8f9f2a7c-5d1e-4c0b"
PATH = f"/ping/{SECRET}"


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "PAUSE_SECONDS", 0.05)


@contextmanager
def beating(url: str) -> Iterator[Heartbeat]:
    made = Heartbeat(url)
    yield made
    made.stop(60)


def called(receiver: HttpReceiver) -> list[str]:
    return [f"{each.method} {each.path}" for each in receiver.requests]


def outcome(made: Heartbeat) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: (shown := made.shown()) and shown["lastAt"] and shown, "an outcome")
    return found


def test_a_completed_check_is_told_with_a_plain_get(receiver: HttpReceiver) -> None:
    with beating(receiver.url + PATH) as made:
        assert made.shown() == {"lastAt": None, "ok": None, "detail": ""}
        made.tell(succeeded=True)
        found = outcome(made)
    [request] = receiver.requests
    assert (request.method, request.path, request.body) == ("GET", PATH, b"")
    assert request.headers["User-Agent"] == "Veilleur"
    assert (found["ok"], found["detail"]) == (True, "check completed")
    assert clock.from_iso(found["lastAt"]) <= clock.utcnow()


def test_a_failed_check_is_told_at_the_address_for_failures(receiver: HttpReceiver) -> None:
    with beating(f"{receiver.url}{PATH}?rid=7") as made:
        made.tell(succeeded=False)
        found = outcome(made)
    assert called(receiver) == [f"GET {PATH}/fail?rid=7"]
    assert (found["ok"], found["detail"]) == (True, "failed check reported")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hc.example/u", "https://hc.example/u/fail"),
        ("https://hc.example/u/", "https://hc.example/u/fail"),
        ("https://hc.example", "https://hc.example/fail"),
        ("https://u:p@hc.example:8/a/b?status=up&msg=OK&ping=", None),
    ],
)
def test_the_address_for_failures_keeps_the_query(url: str, expected: str | None) -> None:
    assert fail_url(url) == (expected or "https://u:p@hc.example:8/a/b/fail?status=up&msg=OK&ping=")


def test_without_an_address_nobody_is_called() -> None:
    with beating("") as made:
        made.tell(succeeded=True)
        assert made.shown() is None
        assert made._thread is None


def test_a_call_that_fails_is_repeated_once(receiver: HttpReceiver) -> None:
    receiver.queue = [status(503)]
    with beating(receiver.url + PATH) as made:
        made.tell(succeeded=True)
        assert outcome(made)["ok"] is True
        assert called(receiver) == [f"GET {PATH}"] * 2
        receiver.behaviour = status(503)
        made.tell(succeeded=True)
        until(lambda: made.shown()["ok"] is False, "the failure")  # type: ignore[index]
    assert len(receiver.requests) == 4


def test_nothing_that_could_answer_in_our_place_is_shown_or_logged(
    receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.behaviour = status(404, f"Cannot GET {PATH}?token=abc".encode())
    with beating(f"{receiver.url}{PATH}?token=abc") as made:
        made.tell(succeeded=True)
        found = outcome(made)
    assert (found["ok"], found["detail"]) == (False, "answered 404")
    assert "the heartbeat to 127.0.0.1 failed: answered 404" in caplog.text
    assert SECRET not in caplog.text
    assert "abc" not in caplog.text


@pytest.mark.parametrize(
    "place", ["127.0.0.1:99999", "127.0.0.1:0", "[", "exa mple", "", "exam\\ple", "exa\x07mple"]
)
def test_an_address_that_can_not_be_called_stops_the_start_without_being_told(place: str) -> None:
    with pytest.raises(SettingError, match="VEILLEUR_HEARTBEAT_URL") as refusal:
        load({"VEILLEUR_HEARTBEAT_URL": f"http://{place}{PATH}"})
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("host", ["exa$mple"])
def test_an_address_that_turns_out_wrong_is_told_without_its_secret(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with beating(f"http://{host}/{{{SECRET}}}?{SECRET}") as made:
        made.tell(succeeded=True)
        found = outcome(made)
    assert found["ok"] is False
    assert SECRET not in found["detail"] + caplog.text


def test_a_redirect_is_not_followed(receiver: HttpReceiver) -> None:
    with HttpReceiver() as elsewhere:
        receiver.behaviour = redirect(f"{elsewhere.url}/stolen/{SECRET}")
        with beating(receiver.url + PATH) as made:
            made.tell(succeeded=True)
            assert outcome(made)["detail"] == "answered 302"
        assert elsewhere.requests == []


def test_proxies_of_the_environment_are_not_asked(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpReceiver() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with beating(receiver.url + PATH) as made:
            made.tell(succeeded=True)
            assert outcome(made)["ok"] is True
        assert proxy.requests == []


def test_a_receiver_that_is_down_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.cron.heartbeat")
    with refused_port() as port, beating(f"http://127.0.0.1:{port}{PATH}") as made:
        for _thrice in range(3):
            made._last_at = None
            made.tell(succeeded=True)
            assert outcome(made) | {"lastAt": ""} == {
                "lastAt": "",
                "ok": False,
                "detail": "refused the connection",
            }
        with HttpReceiver() as back:
            made._url, made._last_at = back.url, None
            made.tell(succeeded=True)
            assert outcome(made)["ok"] is True
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]


def test_of_what_waits_behind_a_hanging_call_only_the_newest_is_told(receiver: HttpReceiver) -> None:
    receiver.queue = [hang()]
    with beating(receiver.url + PATH) as made:
        made.tell(succeeded=True)
        until(lambda: receiver.requests, "the first call")
        for _each in range(50):
            made.tell(succeeded=True)
        made.tell(succeeded=False)
        receiver.release()
        until(lambda: len(receiver.requests) == 2, "the newest")
    assert called(receiver) == [f"GET {PATH}", f"GET {PATH}/fail"]


def test_a_receiver_that_hangs_is_left_at_the_deadline(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "CALL_SECONDS", 0.2)
    receiver.behaviour = hang()
    with beating(receiver.url + PATH) as made:
        made.tell(succeeded=True)
        assert outcome(made)["detail"] == "did not answer within 0.2 s"


def test_a_thread_that_died_is_replaced(receiver: HttpReceiver) -> None:
    with beating(receiver.url + PATH) as made:
        made.stop(5)
        made._is_stopping = False
        made.tell(succeeded=True)
        assert outcome(made)["ok"] is True


# In the cron service


@contextmanager
def serving(folder: Path, url: str, task: Counted, other: Counted | None = None) -> Iterator[Running]:
    tasks = {CHECK: Task(task, None), "yearly": Task(other or task, NEVER)}
    # Minutes before the next run is due: no test is surprised by one.
    with time_machine.travel(NOON):
        past_run(folder, CHECK, NOON)
        past_run(folder, "yearly", NOON)
        with running(folder, tasks, VEILLEUR_HEARTBEAT_URL=url) as rig:
            until(lambda: rig.health()["activeTasks"], "the schedule")
            yield rig


def told(rig: Running) -> dict[str, Any]:
    found: dict[str, Any] = (
        until(lambda: rig.health()["heartbeat"]["lastAt"], "the heartbeat") and rig.health()
    )
    heard: dict[str, Any] = found["heartbeat"]
    return heard


def test_the_service_tells_each_completed_check_and_no_other_task(
    tmp_path: Path, receiver: HttpReceiver
) -> None:
    with serving(tmp_path, receiver.url + PATH, Counted()) as rig:
        assert rig.health()["heartbeat"] == {"lastAt": None, "ok": None, "detail": ""}
        assert rig.post("/trigger/yearly").status_code == 200
        assert rig.post(f"/trigger/{CHECK}").status_code == 200
        assert told(rig)["ok"] is True
        assert SECRET not in rig.get("/health").text
    assert called(receiver) == [f"GET {PATH}"]


def test_the_service_tells_a_failed_check_as_such(tmp_path: Path, receiver: HttpReceiver) -> None:
    with serving(tmp_path, receiver.url + PATH, Counted(fails=True)) as rig:
        assert rig.post(f"/trigger/{CHECK}").status_code == 500
        assert told(rig)["detail"] == "failed check reported"
    assert called(receiver) == [f"GET {PATH}/fail"]


def test_without_a_setting_health_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, "", Counted()) as rig:
        assert rig.health()["heartbeat"] is None


def test_a_hanging_receiver_holds_up_neither_checks_nor_the_end(
    tmp_path: Path, receiver: HttpReceiver
) -> None:
    receiver.behaviour = hang()
    task = Counted()
    with serving(tmp_path, receiver.url + PATH, task) as rig:
        for _each in range(5):
            assert rig.post(f"/trigger/{CHECK}").status_code == 200
        assert task.count == 5
        until(lambda: receiver.requests, "the call")
        assert rig.get("/health").status_code == 200
    # Stopped while it hung: `running` has seen the loop end within seconds.
    assert len(receiver.requests) == 1


PROGRAM = """
import sys, time
from pathlib import Path
from app import schema
from app.cron import serve
from app.cron.tasks import CHECK, Task, TaskResult
from tests.test_cron_service import application, settings_for

folder = Path(sys.argv[1])
settings = settings_for(folder, CRON_PORT=sys.argv[2], VEILLEUR_HEARTBEAT_URL=sys.argv[3])
schema.upgrade(settings.database_url)

def check(context):
    if not (folder / "second").exists():
        (folder / "began").touch()
        time.sleep(120)
    return TaskResult("done")

sys.exit(serve(application(settings), settings, {CHECK: Task(check, None)}))
"""


def test_a_check_that_was_killed_is_not_told_and_the_next_one_is(
    tmp_path: Path, receiver: HttpReceiver
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(unused_port()), receiver.url + PATH]
    first = subprocess.Popen(command, cwd=CHECKOUT, env=environment)
    try:
        until((tmp_path / "began").exists, "the check", seconds=60)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(30)
    assert receiver.requests == []
    (tmp_path / "second").touch()
    second = subprocess.Popen(command, cwd=CHECKOUT, env=environment)
    try:
        until(lambda: receiver.requests, "the call after the catch-up", seconds=60)
        second.terminate()
        assert second.wait(60) == 0
    finally:
        second.kill()
        second.wait(30)
    assert called(receiver) == [f"GET {PATH}"]
