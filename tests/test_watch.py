"""Who watches the watcher: every cause of missing checks ends in a 503 and a banner, on the same minute."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import text

from app import clock, interval
from app.cron.tasks import CHECK, Task
from app.models import TaskRun
from tests import databases
from tests.processes import Process, Veilleur, until
from tests.test_cron_service import Counted, running
from tests.web import Site, site

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
ALLOWED = timedelta(minutes=41)  # two intervals of 20 minutes and one
SECOND = timedelta(seconds=1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def answers(here: Site) -> tuple[int, str]:
    answer = here.stranger().get("/api/health")
    return answer.status_code, answer.json["cron"]


def alarm(here: Site, path: str = "/") -> str:
    """The words of all banners on a page, as an administrator sees it."""
    answer = here.administrator().get(path)
    assert answer.status_code == 200
    found = re.findall(r'<div class="note note-(?:error|warning)".*?</div></div>', answer.text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", each) for each in found)


def checks(here: Site) -> list[TaskRun]:
    with here.database.reading() as rows:
        return list(rows.query(TaskRun).filter_by(task=CHECK).order_by(TaskRun.id))


def assert_it_is_told_in_time(here: Site, completed_at: datetime, words: str) -> None:
    """Quiet until two intervals and a minute after the last completed check, then told everywhere."""
    with time_machine.travel(completed_at + ALLOWED - SECOND, tick=False):
        assert answers(here) == (200, "ok")
        assert "too long ago" not in alarm(here)
    with time_machine.travel(completed_at + ALLOWED + SECOND, tick=False):
        assert answers(here) == (503, "stale")
        assert words in alarm(here)
        for path in ("/", "/settings/monitoring"):
            assert "The last check is too long ago" in alarm(here, path)


def strikes_between_writes(process: Process, number: signal.Signals, here: Site) -> bool:
    """Send the signal; one that was stopped while it held the database is let go again."""
    process.child.send_signal(number)
    try:
        with databases.locked(here.settings.instance_path, wait_seconds=0.5):
            return True
    except databases.NOT_FREE:
        process.child.send_signal(signal.SIGCONT)
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "stuck"])
def test_a_cron_service_that_is_dead_or_stuck_is_told(
    here: Site, tmp_path: Path, number: signal.Signals
) -> None:
    installed = Veilleur(tmp_path)
    with installed.cron() as process:
        until(lambda: any(run.succeeded for run in checks(here)), "the first check")
        until(lambda: strikes_between_writes(process, number, here), "a moment without a transaction")
        try:
            completed_at = checks(here)[-1].finished_at
            assert completed_at is not None
            assert_it_is_told_in_time(here, completed_at, "Is the cron service running?")
        finally:
            process.child.kill()


def test_checks_that_fail_are_a_warning_at_once_and_an_alarm_in_time(here: Site) -> None:
    failing = Counted(fails=True)
    add_run(here, clock.utcnow() - timedelta(minutes=1))
    with running(here.settings.instance_path, {CHECK: Task(failing, None)}) as rig:
        for _each in range(3):
            assert rig.post(f"/trigger/{CHECK}").status_code == 500
        assert answers(here) == (200, "ok")
        assert "The last check failed. ZeroDivisionError: split by nothing" in alarm(here)
        completed_at = next(run.finished_at for run in checks(here) if run.succeeded)
        assert completed_at is not None
        assert_it_is_told_in_time(here, completed_at, "The last check failed. ZeroDivisionError")


_RAISES = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
_REFUSES = "BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END"
FULL_DISK = {
    True: (
        f"CREATE TRIGGER full_disk BEFORE INSERT ON task_run {_RAISES}",
        f"CREATE TRIGGER full_disk_too BEFORE UPDATE ON task_run {_RAISES}",
    ),
    False: (
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {_REFUSES} $$",
        "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON task_run EXECUTE FUNCTION refuse()",
    ),
}


def test_checks_that_can_not_be_recorded_are_told(here: Site) -> None:
    """The database takes nothing more, as on a full disk: what nobody can read back did not complete."""
    with running(here.settings.instance_path, {CHECK: Task(Counted(), None)}) as rig:
        until(lambda: [run for run in checks(here) if run.succeeded], "the first check")
        with here.database.writing() as rows:
            for statement in FULL_DISK[here.database.is_sqlite]:
                rows.execute(text(statement))
        assert rig.post(f"/trigger/{CHECK}").status_code == 200
        [run] = checks(here)
        assert run.finished_at is not None
        assert_it_is_told_in_time(here, run.finished_at, "Is the cron service running?")


def test_a_check_that_hangs_for_ever_is_told(here: Site) -> None:
    held = Counted()
    with running(here.settings.instance_path, {CHECK: Task(held, None)}) as rig:
        until(lambda: [run for run in checks(here) if run.succeeded], "the first check")
        completed_at = checks(here)[-1].finished_at
        assert completed_at is not None
        held.go.clear()
        rig.service.calls.command(lambda: rig.service._run_task(CHECK, "manual"))
        until(lambda: len(checks(here)) == 2, "the second check")
        assert_it_is_told_in_time(here, completed_at, "Is the cron service running?")
        held.go.set()


@pytest.mark.sqlite("a damaged file")
def test_a_database_that_is_damaged_is_told_and_no_page_pretends(here: Site) -> None:
    add_run(here, clock.utcnow())
    admin = here.administrator()
    here.database.dispose()
    for each in here.settings.instance_path.glob("veilleur.db*"):
        each.unlink()
    (here.settings.instance_path / "veilleur.db").write_bytes(b"this is no database at all" * 500)
    assert here.stranger().get("/api/health").json["database"] == "error"
    assert here.stranger().get("/api/health").status_code == 503
    answer = admin.get("/")
    assert answer.status_code == 503
    assert "database" in answer.text


def test_a_damaged_interval_file_is_told_at_once(here: Site) -> None:
    add_run(here, clock.utcnow())
    here.interval_file.write_bytes(b"\0\0")
    assert answers(here) == (503, "configuration damaged")
    assert "The file with the check interval is damaged." in alarm(here)
    assert "is damaged or can't be read" in alarm(here, "/settings/monitoring")


def test_before_the_first_check_both_say_so(here: Site) -> None:
    assert answers(here) == (503, "never ran")
    assert "No check has run yet." in alarm(here)
    add_run(here, clock.utcnow(), succeeded=False, message="OperationalError: disk I/O error")
    assert answers(here) == (503, "never ran")
    assert "The last check failed. OperationalError: disk I/O error" in alarm(here)


@pytest.mark.parametrize("ahead", [timedelta(minutes=42), timedelta(days=4000)])
def test_what_was_written_before_the_clock_was_set_back_hides_no_silence(
    here: Site, ahead: timedelta
) -> None:
    with time_machine.travel(NOON, tick=False):
        interval.save(here.interval_file, "20min", updated_by="test", now=NOON + ahead)
        add_run(here, NOON + ahead)
        assert answers(here) == (503, "stale")
        add_run(here, NOON)
        assert answers(here) == (200, "ok")


def test_a_clock_that_was_corrected_a_little_raises_no_alarm(here: Site) -> None:
    with time_machine.travel(NOON, tick=False):
        add_run(here, NOON + timedelta(minutes=5))
        assert answers(here) == (200, "ok")


def add_run(here: Site, at: datetime, *, succeeded: bool = True, message: str = "") -> None:
    with here.database.writing() as rows:
        rows.add(
            TaskRun(
                task=CHECK,
                cause="schedule",
                started_at=at,
                finished_at=at,
                succeeded=succeeded,
                message=message,
            )
        )
