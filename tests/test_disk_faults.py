"""Disks and files that fail under the running processes: what is answered, kept, and comes back by itself."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from app import installation
from app.clock import utcnow
from app.settings import SettingError, Settings, load
from tests import databases, faults, receivers
from tests.faults import CHECK, Running, running
from tests.processes import Veilleur, until

NOT_SAVED = {"error": "Failed to update cron configuration"}
NOT_READ = {"error": "Failed to get cron configuration"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One installation for most of these tests: it has to recover from each fault anyway."""
    # With it the cron service waits 2 s for a locked database; by default it is 30 s.
    with running(tmp_path_factory.mktemp("faults"), VEILLEUR_WATCHDOG_SECONDS="20") as found:
        yield found


@pytest.fixture
def here(shared: Running) -> Running:
    shared.test += 1
    return shared


def recovers(here: Running, expected: list[str]) -> None:
    """All by itself: what waited is in the database, once each, and everything works again."""
    until(lambda: not here.spooled(), "the spool to be empty")
    assert here.stored() == sorted(expected)
    until(lambda: here.check().status_code == 200, "a check that succeeds")
    assert CHECK not in here.cron_health()["errors"]
    until(lambda: here.health()["spooledReports"] == 0, "nothing to wait in the spool")
    assert here.health()["status"] == "ok"
    assert here.upload("after").json() == {"success": True}
    assert here.stored() == sorted([*expected, "after"])
    assert here.log_in().status_code == 200
    assert here.save("5min").json() == {"success": True}
    assert here.cron.child.poll() is None
    assert here.web.child.poll() is None


@pytest.mark.sqlite("test_disk_faults_postgresql.py locks a server")
def test_a_database_locked_by_another_program_loses_no_report_and_no_alert(here: Running) -> None:
    with receivers.HttpReceiver() as hook:
        added = here.veilleur.finish("flask", "channel", "add", "webhook", "hook", f"url={hook.url}")
        assert added.returncode == 0, added.stderr
        assert here.save("30min").json() == {"success": True}
        assert here.upload_silent("silent").json() == {"success": True}
        names = [f"job {number}" for number in range(12)]
        with databases.locked(here.veilleur.instance), ThreadPoolExecutor(20) as pool:
            uploads = [pool.submit(here.upload, name) for name in names]
            saving, logging_in = pool.submit(here.save, "1min"), pool.submit(here.log_in)
            assert here.get("/").status_code == 200
            assert here.get("/api/cron-config").json()["enabled"] is True
            assert [each.result().json() for each in uploads] == [{"success": True}] * len(names)
            assert (saving.result().status_code, saving.result().json()) == (500, NOT_SAVED)
            assert here.get("/api/cron-config").json()["cronExpression"] == "*/30 * * * *"
            assert logging_in.result().status_code == 503
            assert logging_in.result().json()["error"] == "Service unavailable"
            assert here.health()["spooledReports"] == len(here.spooled()) == len(names)
            failed = here.check()
            assert failed.status_code == 500
            assert "locked" in failed.json()["message"]
            assert "locked" in here.cron_health()["errors"][CHECK]
        recovers(here, ["silent", *names])
        here.check()
        assert [each.json()["kind"] for each in hook.requests] == ["test", "overdue"]
        assert here.veilleur.finish("flask", "channel", "remove", "hook").returncode == 0
    here.assert_discreet_logs()
    assert "database is locked" in here.web.output


@pytest.mark.sqlite("a fault of the database's file")
def test_a_deleted_database_is_noticed_and_nothing_goes_into_the_unlinked_file(
    here: Running, tmp_path: Path
) -> None:
    assert here.upload("before").json() == {"success": True}
    aside = tmp_path / "aside"
    aside.mkdir()
    for each in here.veilleur.instance.glob("veilleur.db*"):
        each.rename(aside / each.name)
    assert here.upload("meanwhile").json() == {"success": True}
    assert here.upload("foreign", key="vk_wrong").json() == {"success": True}
    assert here.get("/").status_code == 503
    assert here.get("/api/cron-config").status_code == 200
    failed = here.check()
    assert (failed.status_code, "is missing" in failed.json()["message"]) == (500, True)
    health = here.health()
    assert (health["database"], health["spooledReports"]) == ("error", 2)
    assert not here.database.exists()
    for each in aside.iterdir():
        each.rename(here.veilleur.instance / each.name)
    recovers(here, ["before", "meanwhile"])
    with closing(sqlite3.connect(here.database)) as connection:
        (reason,) = connection.execute("SELECT reason FROM quarantined_body ORDER BY id DESC").fetchone()
    assert "not valid" in reason
    here.assert_discreet_logs()


@pytest.mark.sqlite("a fault of the database's file")
def test_a_database_replaced_by_its_backup_is_opened_anew(here: Running, tmp_path: Path) -> None:
    assert here.upload("before").json() == {"success": True}
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(here.database)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))
    assert here.upload("not in the backup").json() == {"success": True}
    for each in here.veilleur.instance.glob("veilleur.db*"):
        each.unlink()
    shutil.move(backup, here.database)
    assert here.upload("meanwhile").json() == {"success": True}
    recovers(here, ["before", "meanwhile"])
    here.assert_discreet_logs()


