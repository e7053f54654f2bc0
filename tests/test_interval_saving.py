"""Saves of the interval that come together: they share what is slow, each is traced and told by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import event, select

from app import durable_file, interval
from app.clock import iso, utcnow
from app.interval import CRON_EXPRESSIONS
from app.models import AuditEntry
from tests import databases
from tests.processes import PASSWORD, Veilleur, until
from tests.receivers import Handler, HttpReceiver, ok, status
from tests.web import LoggedIn, Site, site

URL = "/api/cron-config"
NAMES = list(CRON_EXPRESSIONS)
AT_ONCE = 8
ENOUGH = 30
NOT_SAVED = {"error": "Failed to update cron configuration"}


def chain(entries: list[AuditEntry]) -> list[str]:
    """What was set, in the order of the audit log; each entry says that it replaced the one before."""
    values = [str(each.after) for each in entries]
    assert [each.before for each in entries] == ["20min", *values][:-1]
    return values


def stored(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / interval.FILE_NAME).read_text())
    return found


@contextmanager
def together(here: Site, admins: list[LoggedIn], wanted: list[str]) -> Iterator[list[Future[Any]]]:
    """Saves of which the first waits for the file, and all others for the first."""
    saves = here.app.extensions["interval_saves"]
    with ThreadPoolExecutor(len(wanted)) as pool:
        with durable_file.exclusive(here.interval_file):
            futures = [
                pool.submit(admin.post, URL, json={"interval": value})
                for admin, value in zip(admins, wanted, strict=True)
            ]
            until(lambda: len(saves._queue) == len(wanted) - 1, "the saves to wait")
        yield futures


@pytest.fixture
def service() -> Iterator[HttpReceiver]:
    with HttpReceiver(ok(b"{}")) as receiver:
        yield receiver


@pytest.fixture
def here(tmp_path: Path, service: HttpReceiver) -> Iterator[Site]:
    with site(tmp_path, CRON_SERVICE_URL=service.url) as made:
        yield made


@pytest.fixture
def admins(here: Site) -> list[LoggedIn]:
    return [here.administrator() for _ in range(AT_ONCE)]


def test_saves_that_wait_share_one_file_and_one_commit_and_each_leaves_its_own_trace(
    here: Site, admins: list[LoggedIn]
) -> None:
    commits: list[int] = []
    event.listen(here.database.engine, "commit", lambda _connection: commits.append(1))
    wanted = NAMES[:AT_ONCE]
    with together(here, admins, wanted) as futures:
        assert [each.result(30).json for each in futures] == [{"success": True}] * AT_ONCE
    values = chain(here.audit("interval changed"))
    assert sorted(values) == sorted(wanted)
    assert stored(here.settings.instance_path)["interval"] == values[-1]
    assert len(commits) == 2, "of the one that waited for the file, and of all others together"


def test_saves_that_come_while_the_service_is_told_share_the_next_call(
    here: Site, admins: list[LoggedIn], service: HttpReceiver
) -> None:
    held, gate, saves = threading.Event(), threading.Event(), here.app.extensions["interval_saves"]

    def hold(handler: Handler) -> None:
        held.set()
        assert gate.wait(30)
        handler.answer(200, b"{}")

    service.queue.append(hold)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = pool.submit(admins[0].post, URL, json={"interval": "5min"})
        assert held.wait(30)
        rest = [pool.submit(each.post, URL, json={"interval": "1hour"}) for each in admins[1:]]
        until(lambda: len(saves._queue) == AT_ONCE - 1, "the saves to wait")
        assert not first.done(), "none is answered before the service has obeyed it"
        gate.set()
        assert [each.result(30).json for each in (first, *rest)] == [{"success": True}] * AT_ONCE
    told = [each.json() for each in service.requests]
    assert [each["interval"] for each in told] == ["5min", "1hour"]
    assert told[-1] == stored(here.settings.instance_path), "what the last of them has written"


def test_what_keeps_one_of_them_from_being_saved_is_told_to_each(
    here: Site, admins: list[LoggedIn], service: HttpReceiver
) -> None:
    here.app.extensions["database"] = databases.impatient(here.database)
    with databases.locked(here.settings.instance_path), together(here, admins, NAMES[:AT_ONCE]) as futures:
        answers = [each.result(30) for each in futures]
    assert [(each.status_code, each.json) for each in answers] == [(500, NOT_SAVED)] * AT_ONCE
    assert not here.interval_file.exists()
    assert here.audit("interval changed") == []
    assert service.requests == []
    assert not list(here.settings.instance_path.glob(".cron.json*"))
    assert admins[0].post(URL, json={"interval": "5min"}).json == {"success": True}


def test_a_service_that_refuses_keeps_none_of_them_from_being_saved(
    here: Site, admins: list[LoggedIn], service: HttpReceiver
) -> None:
    service.behaviour = status(500, b"{}")
    with together(here, admins, NAMES[:AT_ONCE]) as futures:
        assert [each.result(30).json for each in futures] == [{"success": True}] * AT_ONCE
    assert len(chain(here.audit("interval changed"))) == AT_ONCE


# Processes


class Clients:
    """Administrators who save at the same time, each change another one: disabled until a time of its own."""

    def __init__(self, veilleur: Veilleur) -> None:
        self._url = veilleur.url
        self._ends = iter(iso(utcnow() + timedelta(days=1, minutes=each)) for each in range(10_000))
        self._lock = threading.Lock()
        self.answered: list[str] = []
        words = {"username": "admin", "password": PASSWORD}
        answer = requests.post(f"{self._url}/api/auth/login", json=words, timeout=30)
        self._cookies = answer.cookies
        self._headers = {"X-CSRF-Token": answer.json()["csrfToken"]}

    def save(self, session: requests.Session) -> None:
        with self._lock:
            end = next(self._ends)
        answer = session.post(
            f"{self._url}{URL}",
            json={"interval": "disabled", "until": end},
            cookies=self._cookies,
            headers=self._headers,
            timeout=30,
        )
        assert answer.json() == {"success": True}, answer.text
        with self._lock:
            self.answered.append(f"disabled until {end}")

    def save_until_gone(self) -> None:
        with requests.Session() as session:
            try:
                while True:
                    self.save(session)
            except requests.RequestException:
                return

    def save_many(self, count: int) -> None:
        with requests.Session() as session:
            for _ in range(count):
                self.save(session)


def traced(veilleur: Veilleur) -> list[AuditEntry]:
    database = veilleur.database()
    query = select(AuditEntry).where(AuditEntry.action == "interval changed").order_by(AuditEntry.id)
    with database.reading() as rows:
        found = list(rows.scalars(query))
    database.dispose()
    return found


def in_words(folder: Path) -> str:
    return interval.read(folder / interval.FILE_NAME).in_words


def test_many_saves_through_two_workers_are_one_chain_and_the_service_obeys_the_last(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, {"VEILLEUR_WEB_WORKERS": "2"})
    with veilleur.web(), veilleur.cron():
        clients = Clients(veilleur)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for each in [pool.submit(clients.save_many, 4) for _ in range(AT_ONCE)]:
                each.result(60)
        values = chain(traced(veilleur))
        assert sorted(values) == sorted(clients.answered)
        assert in_words(veilleur.instance) == values[-1]
        with requests.Session() as session:
            clients.save(session)
        assert in_words(veilleur.instance) == clients.answered[-1]
        health = requests.get(f"http://127.0.0.1:{veilleur.cron_port}/health", timeout=30).json()
        assert health["interval"] == "disabled"
        database = veilleur.database()
        with database.reading() as rows:
            taken = select(AuditEntry).where(AuditEntry.action == "interval taken over")
            assert rows.scalars(taken).all() == [], "one folder: the service had nothing to write"
        database.dispose()


def test_a_web_application_killed_among_many_saves_loses_none_that_was_answered(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, {"VEILLEUR_WEB_WORKERS": "2"})
    with veilleur.web() as web:
        clients = Clients(veilleur)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            work = [pool.submit(clients.save_until_gone) for _ in range(AT_ONCE)]
            until(lambda: len(clients.answered) >= ENOUGH, "saves", seconds=60)
            os.killpg(web.child.pid, signal.SIGKILL)
            for each in work:
                each.result(60)
    values = chain(traced(veilleur))
    assert len(set(values)) == len(values)
    places = [values.index(each) for each in clients.answered]
    # Between trace and file the process may have ended: then whoever waited for that was not answered.
    assert values.index(in_words(veilleur.instance)) >= max(places)
