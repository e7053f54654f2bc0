"""What the processes hold in memory and how soon they answer, beside an empty Flask view.

`python -m bench.memory` by itself.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import requests
from sqlalchemy import update

from app.clock import utcnow
from app.cron.tasks import CHECK
from app.db import Database
from app.models import Channel, Job
from app.settings import SETTINGS
from bench import load, processes, web
from bench.load import Call, Moments
from bench.table import Row, text
from tests import fleet
from tests.conftest import unused_port
from tests.processes import PASSWORD, Process, Veilleur, started, until
from tests.receivers import HttpReceiver

READS = 60_000
UPLOADS = 3_000
PAGES = 200
JOBS = 20_000
ALERTS = 1_000
STARTS = 5
CLIENTS = 8
SETTLE_SECONDS = 2.0  # the first check and the first look at the deliveries are part of idling
_TOKEN = "only for measuring"


def footprint(folder: Path) -> list[Row]:
    """Proportional set sizes: what several processes share is counted once."""
    veilleur = Veilleur(folder, {"VEILLEUR_CRON_TOKEN": _TOKEN, "VEILLEUR_GROUP_LIMIT": "0"})
    with processes.web(veilleur) as (first, _), processes.cron(veilleur):
        time.sleep(SETTLE_SECONDS)
        after_setting_up = processes.memory_mib(first)
    with processes.web(veilleur) as (web_process, _), processes.cron(veilleur) as (cron_process, _):
        time.sleep(SETTLE_SECONDS)
        idle_web, idle_cron = processes.memory_mib(web_process), processes.memory_mib(cron_process)
        empty_idle, empty_loaded = _empty_memory(folder)
        with HttpReceiver() as receiver:
            _work(veilleur, receiver)
        time.sleep(SETTLE_SECONDS)
        loaded_web, loaded_cron = processes.memory_mib(web_process), processes.memory_mib(cron_process)
    return [
        Row("memory, web, idle (PSS)", idle_web, "MiB", empty_idle, "empty view"),
        Row("memory, cron, idle (PSS)", idle_cron, "MiB", empty_idle, "empty view"),
        Row("memory, web + cron, idle (PSS)", idle_web + idle_cron, "MiB", 151, "d", "≤ 120"),
        Row("memory, web, after load (PSS)", loaded_web, "MiB", empty_loaded, "empty view"),
        Row("memory, cron, after load (PSS)", loaded_cron, "MiB", idle_cron, "idle"),
        Row("memory, web + cron, after load (PSS)", loaded_web + loaded_cron, "MiB", 911, "d", "≤ 120"),
        Row("memory, web, idle after the very first start (PSS)", after_setting_up, "MiB", idle_web, "later"),
    ]


def _empty_memory(folder: Path) -> tuple[float, float]:
    """The empty view, idle and after as many requests."""
    port = unused_port()
    with _empty(folder, port) as (process, _):
        time.sleep(SETTLE_SECONDS)
        idle = processes.memory_mib(process)
        _repeat(Call(port, "/"), READS)
        return idle, processes.memory_mib(process)


def _work(veilleur: Veilleur, receiver: HttpReceiver) -> None:
    """What a busy day brings, in some seconds."""
    _fill(veilleur, receiver.url)
    _repeat(Call(veilleur.port, "/api/cron-config"), READS)
    _repeat(web.upload_call(veilleur, 3650), UPLOADS)
    answer = requests.post(
        f"http://127.0.0.1:{veilleur.cron_port}/trigger/{CHECK}",
        headers={"Authorization": f"Bearer {_TOKEN}"},
        timeout=60,
    )
    answer.raise_for_status()
    until(lambda: len(receiver.requests) >= ALERTS, f"{ALERTS} messages", 60)
    _look(veilleur)


def _repeat(call: Call, count: int) -> None:
    done, moments = 0, Moments()
    while done < count:
        done += load.run(call, CLIENTS, 1.0, moments).requests


def _fill(veilleur: Veilleur, url: str) -> None:
    """Many jobs, of which some are overdue since a minute, and a channel that hears of it."""
    now = utcnow()
    database = Database(f"sqlite:///{veilleur.instance / 'veilleur.db'}")
    fleet.add(database, now, servers=JOBS // 20, jobs=20, runs=0)
    past = now - timedelta(hours=2)
    with database.writing() as rows:
        rows.add(Channel(kind="webhook", name="bench", config={"url": url}, language="en", created_at=now))
        due = rows.query(Job.id).filter(Job.state == "ok").limit(ALERTS)
        values = {"expected_at": past, "until_at": past, "attention_at": past}
        rows.execute(update(Job).where(Job.id.in_([each.id for each in due])).values(**values))
    database.dispose()


def _look(veilleur: Veilleur) -> None:
    """Somebody looks around on the pages."""
    with requests.Session() as session:
        login = {"username": "admin", "password": PASSWORD}
        session.post(f"{veilleur.url}/api/auth/login", json=login, timeout=30).raise_for_status()
        for number in range(PAGES):
            path = ("/", "/jobs/1", "/settings/channels", "/?q=Photos")[number % 4]
            session.get(veilleur.url + path, timeout=30).raise_for_status()


def starts(folder: Path) -> list[Row]:
    """How soon each process answers on an installation that is set up, and both by `make run`."""
    veilleur, port = Veilleur(folder), unused_port()
    with processes.web(veilleur):
        pass
    taken: dict[str, list[float]] = {"web": [], "cron": [], "both": [], "empty": []}
    for _ in range(STARTS):
        with processes.web(veilleur) as (_process, seconds):
            taken["web"].append(seconds)
        with processes.cron(veilleur) as (_process, seconds):
            taken["cron"].append(seconds)
        with _both(veilleur) as seconds:
            taken["both"].append(seconds)
        with _empty(folder, port) as (_process, seconds):
            taken["empty"].append(seconds)
    web_seconds, cron_seconds, both_seconds, empty_seconds = map(statistics.median, taken.values())
    return [
        Row("start: web, to the first 200", web_seconds, "s", empty_seconds, "empty view", "≤ 1.0"),
        Row("start: cron, to the first 200", cron_seconds, "s", empty_seconds, "empty view", "≤ 1.0"),
        Row(
            "start: make run, to the first 200 of both",
            both_seconds,
            "s",
            empty_seconds,
            "empty view",
            "≤ 3.0",
        ),
    ]


@contextlib.contextmanager
def _both(veilleur: Veilleur) -> Iterator[float]:
    """As `make run` does once everything is installed; the seconds until both have answered."""
    environ = {**veilleur.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["honcho", "start", "-p", str(veilleur.port)]
    begin = time.monotonic()
    run = started(command, veilleur.folder / "both.log", environ)
    with processes.timed(run, veilleur.port, "/api/ping"):
        until(lambda: processes.is_up(veilleur.cron_port, "/health"), "the cron service")
        yield time.monotonic() - begin


@contextlib.contextmanager
def _empty(folder: Path, port: int) -> Iterator[tuple[Process, float]]:
    command = [sys.executable, "-m", "gunicorn", "bench.empty:app"]
    run = started(command, folder / "empty.log", {**os.environ, "PORT": str(port)})
    with processes.timed(run, port, "/") as (process, seconds):
        yield process, seconds


def main() -> int:
    for setting in SETTINGS:
        os.environ.pop(setting.variable, None)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="veilleur-bench-") as name:
        for part in (footprint, starts):
            folder = Path(name) / part.__name__
            folder.mkdir()
            rows += part(folder)
    print(text(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
