"""What the web application answers per second, beside an empty view on the same machine."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import time
from dataclasses import replace
from http.client import HTTPConnection

import requests

from bench import peers
from bench.load import Call, Load, Moments, answer, run
from bench.table import Row
from tests.conftest import SAMPLES
from tests.processes import PASSWORD, Veilleur

ROUNDS = 5
SECONDS = 1.0
SINGLE_CALLS = 600


def median(loads: list[Load]) -> float:
    return statistics.median(each.per_second for each in loads)


def row(work: str, loads: list[Load], **more: object) -> Row:
    """A row of requests per second; one that lost or refused any says so and has failed."""
    refused = sum(each.refused for each in loads)
    broken = sum(each.broken for each in loads)
    p50 = statistics.median(each.p50_milliseconds for each in loads)
    note = f"p50 {p50:.2g} ms"
    if refused or broken:
        note += f"; {refused} REFUSED, {broken} BROKEN"
    made = Row(work, median(loads), "/s", note=note, failed=bool(refused or broken), runs=len(loads))
    return replace(made, **more)  # type: ignore[arg-type]


def configuring(veilleur: Veilleur, empty_port: int, moments: Moments) -> list[Row]:
    """The empty view, GET and POST /api/cron-config by turns."""
    save = Call(veilleur.port, "/api/cron-config", '{"interval": "@INTERVAL@"}', administrator(veilleur))
    calls = {
        "empty view": Call(empty_port, "/"),
        "GET": Call(veilleur.port, "/api/cron-config"),
        "POST": save,
    }
    rows = []
    for clients in (1, 8, 16):
        loads: dict[str, list[Load]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                loads[name].append(run(call, clients, SECONDS, moments))
        named, empty = of_clients(clients), median(loads["empty view"])
        rows += [
            row(f"empty view, {named}", loads["empty view"]),
            row(
                f"GET /api/cron-config, {named}",
                loads["GET"],
                baseline=empty,
                baseline_name="empty",
                target="≥ 0.667×",
            ),
            _saving(named, clients, loads["POST"], empty),
        ]
        if clients == 16:
            peer, three_times = peers.GETS_PER_SECOND[16], f"≥ {3 * peers.GETS_PER_SECOND[16]:.0f}"
            rows.append(
                row(
                    "GET /api/cron-config, 16 clients, beside d",
                    loads["GET"],
                    baseline=peer,
                    baseline_name=peers.DUPLISTATUS,
                    target=three_times,
                )
            )
    return rows


def _saving(named: str, clients: int, loads: list[Load], empty: float) -> Row:
    """Written durably, audited and in force."""
    peer = peers.SAVES_PER_SECOND.get(clients)
    beside = {"baseline": empty, "baseline_name": "empty"}
    if peer:
        beside = {"baseline": peer, "baseline_name": peers.DUPLISTATUS, "target": f"≥ {peer:.0f}"}
    return row(f"POST /api/cron-config, {named}", loads, **beside)


def of_clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def administrator(veilleur: Veilleur) -> dict[str, str]:
    with requests.Session() as session:
        login = session.post(
            f"{veilleur.url}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
        )
        login.raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    return {
        "Cookie": cookies,
        "X-CSRFToken": login.json()["csrfToken"],
        "Content-Type": "application/json",
    }


def proxying(veilleur: Veilleur, moments: Moments) -> list[Row]:
    """GET /health of the cron service, asked directly and through the web application."""
    direct, proxied = _single_calls(
        Call(veilleur.cron_port, "/health"), Call(veilleur.port, "/api/cron/health")
    )
    many = [run(Call(veilleur.port, "/api/cron/health"), 16, SECONDS, moments) for _ in range(ROUNDS)]
    return [
        Row("cron GET /health, direct, single calls", direct, "ms", runs=SINGLE_CALLS),
        Row(
            "GET /api/cron/health, proxied, single calls", proxied, "ms", direct, "direct", runs=SINGLE_CALLS
        ),
        Row(
            "what the proxy adds",
            proxied - direct,
            "ms",
            peers.PROXY_ADDS_MS,
            peers.DUPLISTATUS,
            "≤ 1.0",
            runs=SINGLE_CALLS,
        ),
        row(
            "GET /api/cron/health, 16 clients",
            many,
            baseline=peers.PROXY_PER_SECOND,
            baseline_name=peers.DUPLISTATUS,
            target="≥ 1.5×",
        ),
    ]


def _single_calls(*calls: Call) -> list[float]:
    """Medians in milliseconds, each on one kept connection, asked by turns."""
    times: list[list[float]] = [[] for _ in calls]
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", each.port, timeout=30)))
            for each in calls
        ]
        for _ in range(SINGLE_CALLS):
            for number, call in enumerate(calls):
                start = time.perf_counter()
                status = answer(lines[number], call)
                times[number].append(time.perf_counter() - start)
                assert status == 200, f"{call.path} answered {status}"
    return [statistics.median(each) * 1000 for each in times]


def upload_call(veilleur: Veilleur, size_bytes: int, key: str = "", **more: int) -> Call:
    """A real report of about this size; each one sent has new times and one of the jobs."""
    content = json.loads((SAMPLES / "056-live-2.0.7.1-backup-nochange.json").read_text())
    content["Data"] |= {"BeginTime": "@BEGIN@", "EndTime": "@END@"}
    content["Extra"] |= {"machine-id": "machine-@SERVER@", "machine-name": "machine-@SERVER@"}
    content["Extra"] |= {"backup-name": "job @JOB@", "backup-id": "DB-@JOB@"}
    lines, content["LogLines"] = content["LogLines"], []
    length = len(json.dumps(content))
    for line in itertools.cycle(lines):
        if length >= size_bytes:
            break
        content["LogLines"].append(line)
        length += len(json.dumps(line)) + 2
    path = f"/api/upload?api_key={key or veilleur.upload_key()}"
    return Call(veilleur.port, path, json.dumps(content), {"Content-Type": "application/json"}, **more)
