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

SCRIPT = Path(__file__).with_name("requests.lua")
JOBS = 20
MOST_REQUESTS = 20_000  # of one run; also the seconds between the first moments of two runs
GENERATOR = "wrk" if shutil.which("wrk") else "one Python process per client"


@dataclass(frozen=True)
class Call:
    """A request to repeat. @BEGIN@, @END@, @JOB@ and @INTERVAL@ in the template differ each time."""

    port: int
    path: str
    template: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return "POST" if self.template else "GET"

    def body(self, moment: float, count: int) -> bytes:
        ended_at = datetime.fromtimestamp(moment + count, UTC)
        values = {
            "BEGIN": iso(ended_at - timedelta(seconds=60)),
            "END": iso(ended_at),
            "JOB": str(count % JOBS),
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


class Moments:
    """Hands every run times of its own in the past, so that each report sent is a new one."""

    def __init__(self) -> None:
        self._next = time.time() - 20 * 86_400

    def reserve(self) -> int:
        self._next += MOST_REQUESTS
        if self._next > time.time() - MOST_REQUESTS:
            raise RuntimeError("no unused times are left")
        return int(self._next)


def run(call: Call, clients: int, seconds: float, moments: Moments) -> Load:
    """Repeat the call from so many clients at once, each on a connection of its own."""
    moment = moments.reserve()
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
        command += [template.name if call.template else "-", str(moment), str(JOBS)]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT.read_text() + f'\nwrk.method = "{call.method}"\n')
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
    )


def _by_processes(call: Call, clients: int, seconds: float, moment: int) -> Load:
    share = MOST_REQUESTS // clients
    begins_at = time.monotonic() + 0.5 + 0.1 * clients
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(clients, mp_context=context) as pool:
        runs = [
            pool.submit(_client, call, begins_at, seconds, moment + number * share, share)
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
    )


def _client(
    call: Call, begins_at: float, seconds: float, moment: int, most: int
) -> tuple[list[float], int, int]:
    times: list[float] = []
    refused = broken = 0
    connection = HTTPConnection("127.0.0.1", call.port, timeout=30)
    time.sleep(max(0.0, begins_at - time.monotonic()))
    ends_at = time.monotonic() + seconds
    for count in range(most):
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
