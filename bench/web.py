"""What the web application answers per second, beside an empty view on the same machine."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from dataclasses import replace
from http.client import HTTPConnection

import requests

from bench.load import Call, Load, Moments, answer, run
from bench.table import Row
from tests.conftest import SAMPLES
from tests.processes import PASSWORD, Veilleur

ROUNDS = 3
SECONDS = 2.0
UPLOAD_SECONDS = 3.0
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
    made = Row(work, median(loads), "/s", note=note, failed=bool(refused or broken))
    return replace(made, **more)  # type: ignore[arg-type]


def reading(veilleur: Veilleur, empty_port: int, moments: Moments) -> list[Row]:
    """The empty view and GET /api/cron-config, by turns."""
    rows = []
    for clients, target in ((1, ""), (16, "≥ 4374")):
        empty, config = [], []
        for _ in range(ROUNDS):
            empty.append(run(Call(empty_port, "/"), clients, SECONDS, moments))
            config.append(run(Call(veilleur.port, "/api/cron-config"), clients, SECONDS, moments))
        named = f"{clients} client{'s' if clients > 1 else ''}"
        rows.append(row(f"empty view, {named}", empty))
        rows.append(
            row(
                f"GET /api/cron-config, {named}",
                config,
                baseline=median(empty),
                baseline_name="empty",
                target=target,
            )
        )
    return rows


def saving(veilleur: Veilleur, moments: Moments) -> list[Row]:
    """POST /api/cron-config by an administrator: written durably, audited and in force."""
    call = Call(veilleur.port, "/api/cron-config", '{"interval": "@INTERVAL@"}', _administrator(veilleur))
    one = [run(call, 1, SECONDS, moments) for _ in range(ROUNDS)]
    eight = [run(call, 8, SECONDS, moments) for _ in range(ROUNDS)]
    return [
        row("POST /api/cron-config, 1 client", one, baseline=1015, baseline_name="d", target="≥ 1015"),
        row("POST /api/cron-config, 8 clients", eight, baseline=1100, baseline_name="d", target="≥ 1100"),
    ]


def _administrator(veilleur: Veilleur) -> dict[str, str]:
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
        Row("cron GET /health, direct, single calls", direct, "ms", 0.21, "d"),
        Row("GET /api/cron/health, proxied, single calls", proxied, "ms", direct, "direct"),
        Row("what the proxy adds", proxied - direct, "ms", 2.47, "d", "≤ 1.0"),
        row("GET /api/cron/health, 16 clients", many, baseline=974, baseline_name="d", target="≥ 1.5×"),
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


def upload_call(veilleur: Veilleur, size_bytes: int) -> Call:
    """A real report of about this size; each one sent has new times and one of a few jobs."""
    content = json.loads((SAMPLES / "056-live-2.0.7.1-backup-nochange.json").read_text())
    content["Data"] |= {"BeginTime": "@BEGIN@", "EndTime": "@END@"}
    content["Extra"] |= {"machine-id": "bench", "machine-name": "bench"}
    content["Extra"] |= {"backup-name": "job @JOB@", "backup-id": "DB-@JOB@"}
    lines, content["LogLines"] = content["LogLines"], []
    while len(json.dumps(content)) < size_bytes:
        content["LogLines"].append(lines[len(content["LogLines"]) % len(lines)])
    path = f"/api/upload?api_key={veilleur.upload_key()}"
    return Call(veilleur.port, path, json.dumps(content), {"Content-Type": "application/json"})


def uploading(veilleur: Veilleur, moments: Moments) -> list[Row]:
    """Reports taken in per second."""
    rows = []
    small, large = upload_call(veilleur, 3650), upload_call(veilleur, 19_900)
    for name, call, baseline, target in (("3.7 kB", small, 252.0, "≥ 1000"), ("20 kB", large, None, "")):
        for clients in (1, 8):
            loads = [run(call, clients, UPLOAD_SECONDS, moments) for _ in range(ROUNDS)]
            title = f"upload of {name}, {clients} client{'s' if clients > 1 else ''}"
            rows.append(
                row(
                    title,
                    loads,
                    baseline=baseline,
                    baseline_name="d",
                    target=target if clients > 1 else "",
                )
            )
    return rows


def uploading_again(veilleur: Veilleur, moments: Moments, before: Row, stored: int) -> Row:
    """The same upload once many reports are stored."""
    loads = [run(upload_call(veilleur, 3650), 8, UPLOAD_SECONDS, moments) for _ in range(ROUNDS)]
    title = f"upload of 3.7 kB, 8 clients, {stored} stored"
    return row(title, loads, baseline=before.median, baseline_name="empty", target="≥ 0.9×")