def start(folder: Path) -> Settings:
    """What every process does first; wsgi.py turns a SettingError into one line and exit status 1."""
    return installation.prepare(load({"VEILLEUR_INSTANCE_PATH": str(folder / "instance")}), utcnow())[0]


@pytest.mark.sqlite("a fault of the database's file")
def test_a_start_without_the_database_says_that_a_new_one_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = start(tmp_path).instance_path / "veilleur.db"
    assert caplog.records == []
    path.unlink()
    start(tmp_path)
    (told,) = caplog.messages
    assert told.startswith(f"{path} is missing although this is no first start")
    assert "flask backup restore" in told
    start(tmp_path)
    assert len(caplog.messages) == 1


@pytest.mark.sqlite("a fault of the database's file")
def test_a_database_that_is_garbage_is_told_and_its_reports_are_kept(here: Running, tmp_path: Path) -> None:
    assert here.upload("before").json() == {"success": True}
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    with closing(sqlite3.connect(here.database)) as connection:
        connection.execute("VACUUM INTO ?", (str(good),))
    bad.write_bytes(b"garbage" * 10_000)
    for each in here.veilleur.instance.glob("veilleur.db*"):
        each.unlink()
    shutil.move(bad, here.database)
    assert here.get("/").status_code == 503
    assert here.get("/api/auth/me").json()["error"] == "Service unavailable"
    assert here.upload("meanwhile").json() == {"success": True}
    assert "not a database" in here.check().json()["message"]
    shutil.move(good, here.database)
    recovers(here, ["before", "meanwhile"])
    here.assert_discreet_logs()
    assert "file is not a database" in here.web.output


@pytest.mark.parametrize(
    "content", [b"garbage" * 10_000, b"SQLite format 3\0" + bytes(84)], ids=["text", "cut"]
)
@pytest.mark.sqlite("a fault of the database's file")
def test_a_start_on_a_damaged_database_is_refused_and_leaves_it_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "instance" / "veilleur.db"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(
        SettingError, match=r"veilleur\.db can't be used \(.*flask backup restore$"
    ) as problem:
        start(tmp_path)
    assert "\n" not in str(problem.value)
    assert path.read_bytes() == content


@pytest.mark.sqlite("a fault of the database's file")
def test_a_full_disk_refuses_what_it_can_not_keep_and_loses_nothing(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    instance.mkdir()
    with (
        faults.mounted(instance, "-t", "tmpfs", "-o", "size=6m", "none"),
        running(tmp_path, VEILLEUR_WATCHDOG_SECONDS="20") as here,
    ):
        assert here.save("30min").json() == {"success": True}
        before = here.interval_file.read_bytes()
        answered = ["before"]
        assert here.upload("before").json() == {"success": True}
        with faults.full(instance):
            refused = 0
            for number in range(60):
                answer = here.upload(f"job {number}", padding=20_000)
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    answered.append(f"job {number}")
                    continue
                refused += 1
                assert "can't be stored right now" in answer.json()["message"]
                if refused == 5:
                    break
            assert refused == 5
            assert (here.save("5min").status_code, here.save("5min").json()) == (500, NOT_SAVED)
            assert here.interval_file.read_bytes() == before
            assert here.get("/").status_code == 200
            assert here.get("/api/cron-config").json()["cronExpression"] == "*/30 * * * *"
            failed = here.check()
            assert failed.status_code in (200, 500)
            if failed.status_code == 500:
                assert "full" in here.cron_health()["errors"][CHECK]
        recovers(here, answered)
        assert not list(instance.glob(".cron.json*"))
        here.assert_discreet_logs()
        assert "a report from 127.0.0.1 was refused" in here.web.output


def test_a_read_only_folder_is_told_and_forgiven(here: Running) -> None:
    assert here.save("30min").json() == {"success": True}
    assert here.upload("before").json() == {"success": True}
    names = [f"job {number}" for number in range(10)]
    with faults.read_only(here.veilleur.instance):
        assert (here.save("5min").status_code, here.save("5min").json()) == (500, NOT_SAVED)
        assert here.get("/api/cron-config").json()["cronExpression"] == "*/30 * * * *"
        assert here.get("/").status_code == 200
        # Files that are open stay writable; a thread that has to open one can't store, and says so.
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(here.upload, names))
        assert {each.status_code for each in answers} <= {200, 503}
        answered = [name for name, each in zip(names, answers, strict=True) if each.status_code == 200]
    recovers(here, ["before", *answered])
    here.assert_discreet_logs()


@pytest.mark.sqlite("a fault of the database's file")
def test_a_start_on_a_read_only_folder_says_so(tmp_path: Path) -> None:
    folder = start(tmp_path).instance_path
    with faults.read_only(folder), pytest.raises(SettingError, match=r"\(Read-only file system\)"):
        start(tmp_path)
    start(tmp_path)


