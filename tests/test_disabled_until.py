"""A disabled time with an end: told loudly while it lasts, over by itself when the time has come."""

from __future__ import annotations

import fcntl
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import select

from app import audit, interval
from app.cron import resumption
from app.cron.tasks import CHECK, TASKS, Task
from app.db import Database
from app.interval import CronConfig, EndRefused, IntervalFileDamaged, Reader, read, resuming, save
from app.models import Alert, AuditEntry
from tests import databases
from tests.stage import backup_body, send
from tests.test_cron_service import Counted, Running, past_run, running, until
from tests.web import LoggedIn, Site, site

NOON = datetime(2026, 12, 1, 12, 7, 30, tzinfo=UTC)
END = datetime(2026, 12, 1, 18, tzinfo=UTC)
LAST_SECOND = END - timedelta(seconds=1)
URL = "/api/cron-config"
PAGE = "/settings/monitoring"
WRITTEN = {
    "interval": "disabled",
    "updatedAt": "2026-12-01T12:07:30Z",
    "updatedBy": "admin",
    "disabledUntil": "2026-12-01T18:00:00Z",
    "resumeInterval": "5min",
}
# In the same second as the save before it, and later than that.
WRITTEN_NEXT = WRITTEN | {"updatedAt": "2026-12-01T12:07:30.000001Z"}
RESUMED = {"interval": "5min", "updatedAt": "2026-12-01T18:00:00Z", "updatedBy": "veilleur"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / interval.FILE_NAME


def disable(path: Path, until_at: datetime | None = END, now: datetime = NOON) -> CronConfig:
    return save(path, "disabled", updated_by="admin", now=now, disabled_until=until_at)


def disabled_at_noon(path: Path) -> None:
    save(path, "5min", updated_by="admin", now=NOON - timedelta(minutes=1))
    disable(path)


def resume(path: Path, now: datetime) -> tuple[CronConfig, CronConfig] | None:
    with resuming(path, now) as changed:
        return changed


def content(path: Path) -> Any:
    return json.loads(path.read_text())


# The file


def test_the_file_has_the_end_and_the_interval_of_afterwards(path: Path) -> None:
    disabled_at_noon(path)
    assert content(path) == WRITTEN


def test_when_the_time_has_come_the_interval_is_in_force_though_nobody_writes_it(path: Path) -> None:
    disabled_at_noon(path)
    reader = Reader(path)
    before = path.read_bytes()
    with time_machine.travel(LAST_SECOND, tick=False):
        assert (read(path).interval, reader.read().enabled) == ("disabled", False)
    with time_machine.travel(END, tick=False):
        assert read(path) == reader.read()
        assert (read(path).cron_expression, read(path).updated_by) == ("*/5 * * * *", "veilleur")
        assert read(path).in_force_at == END
    assert path.read_bytes() == before


def test_the_end_is_written_down_once(path: Path) -> None:
    disabled_at_noon(path)
    assert resume(path, LAST_SECOND) is None
    changed = resume(path, END)
    assert changed is not None
    assert [each.in_words for each in changed] == ["disabled until 2026-12-01T18:00:00Z", "5min"]
    assert content(path) == RESUMED
    assert resume(path, END) is None


def test_a_new_end_keeps_the_interval_of_afterwards(path: Path) -> None:
    disabled_at_noon(path)
    assert disable(path, END + timedelta(days=1)).in_words == "disabled until 2026-12-01T18:00:00Z"
    assert content(path)["resumeInterval"] == "5min"
    disable(path, None)
    assert set(content(path)) == {"interval", "updatedAt", "updatedBy"}


def test_disabled_again_after_the_end_goes_back_to_the_interval_that_was_in_force(path: Path) -> None:
    disabled_at_noon(path)
    assert disable(path, END + timedelta(days=1), now=END).interval == "5min"
    assert content(path)["resumeInterval"] == "5min"


def test_after_a_disabled_time_without_an_end_the_default_comes_back(path: Path) -> None:
    disable(path, None)
    disable(path)
    assert content(path)["resumeInterval"] == "20min"


@pytest.mark.parametrize("value", [each for each in interval.CRON_EXPRESSIONS if each != "disabled"])
def test_only_disabled_can_have_an_end(path: Path, value: str) -> None:
    with pytest.raises(EndRefused, match="only disabled"):
        save(path, value, updated_by="admin", now=NOON, disabled_until=END)
    assert not path.exists()


DAMAGED: dict[str, dict[str, object]] = {
    "no time": {"disabledUntil": "tomorrow"},
    "no zone": {"disabledUntil": "2026-12-01T18:00:00"},
    "a number": {"disabledUntil": 1796148000},
    "a list": {"disabledUntil": ["2026-12-01T18:00:00Z"]},
    "before the calendar": {"disabledUntil": "0001-01-01T00:00:00+14:00"},
    "after the calendar": {"disabledUntil": "9999-12-31T23:59:59Z"},
    "no interval of afterwards": {"resumeInterval": None},
    "disabled afterwards": {"resumeInterval": "disabled"},
    "an unknown one": {"resumeInterval": "7min"},
    "one of another type": {"resumeInterval": ["5min"]},
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_end_is_an_error_and_never_a_guess(path: Path, change: dict[str, object]) -> None:
    path.write_text(json.dumps(WRITTEN | change))
    with pytest.raises(IntervalFileDamaged):
        read(path)
    with pytest.raises(IntervalFileDamaged):
        resume(path, END)


def test_an_end_beside_another_interval_means_nothing(path: Path) -> None:
    path.write_text(json.dumps(WRITTEN | {"interval": "1hour"}))
    assert read(path).interval == "1hour"
    path.write_text(json.dumps(WRITTEN | {"disabledUntil": None}))
    with time_machine.travel(END, tick=False):
        assert read(path).interval == "disabled"


# The API and the page


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def admin(here: Site) -> Iterator[LoggedIn]:
    with time_machine.travel(NOON, tick=False):
        yield here.administrator()


def test_the_api_takes_an_end_and_answers_exactly_as_ever(here: Site, admin: LoggedIn) -> None:
    admin.post(URL, json={"interval": "5min"})
    answer = admin.post(URL, json={"interval": "disabled", "until": "2026-12-01T18:00Z"})
    assert (answer.status_code, answer.json) == (200, {"success": True})
    assert content(here.interval_file) == WRITTEN_NEXT
    assert here.stranger().get(URL).json == {"cronExpression": "0 0 1 1 0", "enabled": False}
    health = here.stranger().get("/api/health").json
    assert (health["cron"], health["disabledUntil"]) == ("disabled", "2026-12-01T18:00:00Z")
    with time_machine.travel(END, tick=False):
        assert here.stranger().get(URL).json == {"cronExpression": "*/5 * * * *", "enabled": True}
        assert "disabledUntil" not in here.stranger().get("/api/health").json
    entry = here.audit("interval changed")[-1]
    assert (entry.before, entry.after) == ("5min", "disabled until 2026-12-01T18:00:00Z")


def test_an_end_may_stand_in_any_zone(here: Site, admin: LoggedIn) -> None:
    admin.post(URL, json={"interval": "disabled", "until": "2026-12-01T19:00:00.9+01:00"})
    assert content(here.interval_file)["disabledUntil"] == "2026-12-01T18:00:00Z"
    assert admin.post(URL, json={"interval": "1hour", "until": None}).json == {"success": True}


@pytest.mark.parametrize(
    "body",
    [
        {"interval": "disabled", "until": value}
        for value in (
            "",
            "tomorrow",
            "2026-12-01T18:00",
            "2026-12-01T12:07:30Z",
            "2026-12-01T12:07:30.9Z",
            "2020-01-01T00:00Z",
            "2028-01-01T00:00Z",
            "9999-12-31T23:59-12:00",
            "0001-01-01T00:00+14:00",
            1796148000,
            ["2026-12-01T18:00Z"],
            {},
            True,
            "2026-12-01T18:00Z\ud800",
        )
    ]
    + [{"interval": "5min", "until": "2026-12-01T18:00Z"}],
    ids=lambda body: str(body["until"]).encode("ascii", "replace").decode(),
)
def test_an_end_that_can_not_be_is_refused_and_named(
    here: Site, admin: LoggedIn, body: dict[str, object]
) -> None:
    answer = admin.post(URL, json=body)
    assert answer.status_code == 400
    assert (answer.json["error"], answer.json["field"]) == ("Invalid until", "until")
    assert not here.interval_file.exists()


def test_what_is_wrong_with_the_interval_is_told_first(admin: LoggedIn) -> None:
    answer = admin.post(URL, json={"interval": "7min", "until": "tomorrow"})
    assert answer.json["error"] == "Invalid interval"


def test_every_page_says_so_until_it_is_over(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_TIMEZONE="Europe/Paris") as here:
        with time_machine.travel(NOON, tick=False):
            admin, viewer = here.administrator(), here.viewer()
            admin.post(URL, json={"interval": "5min"})
            form = {"interval": "disabled", "until": "2026-12-01T19:00", "csrf_token": admin.token}
            assert admin.client.post(PAGE, data=form).status_code == 302
            assert content(here.interval_file) == WRITTEN_NEXT
            for path in ("/", PAGE, "/quarantine", "/logout"):
                page = admin.get(path).text
                assert page.count("Monitoring is disabled.") == 1, path
                assert "until Tue 1 Dec 2026, 19:00. From then on again: Every 5 minutes." in page
            assert "Monitoring is disabled." in viewer.get("/").text
            assert 'value="2026-12-01T19:00"' in admin.get(PAGE).text
            assert "Monitoring is disabled." not in here.stranger().get("/login").text
        with time_machine.travel(END, tick=False):
            for path in ("/", PAGE):
                assert "Monitoring is disabled." not in admin.get(path).text
            assert 'value="2026-12-01T19:00"' not in admin.get(PAGE).text


def test_the_page_refuses_an_end_that_is_over(here: Site, admin: LoggedIn) -> None:
    answer = admin.post(PAGE, data={"interval": "disabled", "until": "2026-12-01T12:00"})
    assert answer.status_code == 400
    assert "this time is over already" in answer.text
    assert admin.post(PAGE, data={"interval": "disabled", "until": "soon"}).status_code == 400
    assert not here.interval_file.exists()


def test_an_end_left_in_the_form_means_nothing_to_another_interval(here: Site, admin: LoggedIn) -> None:
    assert admin.post(PAGE, data={"interval": "1hour", "until": "2026-12-01T18:00"}).status_code == 302
    assert content(here.interval_file)["interval"] == "1hour"


# The command


def run(here: Site, *arguments: str) -> tuple[int, str]:
    result = here.app.test_cli_runner().invoke(args=["interval", *arguments])
    return result.exit_code, result.output


def test_the_command_takes_an_end_and_shows_it(here: Site) -> None:
    with time_machine.travel(NOON, tick=False):
        run(here, "5min")
        code, told = run(here, "disabled", "--until", "2026-12-01T18:00Z")
        assert code == 0
        assert "Check interval: disabled until 2026-12-01T18:00:00Z (was 5min)." in told
        assert "disabled until 2026-12-01T18:00:00Z, then 5min (0 0 1 1 0)" in run(here)[1]
        assert here.audit("interval changed")[-1].after == "disabled until 2026-12-01T18:00:00Z"
    with time_machine.travel(END, tick=False):
        assert "Check interval: 5min (*/5 * * * *), since 2026-12-01T18:00:00Z by veilleur." in run(here)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("disabled", "--until", "2020-01-01T00:00Z"),
        ("disabled", "--until", "2026-12-01T18:00"),
        ("5min", "--until", "2026-12-01T18:00Z"),
        ("--until", "2026-12-01T18:00Z"),
    ],
)
def test_the_command_refuses_an_end_that_can_not_be(here: Site, arguments: tuple[str, ...]) -> None:
    with time_machine.travel(NOON, tick=False):
        code, told = run(here, *arguments)
    assert code == 2
    assert "--until" in told.splitlines()[-1]
    assert not here.interval_file.exists()


