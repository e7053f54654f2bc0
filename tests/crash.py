"""kill -9 at random moments, and a count of what came of it: python -m tests.crash --kills 200 --seed 1."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests
from sqlalchemy import func, select

from app.clock import utcnow
from app.db import Database
from app.models import Alert, Channel, Delivery, Job, TaskRun
from tests import crowd, web_crash
from tests.conftest import CHECKOUT
from tests.processes import Veilleur, is_listening, until
from tests.receivers import HttpReceiver

JOBS = 1000
WAIT_SECONDS = 120
AGAIN = 5  # so many become due once more before each kill
# Loads the modules once and then forks a service whenever it is told to: 200 starts would take too long.
NURSERY = """
import os, signal, sys
import alembic.command, flask.cli, sqlalchemy.dialects.sqlite
import app, app.cron, app.installation
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(2, 1)
        sys.argv = ["flask", "cron-start"]
        flask.cli.main()
    print(child, flush=True)
"""


@dataclass
class Tally:
    """What was provoked and what became of it."""

    kills: Counter[str] = field(default_factory=Counter)  # by what was under way
    expected: Counter[int] = field(default_factory=Counter)  # alerts of each job
    recorded: Counter[int] = field(default_factory=Counter)
    in_flight: Counter[tuple[str, str]] = field(default_factory=Counter)  # receiver, message
    messages: set[str] = field(default_factory=set)
    received: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return sum(len(self.messages - set(came)) for came in self.received.values())

    @property
    def unknown(self) -> int:
        return sum(len(set(came) - self.messages) for came in self.received.values())

    @property
    def repeats(self) -> Counter[tuple[str, str]]:
        return Counter(
            {
                (name, message): times - 1
                for name, came in self.received.items()
                for message, times in came.items()
                if times > 1
            }
        )

    def table(self) -> str:
        came = sum(len(each) for each in self.received.values())
        phases = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        rows = {
            "kills of the cron service": f"{self.kills.total()} ({phases})",
            "alerts expected / recorded": f"{self.expected.total()} / {self.recorded.total()}",
            "jobs with another number": len(
                [job for job in self.expected | self.recorded if self.expected[job] != self.recorded[job]]
            ),
            "messages expected / received": f"{len(self.messages) * len(self.received)} / {came}",
            "messages in flight at a kill": self.in_flight.total(),
            "repeated, with the same id": self.repeats.total(),
            "repeated, though not in flight": (self.repeats - self.in_flight).total(),
            "lost": self.lost,
            "unknown": self.unknown,
        }
        return "\n".join(f"{name:32} {value}" for name, value in rows.items())


def kill_cron(folder: Path, kills: int, seed: int, *, jobs: int = JOBS) -> Tally:
    """Kill the cron service again and again while jobs become overdue, then let it finish; what was counted.

    A message that was on its way at the kill may come twice, with the same id: it is counted as in flight.
    """
    chance, tally = random.Random(seed), Tally()  # noqa: S311  (no secret)
    veilleur = Veilleur(folder, dict(crowd.SETTINGS))
    with HttpReceiver() as first, HttpReceiver() as second, _installed(veilleur, jobs) as database:
        receivers = {"first": first, "second": second}
        for name, receiver in receivers.items():
            crowd.add_receiver(database, name, receiver)
        tally.expected.update(crowd.make_due(database, 1, jobs))
        line = _Line(veilleur)
        try:
            for number in range(kills):
                _round(line, database, tally, chance, (first, second))
                start = number * AGAIN % jobs
                tally.expected.update(crowd.make_due(database, start + 1, start + AGAIN))
            line.begin()
            line.check()
            until(lambda: _is_all_sent(database), "the rest to be sent", seconds=600)
        finally:
            line.end()
        tally.recorded = crowd.alerts_of_jobs(database)
        tally.messages = crowd.message_ids(database)
        tally.received = {name: crowd.received(each) for name, each in receivers.items()}
    return tally


@contextlib.contextmanager
def _installed(veilleur: Veilleur, jobs: int) -> Iterator[Database]:
    database = crowd.install(veilleur)
    crowd.add_jobs(database, jobs)
    try:
        yield database
    finally:
        database.dispose()


class _Line:
    """The cron service that runs, one after the other."""

    def __init__(self, veilleur: Veilleur) -> None:
        self._veilleur = veilleur
        self._token = crowd.token(veilleur.instance)
        self._calls: list[threading.Thread] = []
        self._pid = 0
        with (veilleur.folder / "cron.log").open("ab") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-c", NURSERY],
                cwd=CHECKOUT,
                env=veilleur.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def begin(self) -> None:
        assert self._nursery.stdin and self._nursery.stdout
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        self._pid = int(self._nursery.stdout.readline())

    def is_up(self) -> bool:
        assert self.is_alive(), (self._veilleur.folder / "cron.log").read_text()
        return is_listening(self._veilleur.cron_port)

    def is_alive(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def check(self) -> None:
        """Ask for a check, without waiting for what will never be answered."""
        until(self.is_up, "the cron service", seconds=WAIT_SECONDS)

        def call() -> None:
            with contextlib.suppress(requests.RequestException):
                crowd.trigger(self._veilleur.cron_port, self._token)

        self._calls.append(threading.Thread(target=call))
        self._calls[-1].start()

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        until(lambda: not self.is_alive(), "the end of the process")
        self._pid = 0

    def end(self) -> None:
        if self._pid:
            self.kill()
        self._nursery.communicate()
        for call in self._calls:
            call.join(60)


def _round(
    line: _Line, database: Database, tally: Tally, chance: random.Random, receivers: Sequence[HttpReceiver]
) -> None:
    """Start, and kill: while it starts, while it checks, or while it sends."""
    when, delay = chance.choice(("start", "check", "check", "send", "send")), chance.random()
    enough = sum(len(each.requests) for each in receivers) + chance.randint(1, 100)
    last_run = _last_run(database)
    line.begin()
    if when == "start":
        time.sleep(delay)
    else:
        line.check()
    if when == "check":
        until(lambda: _last_run(database) != last_run, "the check to begin", seconds=WAIT_SECONDS)
        time.sleep(delay / 20)
    if when == "send":
        until(
            lambda: sum(len(each.requests) for each in receivers) >= enough or _is_all_sent(database),
            "messages",
            seconds=WAIT_SECONDS,
        )
    line.kill()
    _count(database, tally)


def _last_run(database: Database) -> int | None:
    with database.reading() as rows:
        return rows.scalar(select(func.max(TaskRun.id)))


def _count(database: Database, tally: Tally) -> None:
    with database.reading() as rows:
        sending = rows.execute(
            select(Channel.name, Alert.message_id)
            .join(Delivery, Delivery.channel_id == Channel.id)
            .join(Alert, Alert.id == Delivery.alert_id)
            .where(Delivery.claimed_by.is_not(None), Delivery.next_attempt_at.is_not(None))
        ).all()
        last = rows.scalars(select(TaskRun).order_by(TaskRun.id.desc()).limit(1)).first()
        due = rows.scalar(select(Job.id).where(Job.attention_at < utcnow()).limit(1))
    tally.in_flight.update((row[0], row[1]) for row in sending)
    is_checking = last is not None and last.finished_at is None
    tally.kills[_phase(bool(sending), is_checking, due is not None)] += 1


def _phase(is_sending: bool, is_checking: bool, is_due: bool) -> str:
    if is_checking:
        return "checking and sending" if is_sending else "checking"
    if is_sending:
        return "sending"
    return "before the check" if is_due else "between"


def _is_all_sent(database: Database) -> bool:
    with database.reading() as rows:
        due = rows.scalar(select(Job.id).where(Job.attention_at < utcnow()).limit(1))
        unrouted = rows.scalar(select(Alert.id).where(Alert.routed_at.is_(None)).limit(1))
        unsent = rows.scalar(select(Delivery.id).where(Delivery.next_attempt_at.is_not(None)).limit(1))
        return due is None and unrouted is None and unsent is None


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes at random moments and count what is lost.")
    parser.add_argument("--kills", type=int, default=200, help="of the cron service")
    parser.add_argument("--web-kills", type=int, default=20, help="of the web application")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="veilleur-crash-"))
    try:
        (folder / "cron").mkdir()
        (folder / "web").mkdir()
        tally = kill_cron(folder / "cron", chosen.kills, chosen.seed)
        sys.stdout.write(tally.table() + "\n")
        web = web_crash.kill_web(folder / "web", chosen.web_kills, chosen.seed)
        sys.stdout.write(web.table() + "\n")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
