"""Load on one address: by wrk where it is installed, else by processes with kept connections."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

from app.clock import iso
from tests.population import JOBS_A_SERVER

SCRIPT = Path(__file__).with_name("requests.lua")
JOBS = 20
MOST_REQUESTS = 40_000  # of one run
PAST = timedelta(days=20)
GENERATOR = "wrk" if shutil.which("wrk") else "one Python process per client"


@dataclass(frozen=True)
class Call:
    """A request to repeat. @BEGIN@, @END@, @JOB@, @SERVER@ and @INTERVAL@ in the template differ each time;
    there are so many `jobs`. `pause_ms` is how long each client waits before each request."""

    port: int
    path: str
    template: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    jobs: int = JOBS
    pause_ms: int = 0

    @property
    def method(self) -> str:
        return "POST" if self.template else "GET"

    def body(self, moment: float, count: int) -> bytes:
        ended_at, job = datetime.fromtimestamp(moment + count // self.jobs, UTC), count * 7919 % self.jobs + 1
        values = {
            "BEGIN": iso(ended_at - timedelta(seconds=60)),
            "END": iso(ended_at),
            "JOB": str(job),
            "SERVER": str((job - 1) // JOBS_A_SERVER + 1),
            "INTERVAL": "30min" if count % 2 else "20min",
        }
        return re.sub("@([A-Z]+)@", lambda found: str(values.get(found[1], found[0])), self.template).encode()


@dataclass(frozen=True)
class Load:
    """What came of a run. `refused` counts answers other than 2xx, `broken` lost connections."""

    per_second: float
    p50_milliseconds: float
    requests: int
    refused: int
    broken: int
    longest_milliseconds: float = 0.0


class Moments:
    """Hands every run times of its own in the past, so that each report sent is a new one."""

    def __init__(self, since: timedelta = PAST) -> None:
        self._next = int(time.time() - since.total_seconds())

    def reserve(self, jobs: int = JOBS) -> int:
        """The first of as many seconds as a run can need with so many jobs."""
        first, self._next = self._next, self._next + MOST_REQUESTS // jobs + 2
        if self._next > time.time():
            raise RuntimeError("no unused times are left")
        return first


def run(call: Call, clients: int, seconds: float, moments: Moments) -> Load:
    """Repeat the call from so many clients at once, each on a connection of its own."""
    moment = moments.reserve(call.jobs)
    if shutil.which("wrk"):
        return _by_wrk(call, clients, seconds, moment)
    return _by_processes(call, clients, seconds, moment)


def _by_wrk(call: Call, clients: int, seconds: float, moment: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as template:
        template.write(call.template)
        template.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        command += [part for name, value in call.headers.items() for part in ("-H", f"{name}: {value}")]
        command += ["-s", str(SCRIPT), f"http://127.0.0.1:{call.port}{call.path}", "--"]
        command += [template.name if call.template else "-", str(moment), str(call.jobs)]
        command += [str(JOBS_A_SERVER), str(call.pause_ms)]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            content = SCRIPT.read_text() + f'\nwrk.method = "{call.method}"\n'
            # With a pause, even of nothing, wrk waits for a timer before each request.
            script.write(
                content if call.pause_ms else content.replace("function delay()", "function unused()")
            )
            script.flush()
            command[command.index(str(SCRIPT))] = script.name
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    told = json.loads(done.stdout.strip().rpartition("\n")[2])
    answered = told["requests"] - told["refused"]
    return Load(
        per_second=answered / (told["microseconds"] / 1e6),
        p50_milliseconds=told["p50"] / 1000,
        requests=told["requests"],
        refused=told["refused"],
        broken=told["broken"],
        longest_milliseconds=told["longest"] / 1000,
    )


def _by_processes(call: Call, clients: int, seconds: float, moment: int) -> Load:
    share = MOST_REQUESTS // clients
    begins_at = time.monotonic() + 0.5 + 0.1 * clients
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(clients, mp_context=context) as pool:
        runs = [
            pool.submit(_client, call, begins_at, seconds, moment, number * share, share)
            for number in range(clients)
        ]
        results = [each.result(seconds + 60) for each in runs]
    times = [took for taken, _refused, _broken in results for took in taken]
    refused = sum(each[1] for each in results)
    return Load(
        per_second=(len(times) - refused) / seconds,
        p50_milliseconds=statistics.median(times) * 1000,
        requests=len(times),
        refused=refused,
        broken=sum(each[2] for each in results),
        longest_milliseconds=max(times) * 1000,
    )


def _client(
    call: Call, begins_at: float, seconds: float, moment: int, first: int, most: int
) -> tuple[list[float], int, int]:
    times: list[float] = []
    refused = broken = 0
    connection = HTTPConnection("127.0.0.1", call.port, timeout=30)
    time.sleep(max(0.0, begins_at - time.monotonic()))
    ends_at = time.monotonic() + seconds
    for count in range(first, first + most):
        time.sleep(call.pause_ms / 1000)
        start = time.monotonic()
        if start > ends_at:
            break
        body = call.body(moment, count) if call.template else None
        try:
            refused += not 200 <= answer(connection, call, body) < 300
        except OSError:
            broken += 1
            connection.close()
            continue
        times.append(time.monotonic() - start)
    connection.close()
    return times, refused, broken


def answer(connection: HTTPConnection, call: Call, body: bytes | None = None) -> int:
    """The status of one call on this connection; the answer is read to its end."""
    connection.request(call.method, call.path, body, dict(call.headers))
    response = connection.getresponse()
    response.read()
    return response.status