DAMAGES = {
    "truncated": b'{"interval": "20m',
    "empty": b"",
    "binary": bytes(range(256)),
    "no object": b"[]",
    "no interval": b'{"interval": "7min"}',
}


def test_a_damaged_interval_file_keeps_the_old_interval_in_force_until_it_is_repaired(here: Running) -> None:
    for damage, content in DAMAGES.items():
        assert here.save("30min").json() == {"success": True}
        here.interval_file.write_bytes(content)
        answer = here.get("/api/cron-config")
        assert (answer.status_code, answer.json()) == (500, NOT_READ), damage
        until(lambda: "config" in here.cron_health()["errors"], "the service to see the damage")
        assert here.cron_health()["interval"] == "30min"
        assert CHECK in here.cron_health()["activeTasks"]
        assert here.check().status_code == 200
        assert here.interval_file.read_bytes() == content
        assert here.save("10min").json() == {"success": True}
        assert here.get("/api/cron-config").json()["cronExpression"] == "*/10 * * * *"
        assert "config" not in here.cron_health()["errors"]
        assert here.cron_health()["interval"] == "10min"
    here.assert_discreet_logs()


def test_whoever_was_answered_200_during_a_fault_is_kept_through_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as here:
        _kill_during_uploads(here)


def _kill_during_uploads(here: Running) -> None:
    with databases.locked(here.veilleur.instance):
        assert here.upload("first").status_code == 200
        with ThreadPoolExecutor(8) as pool:
            uploads = {f"job {number}": pool.submit(here.upload, f"job {number}") for number in range(40)}
            until(lambda: sum(each.done() for each in uploads.values()) >= 10, "some answers")
            os.killpg(here.web.child.pid, signal.SIGKILL)
        answered = [name for name, each in uploads.items() if not each.exception()]
        assert len(answered) >= 10
    until(lambda: not here.spooled(), "the cron service to take them in")
    assert set(here.stored()) >= {"first", *answered}
    assert len(here.stored()) == len(set(here.stored()))


# Whom file modes stop


@pytest.fixture
def as_nobody() -> Iterator[Veilleur]:
    """An installation that does not run as root, whom no mode stops."""
    folder = Path(tempfile.mkdtemp(prefix="veilleur-nobody-"))
    found = Veilleur(folder)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        found.prefix = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    done = found.finish("flask", "key", "list")
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"another user can't read the program: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (folder / "first.log").write_text(done.stdout)
    yield found
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.mark.sqlite("a fault of the database's file")
def test_a_start_without_the_right_to_a_file_ends_with_one_line_that_names_it(as_nobody: Veilleur) -> None:
    for name in ("veilleur.db", "secrets.json"):
        victim = as_nobody.instance / name
        owner = victim.stat()
        if os.geteuid() == 0:
            shutil.chown(victim, "root", "root")
        victim.chmod(0o000)
        done = as_nobody.finish("flask", "cron-start")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"veilleur: VEILLEUR_INSTANCE_PATH: {victim} can't be used (")
        os.chown(victim, owner.st_uid, owner.st_gid)
        victim.chmod(owner.st_mode)


@pytest.mark.sqlite("a fault of the database's file")
def test_files_that_lose_their_rights_are_told_and_forgiven(as_nobody: Veilleur) -> None:
    as_nobody.settings["VEILLEUR_WATCHDOG_SECONDS"] = "20"
    with running(as_nobody.folder, veilleur=as_nobody) as here:
        assert here.save("30min").json() == {"success": True}
        assert here.upload("before").json() == {"success": True}
        here.interval_file.chmod(0o000)
        assert (here.get("/api/cron-config").status_code, here.get("/api/cron-config").json()) == (
            500,
            NOT_READ,
        )
        until(lambda: "config" in here.cron_health()["errors"], "the service to see it")
        assert here.cron_health()["interval"] == "30min"
        here.interval_file.chmod(0o600)
        assert here.get("/api/cron-config").json()["cronExpression"] == "*/30 * * * *"
        until(lambda: "config" not in here.cron_health()["errors"], "the service to read it again")

        copy = here.veilleur.folder / "copy.db"
        with closing(sqlite3.connect(here.database)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
        for each in here.veilleur.instance.glob("veilleur.db*"):
            each.unlink()
        copy.chmod(0o000)
        shutil.move(copy, here.database)
        assert here.upload("meanwhile").json() == {"success": True}
        assert here.get("/").status_code == 503
        assert here.check().status_code == 500
        if os.geteuid() == 0:
            shutil.chown(here.database, "nobody", "nogroup")
        here.database.chmod(0o600)
        recovers(here, ["before", "meanwhile"])

        here.veilleur.instance.chmod(0o500)
        assert (here.save("10min").status_code, here.save("10min").json()) == (500, NOT_SAVED)
        here.veilleur.instance.chmod(0o700)
        assert here.save("10min").json() == {"success": True}
        here.assert_discreet_logs()
