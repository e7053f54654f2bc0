"""kill -9 of the whole web application while reports come in and the interval is being saved."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import requests
from sqlalchemy import select

from app.clock import utcnow
from app.interval import CRON_EXPRESSIONS
from app.models import Job, Report
from tests.processes import PASSWORD, Process, Veilleur, until
from tests.stage import backup_body

UPLOADERS = 4
MOST_BETWEEN = 40  # uploads from one kill to the next
SETTINGS = {"VEILLEUR_LOG_LEVEL": "WARNING", "VEILLEUR_WEB_WORKERS": "2", "VEILLEUR_GROUP_LIMIT": "0"}


@dataclass
class WebTally:
    """What was answered before each kill, and what was there after it."""

    kills: int = 0
    sent: int = 0
    answered: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    saves: int = 0
    damaged: int = 0
    unfinished: int = 0  # files that a killed save left behind, after the last start
    forgotten: int = 0  # saves that were answered and are not in force afterwards

    @property
    def lost(self) -> int:
        return len(self.answered - self.stored)

    def table(self) -> str:
        rows = {
            "kills of the web": self.kills,
            "uploads sent / answered 200": f"{self.sent} / {len(self.answered)}",
            "answered and not stored": self.lost,
            "interval saves answered": self.saves,
            "interval file damaged": self.damaged,
            "answered saves not in force": self.forgotten,
            "unfinished files left behind": self.unfinished,
        }
        return "\n".join(f"{name:32} {value}" for name, value in rows.items())


@dataclass
class _Saving:
    """The last saved interval that was answered, and the one that is on its way."""

    answered: str
    under_way: str | None = None
    count: int = 0


class _Clients:
    """Threads that upload and save until the server is gone; each step is noted before and after it."""

    def __init__(self, veilleur: Veilleur, key: str, admin: requests.Session, tally: WebTally) -> None:
        self._url = veilleur.url
        self._key = key
        self.admin = admin
        self._tally = tally
        self._names = (f"upload {number}" for number in itertools.count(1))
        self._lock = threading.Lock()
        self.saving = _Saving("20min")

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        self._over = threading.Event()
        work = [*[self._upload] * UPLOADERS, self.save]
        threads = [threading.Thread(target=self._until_refused, args=(each,)) for each in work]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._over.set()
            for each in threads:
                each.join(60)

    def _until_refused(self, step: object) -> None:
        with requests.Session() as session, contextlib.suppress(requests.RequestException):
            while not self._over.is_set():
                step(session)  # type: ignore[operator]

    def _upload(self, session: requests.Session) -> None:
        with self._lock:
            name = next(self._names)
            self._tally.sent += 1
        body = backup_body(utcnow() - timedelta(hours=1), name=name)
        answer = session.post(
            f"{self._url}/api/upload?api_key={self._key}",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=30,
        )
        assert answer.json() == {"success": True}, answer.text
        with self._lock:
            self._tally.answered.add(name)

    def save(self, _session: requests.Session) -> None:
        wanted = list(CRON_EXPRESSIONS)[self.saving.count % len(CRON_EXPRESSIONS)]
        self.saving.under_way = wanted
        self.saving.count += 1
        answer = self.admin.post(f"{self._url}/api/cron-config", json={"interval": wanted}, timeout=30)
        assert answer.json() == {"success": True}, answer.text
        self.saving.answered, self.saving.under_way = wanted, None
        self._tally.saves += 1


def kill_web(folder: Path, kills: int, seed: int) -> WebTally:
    """Kill gunicorn and its workers again and again in the middle of everything; what was counted."""
    chance, tally = random.Random(seed), WebTally()  # noqa: S311  (no secret)
    veilleur = Veilleur(folder, dict(SETTINGS))
    with requests.Session() as admin:
        with veilleur.web() as first:
            _log_in(admin, veilleur)
            clients = _Clients(veilleur, veilleur.upload_key(), admin, tally)
            _work_and_kill(first, clients, chance, tally)
        for _again in range(kills - 1):
            _look(veilleur, clients.saving, tally)
            with veilleur.web() as web:
                _work_and_kill(web, clients, chance, tally)
        _look(veilleur, clients.saving, tally)
        with veilleur.web():
            # The session outlived all the kills, and a save clears away what they left behind.
            clients.save(admin)
        tally.unfinished = len(list(veilleur.instance.glob(".cron.json.*")))
    return tally


def _log_in(admin: requests.Session, veilleur: Veilleur) -> None:
    words = {"username": "admin", "password": PASSWORD}
    answer = admin.post(f"{veilleur.url}/api/auth/login", json=words, timeout=30)
    admin.headers["X-CSRF-Token"] = answer.json()["csrfToken"]


def _work_and_kill(web: Process, clients: _Clients, chance: random.Random, tally: WebTally) -> None:
    with clients.at_work():
        enough = len(tally.answered) + chance.randint(1, MOST_BETWEEN)
        until(lambda: len(tally.answered) >= enough, "uploads", seconds=120)
        time.sleep(chance.uniform(0, 0.05))
        os.killpg(web.child.pid, signal.SIGKILL)
    web.child.wait()
    tally.kills += 1


def _look(veilleur: Veilleur, saving: _Saving, tally: WebTally) -> None:
    database = veilleur.database()
    with database.reading() as rows:
        tally.stored = set(rows.scalars(select(Job.name).join(Report, Report.job_id == Job.id)))
    database.dispose()
    try:
        found = json.loads((veilleur.instance / "cron.json").read_text())["interval"]
    except FileNotFoundError:
        found = "20min"
    except (ValueError, KeyError):
        tally.damaged += 1
        return
    tally.forgotten += found not in (saving.answered, saving.under_way)
    saving.answered = found
