"""The interval where machines share no instance folder: a save reaches the cron service with the call."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from app import interval, interval_exchange
from app.clock import iso, utcnow
from app.cron.peers import Peers
from app.cron.tasks import TASKS
from app.cron_client import CronClient
from app.db import Database
from app.interval import CronConfig
from app.models import AuditEntry
from tests.databases import Postgres
from tests.processes import PASSWORD, Veilleur, until
from tests.receivers import HttpReceiver, ok, refused_port, wait_until
from tests.test_cron_service import Running, running
from tests.web import Site, site

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RELOADED = {"message": "Configuration reloaded successfully"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, TASKS) as made:
        yield made


def content(value: str, at: datetime, **more: object) -> dict[str, object]:
    return {"interval": value, "updatedAt": iso(at), "updatedBy": "admin", **more}


def stored(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / interval.FILE_NAME).read_text())
    return found


def notes(database: Database) -> list[AuditEntry]:
    with database.reading() as rows:
        return list(rows.scalars(select(AuditEntry).where(AuditEntry.action == "interval taken over")))


# The service


def test_what_was_saved_elsewhere_is_in_force_at_once_and_kept(rig: Running) -> None:
    told = content("5min", utcnow())
    answer = rig.post("/reload-config", json=told)
    assert (answer.status_code, answer.json()) == (200, RELOADED)
    assert rig.health()["interval"] == "5min"
    assert stored(rig.folder) == told
    [note] = notes(rig.database)
    assert note.before == "20min"
    assert note.after == f"5min, saved by admin at {told['updatedAt']}"


def test_of_two_the_newer_counts(rig: Running) -> None:
    now = utcnow()
    rig.save("10min")
    assert rig.post("/reload-config", json=content("5min", now - timedelta(seconds=9))).json() == RELOADED
    assert rig.health()["interval"] == stored(rig.folder)["interval"] == "10min"
    assert notes(rig.database) == []
    rig.post("/reload-config", json=content("5min", now + timedelta(seconds=1)))
    assert rig.health()["interval"] == stored(rig.folder)["interval"] == "5min"
    rig.post("/reload-config", json=content("1hour", now + timedelta(seconds=1)))
    assert rig.health()["interval"] == "1hour", "of two saved in one second, the one that was told last"


def test_a_file_from_the_future_does_not_win_for_ever(rig: Running) -> None:
    interval.save(rig.folder / interval.FILE_NAME, "10min", updated_by="x", now=utcnow() + timedelta(days=9))
    rig.post("/reload-config", json=content("5min", utcnow()))
    assert rig.health()["interval"] == "5min"


def test_word_of_a_save_that_another_has_replaced_within_the_second_comes_too_late(rig: Running) -> None:
    path, now = rig.folder / interval.FILE_NAME, utcnow()
    interval.save(path, "5min", updated_by="first", now=now)
    late = interval_exchange.content(path)
    interval.save(path, "1hour", updated_by="second", now=now)
    interval.save(path, "2hours", updated_by="third, whose clock is behind", now=now - timedelta(seconds=2))
    assert rig.post("/reload-config", data=late).json() == RELOADED
    assert rig.health()["interval"] == stored(rig.folder)["interval"] == "2hours"
    assert notes(rig.database) == []


def test_a_disabled_time_comes_with_its_end(rig: Running) -> None:
    ends_at = utcnow() + timedelta(hours=2)
    told = content("disabled", utcnow(), disabledUntil=iso(ends_at), resumeInterval="1hour")
    rig.post("/reload-config", json=told)
    assert rig.health()["interval"] == "disabled"
    assert stored(rig.folder) == told
    assert interval.read(rig.folder / interval.FILE_NAME).in_force(ends_at).interval == "1hour"


def test_a_shared_file_is_left_as_it_is(rig: Running) -> None:
    rig.save("5min")
    path = rig.folder / interval.FILE_NAME
    before = path.stat().st_ino
    rig.post("/reload-config", data=interval_exchange.content(path))
    assert path.stat().st_ino == before
    assert rig.health()["interval"] == "5min"
    assert notes(rig.database) == []


def test_a_damaged_file_stays_a_fault_until_a_saved_interval_mends_it(rig: Running) -> None:
    (rig.folder / interval.FILE_NAME).write_text("{")
    assert rig.post("/reload-config").status_code == 500
    assert rig.post("/reload-config", data=b"{}").status_code == 500
    assert rig.health()["interval"] == "20min"
    assert rig.post("/reload-config", json=content("5min", utcnow())).json() == RELOADED
    assert rig.health()["interval"] == "5min"
    assert "config" not in rig.health()["errors"]


def test_a_file_that_can_not_be_written_keeps_the_old_schedule(rig: Running) -> None:
    (rig.folder / interval.FILE_NAME).mkdir()
    answer = rig.post("/reload-config", json=content("5min", utcnow()))
    assert answer.status_code == 500
    assert "cron.json can't be written" in answer.json()["error"]
    assert rig.health()["interval"] == "20min"


@pytest.mark.parametrize(
    "body",
    [
        b"interval=5min",
        b"[]",
        b'"5min"',
        b'{"interval": "5min"}',
        b'{"interval": "5min", "updatedAt": "soon"}',
        b'{"interval": "7min", "updatedAt": "2026-11-23T07:00:00Z"}',
        b'{"interval": "disabled", "updatedAt": "2026-11-23T07:00:00Z", "disabledUntil": "2026-12-01"}',
        b"[" * 5000,
    ],
)
def test_a_body_that_is_no_interval_is_refused_and_changes_nothing(rig: Running, body: bytes) -> None:
    answer = rig.post("/reload-config", data=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The body can't be used as an interval: ")
    assert not (rig.folder / interval.FILE_NAME).exists()


def test_a_body_that_is_too_large_is_refused(rig: Running) -> None:
    assert rig.post("/reload-config", data=b" " * 70_000).status_code == 413


def test_without_the_token_nothing_is_taken_over(rig: Running) -> None:
    assert rig.post("/reload-config", token="another", json=content("5min", utcnow())).status_code == 401
    assert not (rig.folder / interval.FILE_NAME).exists()


# The web application and the command


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[Site, HttpReceiver]]:
    with HttpReceiver(ok(b"{}")) as service, site(tmp_path, CRON_SERVICE_URL=service.url) as here:
        yield here, service


def test_every_save_on_the_web_sends_what_the_file_holds(told: tuple[Site, HttpReceiver]) -> None:
    here, service = told
    admin = here.administrator()
    admin.post("/api/cron-config", json={"interval": "5min"})
    until_at = iso(utcnow() + timedelta(hours=3))
    admin.post("/api/cron-config", json={"interval": "disabled", "until": until_at})
    first, second = service.requests
    assert first.json()["interval"] == "5min"
    assert first.json()["updatedBy"] == "admin"
    assert second.json() == stored(here.settings.instance_path)
    assert second.json()["disabledUntil"] == until_at
    assert interval_exchange.received(second.body) == CronConfig(
        "disabled", second.json()["updatedAt"], "admin", datetime.fromisoformat(until_at or ""), "5min"
    )


def test_the_command_sends_it_too(told: tuple[Site, HttpReceiver]) -> None:
    here, service = told
    here.app.test_cli_runner().invoke(args=["interval", "1hour"])
    [request] = service.requests
    assert request.json() == stored(here.settings.instance_path)


def test_the_cron_services_of_other_machines_are_told_as_well(tmp_path: Path) -> None:
    with (
        HttpReceiver(ok(b"{}")) as own,
        HttpReceiver(ok(b"{}")) as peer,
        refused_port() as dead,
        site(
            tmp_path,
            CRON_SERVICE_URL=own.url,
            VEILLEUR_CRON_PEERS=f"http://127.0.0.1:{dead}  {peer.url}/",
        ) as here,
    ):
        answer = here.administrator().post("/api/cron-config", json={"interval": "5min"})
        assert answer.json == {"success": True}
        assert [each.json()["interval"] for each in (*own.requests, *peer.requests)] == ["5min", "5min"]
        for each in here.app.extensions["cron_peers"]:
            each.close()


# Two machines


@contextlib.contextmanager
def two_machines(folder: Path, database_url: str) -> Iterator[tuple[Veilleur, Veilleur]]:
    """Web and cron service on each; the database and the secrets are all they share."""
    first, second = machines(folder, database_url)
    with first.web(), first.cron():
        share_secrets(first, second)
        with second.web(), second.cron():
            yield first, second


def machines(folder: Path, database_url: str) -> tuple[Veilleur, Veilleur]:
    first, second = Veilleur(folder / "first"), Veilleur(folder / "second")
    for each, other in ((first, second), (second, first)):
        each.folder.mkdir()
        each.settings["VEILLEUR_DATABASE_URL"] = database_url
        each.settings["VEILLEUR_CRON_PEERS"] = f"http://127.0.0.1:{other.cron_port}"
    return first, second


def share_secrets(first: Veilleur, second: Veilleur) -> None:
    second.instance.mkdir(mode=0o700)
    shutil.copy(first.instance / "secrets.json", second.instance)


def logged_in(web: Veilleur) -> requests.Session:
    session = requests.Session()
    answer = session.post(
        f"{web.url}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
    )
    session.headers["X-CSRF-Token"] = answer.json()["csrfToken"]
    return session


def health(web: Veilleur) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{web.url}/api/cron/health", timeout=30).json()
    return found


def service_health_of(machine: Veilleur) -> dict[str, Any]:
    """Asked at its own port: that machine has no web application."""
    found: dict[str, Any] = requests.get(f"http://127.0.0.1:{machine.cron_port}/health", timeout=30).json()
    return found


def test_two_machines_that_share_no_folder_follow_one_interval(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.url()
    with two_machines(tmp_path, url) as both:
        for here, value in zip((*both, both[0]), ("5min", "disabled", "1hour"), strict=True):
            with logged_in(here) as session:
                answer = session.post(f"{here.url}/api/cron-config", json={"interval": value}, timeout=30)
            assert answer.json() == {"success": True}
            for each in both:
                assert health(each)["interval"] == stored(each.instance)["interval"] == value
                enabled = requests.get(f"{each.url}/api/cron-config", timeout=30).json()["enabled"]
                assert enabled is (value != "disabled")
        told = both[1].finish("flask", "interval", "2hours")
        assert "In force now." in told.stdout
        assert stored(both[0].instance) == stored(both[1].instance)
        database = Database(url)
        assert [each.before for each in notes(database)] == ["20min", "5min", "disabled", "1hour"]
        database.dispose()
    with both[0].cron():  # a new start keeps it
        until(lambda: service_health_of(both[0])["interval"] == "2hours", "the interval")


def test_a_machine_that_was_down_follows_what_was_saved_meanwhile(tmp_path: Path, postgres: Postgres) -> None:
    here, away = machines(tmp_path, postgres.url())
    with here.web(), here.cron(), logged_in(here) as admin:
        share_secrets(here, away)
        with away.cron():
            admin.post(f"{here.url}/api/cron-config", json={"interval": "5min"}, timeout=30)
            assert stored(away.instance)["interval"] == "5min"
        admin.post(f"{here.url}/api/cron-config", json={"interval": "disabled"}, timeout=30)
        assert stored(away.instance)["interval"] == "5min"
        with away.cron():
            until(lambda: service_health_of(away)["interval"] == "disabled", "the machine to follow")
            assert stored(away.instance) == stored(here.instance)


def test_a_machine_that_comes_back_with_something_newer_is_followed(
    tmp_path: Path, postgres: Postgres
) -> None:
    here, away = machines(tmp_path, postgres.url())
    with here.web(), here.cron(), logged_in(here) as admin:
        share_secrets(here, away)
        admin.post(f"{here.url}/api/cron-config", json={"interval": "5min"}, timeout=30)
        interval.save(away.instance / interval.FILE_NAME, "1hour", updated_by="cut off", now=utcnow())
        with away.cron():
            until(lambda: health(here)["interval"] == "1hour", "the others to follow")


# What is passed on


def passed_on(path: Path, peers: list[HttpReceiver]) -> Peers:
    return Peers(path, [CronClient(each.url, "token") for each in peers])


def test_what_the_file_holds_is_told_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cron.peers.EVERY_SECONDS", 0.1)
    path = tmp_path / interval.FILE_NAME
    interval.save(path, "5min", updated_by="admin", now=NOW)
    with HttpReceiver(ok(b"{}")) as first, HttpReceiver(ok(b"{}")) as second:
        running_peers = passed_on(path, [first, second])
        running_peers.start()
        wait_until(lambda: len(first.requests) >= 3 and len(second.requests) >= 3)
        running_peers.stop(20)
        assert {each.body for each in (*first.requests, *second.requests)} == {
            interval_exchange.content(path)
        }
        assert {each.path for each in first.requests} == {"/reload-config"}


def test_whoever_knew_an_older_one_is_told_at_once(tmp_path: Path) -> None:
    with HttpReceiver(ok(b"{}")) as peer, running(tmp_path, TASKS, VEILLEUR_CRON_PEERS=peer.url) as rig:
        rig.save("10min")
        assert (
            rig.post("/reload-config", json=content("5min", utcnow() - timedelta(hours=1))).json() == RELOADED
        )
        wait_until(lambda: peer.requests)
        assert peer.requests[0].json() == stored(tmp_path)


@pytest.mark.parametrize(
    "file", [None, '{"interval": "5min"}', json.dumps(content("5min", NOW + timedelta(days=9)))]
)
def test_what_nobody_can_compare_is_not_passed_on(tmp_path: Path, file: str | None) -> None:
    path = tmp_path / interval.FILE_NAME
    if file is not None:
        path.write_text(file)
    assert interval_exchange.to_pass_on(path, NOW) is None


def test_a_damaged_file_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cron.peers.EVERY_SECONDS", 0.05)
    path = tmp_path / interval.FILE_NAME
    path.write_text("{")
    with HttpReceiver(ok(b"{}")) as peer:
        running_peers = passed_on(path, [peer])
        running_peers.start()
        with pytest.raises(interval.IntervalFileDamaged):
            interval_exchange.to_pass_on(path, NOW)
        interval.save(path, "5min", updated_by="admin", now=NOW)
        wait_until(lambda: peer.requests)
        running_peers.stop(20)


def test_a_silent_peer_holds_up_nobody_and_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.cron.peers.EVERY_SECONDS", 0.05)
    path = tmp_path / interval.FILE_NAME
    interval.save(path, "5min", updated_by="admin", now=NOW)
    with refused_port() as dead, HttpReceiver(ok(b"{}")) as peer:
        silent = CronClient(f"http://127.0.0.1:{dead}", "token")
        running_peers = Peers(path, [silent, CronClient(peer.url, "token")])
        running_peers.start()
        wait_until(lambda: len(peer.requests) >= 3)
        running_peers.stop(20)
    assert caplog.text.count("can't be told of the interval now") == 1


def test_what_is_in_force_already_is_not_planned_anew(rig: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "app.cron.service")
    told = content("5min", utcnow())
    for _ in range(3):
        assert rig.post("/reload-config", json=told).json() == RELOADED
    assert caplog.text.count("the interval is 5min") == 1
