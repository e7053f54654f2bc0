"""The real web application and cron service: how fast they start and how much memory they hold."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.table import Row
from tests.processes import Process, Veilleur, started

SYNCS = 300
START_SECONDS = 30.0


def is_up(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


@contextlib.contextmanager
def timed(
    run: contextlib.AbstractContextManager[Process], port: int, path: str
) -> Iterator[tuple[Process, float]]:
    """The process, and the seconds from its start to the first 200."""
    begin = time.monotonic()
    with run as process:
        while not is_up(port, path):
            if process.child.poll() is not None or time.monotonic() - begin > START_SECONDS:
                raise RuntimeError(f"did not start:\n{process.output}")
            time.sleep(0.005)
        yield process, time.monotonic() - begin


def web(veilleur: Veilleur) -> contextlib.AbstractContextManager[tuple[Process, float]]:
    run = veilleur.run("gunicorn", "wsgi:app", name="web")
    return timed(run, veilleur.port, "/api/ping")


def cron(veilleur: Veilleur) -> contextlib.AbstractContextManager[tuple[Process, float]]:
    return timed(veilleur.run("flask", "cron-start", name="cron"), veilleur.cron_port, "/health")


@contextlib.contextmanager
def empty_application(folder: Path, port: int) -> Iterator[None]:
    """The empty view under the settings that Veilleur itself is served with."""
    environ = {**os.environ, "PORT": str(port)}
    command = [sys.executable, "-m", "gunicorn", "bench.empty:app"]
    with timed(started(command, folder / "empty.log", environ), port, "/"):
        yield


def disk(folder: Path) -> Row:
    """What a durable write costs here at least: 4 kB and fdatasync, as a commit does."""
    times = []
    with (folder / "written").open("ab", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return Row(
        "the disk: 4 kB and fdatasync",
        statistics.median(times) * 1000,
        "ms",
        runs=SYNCS,
        note="for comparison",
    )


def memory_mib(*processes: Process) -> float:
    """The memory of the processes and all their children; what several share is counted once (PSS)."""
    groups = {process.child.pid for process in processes}
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getpgid(int(folder.name)) in groups:
                    total += _pss_kib(folder)
    return total / 1024


def _pss_kib(folder: Path) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
