"""Real processes for tests: each in a process group of its own, ready when it says so, gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from app.db import Database
from tests import databases
from tests.conftest import CHECKOUT, unused_port

PASSWORD = "correct horse battery"
START_SECONDS = 60
# A worker that is told to stop in the moment it is born misses it; gunicorn repeats itself after 30 s.
STOP_SECONDS = 45


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for the condition; the only waiting there is."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Process:
    """A running child and everything it wrote."""

    child: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal to the process alone, as systemd does at first; its exit status."""
        self.child.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.child.wait(STOP_SECONDS)

    def group_is_gone(self) -> bool:
        try:
            os.killpg(self.child.pid, 0)
        except ProcessLookupError:
            return True
        return False


@contextlib.contextmanager
def started(
    command: Sequence[str], log: Path, environ: dict[str, str] | None = None, cwd: Path = CHECKOUT
) -> Iterator[Process]:
    """Run the command until the block ends; then nothing of its process group is left."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(child, log)
    try:
        yield process
    finally:
        _end(process)


def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait()
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.child.pid, signal.SIGKILL)


@dataclass
class Veilleur:
    """One installation in a folder of its own, on free ports; started and stopped as often as wanted."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # such as setpriv, to run as somebody else
    port: int = field(default_factory=unused_port)
    cron_port: int = field(default_factory=unused_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def instance(self) -> Path:
        return self.folder / "instance"

    @property
    def environ(self) -> dict[str, str]:
        own = {
            "PORT": str(self.port),
            "CRON_PORT": str(self.cron_port),
            "VEILLEUR_INSTANCE_PATH": str(self.instance),
            "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
            "PYTHONUNBUFFERED": "1",
        }
        kind = {} if "VEILLEUR_DATABASE_URL" in self.settings else databases.environ_of(self.instance)
        return {**os.environ, **own, **kind, **self.settings}

    def database(self) -> Database:
        """What the processes work on, to look into and to prepare."""
        return databases.of(self.instance)

    @contextlib.contextmanager
    def web(self) -> Iterator[Process]:
        """gunicorn, ready to answer."""
        with self.run("gunicorn", "wsgi:app", name="web") as process:
            until(lambda: _answers(process, self.port), "the web application")
            yield process

    @contextlib.contextmanager
    def cron(self) -> Iterator[Process]:
        """The cron service, ready to answer."""
        with self.run("flask", "cron-start", name="cron") as process:
            until(lambda: _answers(process, self.cron_port), "the cron service")
            yield process

    @contextlib.contextmanager
    def run(self, module: str, *arguments: str, name: str = "run") -> Iterator[Process]:
        """Any of the commands, without waiting for anything."""
        command = [*self.prefix, sys.executable, "-m", module, *arguments]
        with started(command, self.folder / f"{name}.log", self.environ) as process:
            yield process

    def finish(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", module, *arguments],
            cwd=CHECKOUT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def upload_key(self) -> str:
        """The key that the first start made, read from what it printed."""
        printed = "".join(log.read_text() for log in self.folder.glob("*.log"))
        return printed.split("/api/upload?api_key=", 1)[1].split()[0]


def _answers(process: Process, port: int) -> bool:
    if process.child.poll() is not None:
        raise AssertionError(f"ended with {process.child.returncode}:\n{process.output}")
    if not is_listening(port):
        return False
    # gunicorn listens before its workers are there; an answer of any kind proves that they are.
    with contextlib.suppress(requests.RequestException):
        requests.get(f"http://127.0.0.1:{port}/api/ping", timeout=5)
        return True
    return False