# The cron service


def audited(rig: Running) -> list[AuditEntry]:
    with rig.database.reading() as rows:
        return list(rows.scalars(select(AuditEntry)))


def assert_written_down(rig: Running) -> None:
    until(lambda: content(rig.folder / interval.FILE_NAME) == RESUMED, "the file")
    until(lambda: audited(rig), "the audit log")
    [entry] = audited(rig)
    assert (entry.actor, entry.action, entry.before, entry.after) == (
        "veilleur",
        "interval changed",
        "disabled until 2026-12-01T18:00:00Z",
        "5min",
    )


def test_a_running_service_takes_up_its_work_by_itself_and_looks_at_once(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disabled_at_noon(path)
    past_run(tmp_path, CHECK, NOON)
    counted = Counted()
    with (
        caplog.at_level(logging.INFO, "app.cron.service"),
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        until(lambda: rig.health()["interval"] == "disabled", "the file")
        traveller.move_to(LAST_SECOND)
        rig.post("/stop/nothing")
        assert rig.health()["activeTasks"] == []
        traveller.move_to(END)
        until(lambda: rig.health()["interval"] == "5min", "the end")
        assert_written_down(rig)
        until(lambda: rig.health()["nextRunTimes"].get(CHECK) == "2026-12-01T18:05:00Z", "the plan")
        rig.post("/reload-config")  # the loop has come round
        assert [run.cause for run in rig.runs()] == ["schedule", "catch-up"]
        assert counted.count == 1
        traveller.move_to(END + timedelta(minutes=5))
        until(lambda: counted.count == 2, "the next check")
    assert "the interval is disabled until 2026-12-01T18:00:00Z" in caplog.text


@pytest.mark.parametrize("minutes", [0, 3, 500])
def test_a_service_that_was_down_at_the_end_does_so_at_its_start(
    tmp_path: Path, path: Path, minutes: int
) -> None:
    disabled_at_noon(path)
    # A check by hand shortly before, later than the last moment of the interval.
    past_run(tmp_path, CHECK, LAST_SECOND)
    counted = Counted()
    with (
        time_machine.travel(END + timedelta(minutes=minutes), tick=False),
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        assert_written_down(rig)
        rig.post("/reload-config")
        assert counted.count == 1
        assert rig.health()["interval"] == "5min"


def test_an_end_between_two_moments_of_the_interval_is_not_waited_out(tmp_path: Path, path: Path) -> None:
    save(path, "2hours", updated_by="admin", now=NOON)
    disable(path, END + timedelta(minutes=1))
    past_run(tmp_path, CHECK, END + timedelta(seconds=30))
    counted = Counted()
    with (
        time_machine.travel(END + timedelta(minutes=2), tick=False),
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        until(lambda: counted.count == 1, "the check")
        assert rig.health()["nextRunTimes"] in ({}, {CHECK: "2026-12-01T20:00:00Z"})


def test_a_task_that_was_stopped_stays_so(tmp_path: Path, path: Path) -> None:
    disabled_at_noon(path)
    past_run(tmp_path, CHECK, NOON)
    counted = Counted()
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        rig.post(f"/stop/{CHECK}")
        traveller.move_to(END)
        assert_written_down(rig)
        assert (counted.count, rig.health()["activeTasks"]) == (0, [])


def test_a_backup_that_became_overdue_meanwhile_is_told_at_the_end(tmp_path: Path, path: Path) -> None:
    save(path, "2hours", updated_by="admin", now=NOON)
    disable(path, END + timedelta(minutes=1))
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, TASKS) as rig,
    ):
        until(lambda: rig.health()["interval"] == "disabled", "the file")
        send(rig.database, backup_body(NOON - timedelta(hours=24), next_at=NOON + timedelta(hours=1)), NOON)
        traveller.move_to(END)
        rig.post("/reload-config")

        def alerts() -> list[str]:
            with rig.database.reading() as rows:
                return list(rows.scalars(select(Alert.kind)))

        assert alerts() == []
        traveller.move_to(END + timedelta(minutes=1))
        until(lambda: alerts() == ["overdue"], "the alert, long before 20:00")


def test_an_end_that_can_not_be_written_down_is_in_force_all_the_same_and_is_tried_again(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "wait_seconds", 0.5)
    monkeypatch.setattr(resumption, "RETRY_SECONDS", 0.1)
    disabled_at_noon(path)
    past_run(tmp_path, CHECK, NOON)
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(Counted(), None)}) as rig,
    ):
        until(lambda: rig.health()["interval"] == "disabled", "the file")
        with databases.locked(tmp_path):
            traveller.move_to(END)
            until(lambda: "could not be written down" in caplog.text, "the failure")
            assert rig.health()["interval"] == "5min"
            assert content(path) == WRITTEN
        assert_written_down(rig)


