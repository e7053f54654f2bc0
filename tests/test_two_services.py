"""Two cron services on one database: every alert once, and whoever is stopped is replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from sqlalchemy import func, select

from app.checks import BATCH
from app.db import Database
from app.models import Alert, Lease, TaskRun
from tests import crowd, databases
from tests.processes import Process, Veilleur, started, until
from tests.receivers import HttpReceiver

JOBS = 1000
DUE_AT_STOP = BATCH + 100
# The product's 45 s would make the suite slow; LEASE_SECONDS=45 tries it with that.
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "3"))


@dataclass
class Pair:
    """Two services of one installation, not yet started."""

    first: Veilleur
    second: Veilleur
    database: Database
    token: str

    def trigger_both(self) -> None:
        calls = [
            threading.Thread(target=crowd.trigger, args=(each.cron_port, self.token))
            for each in (self.first, self.second)
        ]
        for each in calls:
            each.start()
        for each in calls:
            each.join(60)

    def alerts(self) -> int:
        with self.database.reading() as rows:
            return rows.scalar(select(func.count()).select_from(Alert)) or 0


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of commits would wait for the disk."""
    memory = Path("/dev/shm")  # noqa: S108  (mkdtemp makes a folder of its own in it)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def pair(quick_folder: Path) -> Iterator[Pair]:
    first = Veilleur(quick_folder, dict(crowd.SETTINGS))
    (quick_folder / "second").mkdir()
    shared = {"VEILLEUR_INSTANCE_PATH": str(first.instance), **databases.environ_of(first.instance)}
    second = Veilleur(quick_folder / "second", {**crowd.SETTINGS, **shared})
    database = crowd.install(first)
    crowd.add_jobs(database, JOBS)
    yield Pair(first, second, database, crowd.token(first.instance))
    database.dispose()


def _came(receivers: tuple[HttpReceiver, ...], count: int) -> bool:
    return all(len(crowd.received(each)) >= count for each in receivers)


def test_a_thousand_jobs_due_make_a_thousand_alerts_and_messages(pair: Pair) -> None:
    """Half of them at the start of both, the others when both are told to check at once."""
    with HttpReceiver() as hook, HttpReceiver() as other:
        crowd.add_receiver(pair.database, "hook", hook)
        crowd.add_receiver(pair.database, "other", other)
        crowd.make_due(pair.database, 1, JOBS // 2)
        with contextlib.ExitStack() as both:
            # The second one starts while the first does.
            both.enter_context(pair.first.run("flask", "cron-start", name="cron"))
            both.enter_context(pair.second.cron())
            until(lambda: _is_up(pair.first), "the first")
            crowd.make_due(pair.database, JOBS // 2 + 1, JOBS)
            pair.trigger_both()
            until(lambda: _came((hook, other), JOBS), "all messages", seconds=240)
        alerts = crowd.alerts_of_jobs(pair.database)
        assert (len(alerts), alerts.total()) == (JOBS, JOBS)
        for receiver in (hook, other):
            came = crowd.received(receiver)
            assert (len(came), came.total()) == (JOBS, JOBS)
            assert set(came) == crowd.message_ids(pair.database)
    with pair.database.reading() as rows:
        holders = set(rows.scalars(select(TaskRun.holder)))
        assert len(holders) == 2
        assert rows.scalars(select(Lease)).all() == []


def _is_up(veilleur: Veilleur) -> bool:
    with contextlib.suppress(requests.RequestException):
        address = f"http://127.0.0.1:{veilleur.cron_port}/health"
        return requests.get(address, timeout=30).status_code == 200
    return False


STOPS_ITSELF = """
import os, signal, sys
from datetime import timedelta
from app import checks, delivery, installation, lease
from app.clock import utcnow
from app.core import create_core
from app.cron import serve
from app.settings import load

lease.LEASE = timedelta(seconds=float(sys.argv[1]))
lease.RENEW_AFTER = lease.LEASE / 4
if sys.argv[2:]:
    # Nothing is being sent when it is stopped.
    delivery._POLL_SECONDS = 3600
    delivery.Courier.wake = lambda courier: None
    real, done = checks._run_batch, []

    def batch(*arguments):
        if len(done) == 1:
            done.append("stopped")
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            done.append("batch")
        return real(*arguments)

    checks._run_batch = batch
settings, _told = installation.prepare(load(os.environ), utcnow())
os._exit(serve(create_core(settings), settings))
"""


def _is_stopped(process: Process) -> bool:
    state = Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


@contextlib.contextmanager
def _service(veilleur: Veilleur, *arguments: str) -> Iterator[Process]:
    command = [sys.executable, "-c", STOPS_ITSELF, str(LEASE_SECONDS), *arguments]
    with started(command, veilleur.folder / "cron.log", veilleur.environ) as process:
        yield process


def test_a_stopped_holder_is_replaced_and_repeats_nothing_afterwards(pair: Pair) -> None:
    with HttpReceiver() as hook:
        crowd.add_receiver(pair.database, "hook", hook)
        crowd.make_due(pair.database, 1, DUE_AT_STOP)
        with _service(pair.first, "stop") as stopped:
            until(lambda: _is_stopped(stopped), "the holder to be stopped between two batches")
            stopped_at = time.monotonic()
            # It was stopped at the start of a batch, which nobody else may have to wait for.
            assert pair.alerts() == BATCH
            with _service(pair.second):
                until(lambda: pair.alerts() == DUE_AT_STOP, "the other to go on", seconds=60)
                replaced_seconds = time.monotonic() - stopped_at
                until(lambda: _came((hook,), DUE_AT_STOP), "all messages", seconds=240)
                stopped.child.send_signal(signal.SIGCONT)
                until(lambda: "goes on with it" in stopped.output, "the first to see that it was replaced")
                until(lambda: _is_up(pair.first), "the first to answer")
                pair.trigger_both()
        assert replaced_seconds < 60
        alerts = crowd.alerts_of_jobs(pair.database)
        assert (len(alerts), alerts.total()) == (DUE_AT_STOP, DUE_AT_STOP)
        assert crowd.received(hook) == Counter(dict.fromkeys(crowd.message_ids(pair.database), 1))
        sys.stdout.write(f"replaced after {replaced_seconds:.1f} s with a lease of {LEASE_SECONDS:g} s\n")


def test_a_second_start_on_the_same_port_says_so_and_the_first_goes_on(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, dict(crowd.SETTINGS))
    with veilleur.cron() as first:
        before = requests.get(f"http://127.0.0.1:{veilleur.cron_port}/health", timeout=30).json()
        second = veilleur.finish("flask", "cron-start")
        assert second.returncode == 1
        told = f"cron service: 127.0.0.1:{veilleur.cron_port} is taken; is another one running?"
        assert second.stderr.strip().splitlines()[-1] == told
        assert crowd.trigger(veilleur.cron_port, crowd.token(veilleur.instance)).status_code == 200
        after = requests.get(f"http://127.0.0.1:{veilleur.cron_port}/health", timeout=30).json()
        assert (after["holder"], after["isRunning"]) == (before["holder"], True)
        assert first.stop() == 0
    assert not list(veilleur.instance.glob("cron-*"))
