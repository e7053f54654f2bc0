"""What the overdue check costs with few and many jobs, and how fast its alerts leave."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from sqlalchemy import func, insert, select, update

from app import checks, clock, installation
from app.assembly import create_app
from app.checks import JOBS_TOTAL, Policy
from app.cron.runner import Runner
from app.cron.status import Status
from app.cron.tasks import CHECK, TASKS
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.models import STATE_RANKS, Channel, Delivery, Job, Server, Total
from app.outbox import PENDING
from app.settings import load
from bench.table import Row
from tests.receivers import HttpReceiver, Request

POLICY = Policy(3600, "every_day")
SIZES = (1_000, 100_000)
PASSES = 50
ROUNDS = 3
ALERTS = 1_000
DELIVERY_SECONDS = 30.0
HOUR = timedelta(hours=1)


def checking(folder: Path) -> list[Row]:
    """checks.run with nothing due and with one job in a hundred just overdue."""
    idle, guarded, due = {}, {}, {}
    for size in SIZES:
        with _installed(folder / f"jobs-{size}") as (database, guard):
            now = clock.utcnow()
            _add_jobs(database, size, now)
            idle[size] = _median_ms([_pass_seconds(database, now) for _ in range(PASSES)])
            guarded[size] = _median_ms([_guarded_seconds(*guard) for _ in range(PASSES // 2)])
            due[size] = _median_ms([_due_seconds(database, size // 100, now) for _ in range(ROUNDS)])
    few, many = SIZES
    return [
        Row(f"check, {few} jobs, nothing due", idle[few], "ms", 640, "d", "≤ 1.0"),
        Row(f"check, {many} jobs, nothing due", idle[many], "ms", idle[few], "few jobs", "≤ 1.0"),
        Row(
            f"the same with its task guard, {many} jobs",
            guarded[many],
            "ms",
            guarded[few],
            "few jobs",
            "≤ 10",
        ),
        Row(f"check, {few} jobs, {few // 100} due", due[few], "ms"),
        Row(f"check, {many} jobs, {many // 100} due", due[many], "ms", 3000, "h", "≤ 500"),
    ]


@contextlib.contextmanager
def _installed(folder: Path) -> Iterator[tuple[Database, tuple[Runner, Courier]]]:
    settings, _first = installation.prepare(
        load({"VEILLEUR_INSTANCE_PATH": str(folder), "VEILLEUR_ADMIN_PASSWORD": "only for measuring"}),
        clock.utcnow(),
    )
    app = create_app(settings)
    database: Database = app.extensions[EXTENSION]
    courier = Courier(app, database, settings, clock.utcnow)
    try:
        yield database, (Runner(app, database, settings, courier, Status(300)), courier)
    finally:
        courier.stop()
        database.dispose()


def _add_jobs(database: Database, count: int, now: datetime) -> None:
    """Jobs that are well for another day."""
    common = {
        "server_id": 1,
        "created_at": now,
        "state": "ok",
        "state_rank": STATE_RANKS["ok"],
        "state_since_at": now,
        "why": {},
        "expected_at": now + 24 * HOUR,
        "until_at": now + 24 * HOUR,
        "expected_source": "default",
        "attention_at": now + 24 * HOUR,
        "last_good_at": now,
        "last_began_at": now,
        "last_ended_at": now,
        "last_outcome": "Success",
        "last_run_good": True,
    }
    with database.writing() as session:
        session.execute(insert(Server).values(id=1, machine_id="bench", name="bench", created_at=now))
        rows = [
            common | {"id": number, "backup_id": f"DB-{number}", "name": f"job {number}"}
            for number in range(1, count + 1)
        ]
        session.execute(insert(Job), rows)
        session.execute(insert(Total).values(name=JOBS_TOTAL, value=count))


def _make_due(database: Database, count: int, now: datetime) -> None:
    """Let so many more jobs, spread over all, be overdue by a minute."""
    past = now - 2 * HOUR
    with database.writing() as session:
        total = session.scalar(select(func.count()).select_from(Job)) or 0
        step = max(1, total // count)
        chosen = select(Job.id).where(Job.state == "ok", Job.id % step == 0).limit(count)
        ids = session.scalars(chosen).all()
        ids = ids or session.scalars(select(Job.id).where(Job.state == "ok").limit(count)).all()
        for start in range(0, len(ids), 500):
            values = {"expected_at": past, "until_at": past, "attention_at": past}
            session.execute(update(Job).where(Job.id.in_(ids[start : start + 500])).values(**values))


def _pass_seconds(database: Database, now: datetime) -> float:
    start = time.perf_counter()
    checks.run(database, POLICY, now)
    return time.perf_counter() - start


def _guarded_seconds(runner: Runner, _courier: Courier) -> float:
    start = time.perf_counter()
    outcome = runner.run(CHECK, TASKS[CHECK], "manual", lambda: True)
    assert outcome.succeeded, outcome.message
    return time.perf_counter() - start


def _due_seconds(database: Database, count: int, now: datetime) -> float:
    _make_due(database, count, now)
    start = time.perf_counter()
    found = checks.run(database, POLICY, now)
    seconds = time.perf_counter() - start
    assert found.alerts == count, f"{found.alerts} alerts instead of {count}"
    return seconds


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def delivering(folder: Path) -> list[Row]:
    """A thousand jobs become overdue at once; the messages go to a web server in another process."""
    rates, firsts, records = [], [], []
    for number in range(ROUNDS):
        with _receiving() as line, _installed(folder / f"alerts-{number}") as (database, guard):
            rate, first, recorded = _tell_all(database, guard[1], line)
        rates.append(rate)
        firsts.append(first)
        records.append(recorded)
    return [
        Row(
            f"{ALERTS} alerts: recorded, courier running", statistics.median(records), "s", 3.0, "h", "≤ 0.5"
        ),
        Row(
            f"{ALERTS} alerts: first message, after the check began",
            statistics.median(firsts),
            "s",
            3.0,
            "h",
            "≤ 0.5",
        ),
        Row(f"{ALERTS} alerts: delivered to a webhook", statistics.median(rates), "/s", 86, "h", "≥ 400"),
    ]


def _tell_all(database: Database, courier: Courier, line: Connection) -> tuple[float, float, float]:
    """Messages per second, and the seconds until the first one came and until the check had ended."""
    now = clock.utcnow()
    _add_jobs(database, ALERTS, now)
    with database.writing() as session:
        config = {"url": line.recv()}
        session.add(Channel(kind="webhook", name="bench", config=config, language="en", created_at=now))
    _make_due(database, ALERTS, now)
    courier.start()
    begin = time.monotonic()
    checks.run(database, POLICY, now)
    recorded = time.monotonic() - begin
    courier.wake()
    while _waiting(database) and time.monotonic() - begin < DELIVERY_SECONDS:
        time.sleep(0.05)
    line.send("how many?")
    messages, first, last = line.recv()
    assert messages == ALERTS, f"{messages} messages came instead of {ALERTS}"
    return messages / (last - begin), first - begin, recorded


def _waiting(database: Database) -> int:
    with database.reading() as session:
        return (
            session.scalar(select(func.count()).select_from(Delivery).where(Delivery.status == PENDING)) or 0
        )


@contextlib.contextmanager
def _receiving() -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_receive, args=(there,), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.close()
        there.close()
        process.join(10)
        process.kill()


class _Clocked(HttpReceiver):
    """Notes when each message came, on the clock that all processes share."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def record(self, request: Request) -> None:
        super().record(request)
        self.times.append(time.monotonic())


def _receive(line: Connection) -> None:
    with _Clocked() as receiver, contextlib.suppress(EOFError):
        line.send(receiver.url)
        line.recv()
        different = {each.headers["Idempotency-Key"] for each in receiver.requests}
        line.send((len(different), min(receiver.times), max(receiver.times)))