def test_the_time_comes_though_the_file_was_damaged_meanwhile(tmp_path: Path, path: Path) -> None:
    disabled_at_noon(path)
    past_run(tmp_path, CHECK, NOON)
    counted = Counted()
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, {CHECK: Task(counted, None)}) as rig,
    ):
        until(lambda: rig.health()["interval"] == "disabled", "the file")
        path.write_bytes(b"{")
        until(lambda: "config" in rig.health()["errors"], "the damage")
        traveller.move_to(END)
        until(lambda: rig.health()["interval"] == "5min" and counted.count == 1, "the end")
        assert path.read_bytes() == b"{"


def test_a_save_at_the_very_end_need_not_wait_for_whoever_writes_that_down(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both take the file before the database, so that neither has what the other one waits for."""
    disabled_at_noon(path)
    waits, lock = threading.Event(), fcntl.flock

    def noting(file: int, operation: int) -> None:
        waits.set()
        lock(file, operation)

    change = interval.wanted("1hour", updated_by="admin", now=END)
    writer = threading.Thread(target=resumption.Resumption(path, database).write_down)
    with time_machine.travel(END, tick=False):
        with interval.replacing(path, [change]):
            monkeypatch.setattr(fcntl, "flock", noting)
            writer.start()
            assert waits.wait(30)
            with database.waiting(0.5).changing() as rows:
                audit.write(rows, actor="admin", action="interval changed", target="-", now=END)
        writer.join(30)
    assert content(path)["interval"] == "1hour"
    with database.reading() as rows:
        assert list(rows.scalars(select(AuditEntry.actor))) == ["admin"]


def test_of_two_services_one_writes_the_end_down(tmp_path: Path, path: Path) -> None:
    disabled_at_noon(path)
    past_run(tmp_path, CHECK, NOON)
    tasks = {CHECK: Task(Counted(), None)}
    with (
        time_machine.travel(NOON, tick=False) as traveller,
        running(tmp_path, tasks) as rig,
        running(tmp_path, tasks) as other,
    ):
        until(lambda: {each.health()["interval"] for each in (rig, other)} == {"disabled"}, "the file")
        traveller.move_to(END)
        until(lambda: {each.health()["interval"] for each in (rig, other)} == {"5min"}, "the end")
        assert_written_down(rig)
        for each in (rig, other):
            each.post("/reload-config")
        assert len(audited(rig)) == 1
