"""What the overdue check costs with few and many jobs, how fast its alerts leave, what the service holds."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from multiprocessing.connection import Connection

from sqlalchemy import func, select

from app import checks, clock
from app.checks import Policy
from app.core import create_core
from app.cron.runner import Runner
from app.cron.status import Status
from app.cron.tasks import CHECK, TASKS
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.models import Channel, Delivery, TaskRun
from app.outbox import PENDING
from bench import peers, processes
from bench.ground import TOKEN, Ground, Installed, say
from bench.table import Row
from tests import crowd
from tests.receivers import HttpReceiver, Request

POLICY = Policy(3600, "every_day")
PASSES = 200
GUARDED = 50
DELIVERY_SECONDS = 300.0
SETTLE_SECONDS = 3.0


def passes(ground: Ground) -> list[Row]:
    """Nothing due, with few and with many jobs by turns: the check alone, and as the cron service runs it."""
    few, many = ground.few(), ground.many()
    alone: dict[str, list[float]] = {"few": [], "many": []}
    guarded: dict[str, list[float]] = {"few": [], "many": []}
    with ExitStack() as stack:
        places = {
            "few": stack.enter_context(_service(few)),
            "many": stack.enter_context(_service(many)),
        }
        now = clock.utcnow()
        for number in range(PASSES):
            for name, (database, runner) in places.items():
                alone[name].append(_pass_ms(database, now))
                if number % (PASSES // GUARDED) == 0:
                    guarded[name].append(_guarded_ms(runner))
    few_jobs, many_jobs = few.population.jobs, many.population.jobs
    alone_ms = {name: statistics.median(times) for name, times in alone.items()}
    guarded_ms = {name: statistics.median(times) for name, times in guarded.items()}
    peer_ms = peers.CHECK_MS[ground.kind]
    return [
        *(
            Row(
                f"check, {jobs} jobs, nothing due",
                alone_ms[name],
                "ms",
                peer_ms,
                peers.HEALTHCHECKS,
                "≤ 1.0",
                runs=PASSES,
            )
            for name, jobs in (("few", few_jobs), ("many", many_jobs))
        ),
        _flat(f"check, {many_jobs} jobs, nothing due, beside {few_jobs}", alone_ms, "≤ 1.5×", PASSES),
        _flat(f"the same with its task guard, {many_jobs} jobs", guarded_ms, "≤ 10", GUARDED),
        _flat(
            f"the same with its task guard, {many_jobs} jobs, beside {few_jobs}",
            guarded_ms,
            "≤ 1.5×",
            GUARDED,
        ),
    ]


def _flat(work: str, medians: dict[str, float], target: str, runs: int) -> Row:
    return Row(work, medians["many"], "ms", medians["few"], "few jobs", target, runs=runs)


@contextlib.contextmanager
def _service(place: Installed) -> Iterator[tuple[Database, Runner]]:
    settings = place.settings
    app = create_core(settings)
    database: Database = app.extensions[EXTENSION]
    courier = Courier(app, database, settings, clock.utcnow)
    try:
        yield database, Runner(app, database, settings, courier, Status(300))
    finally:
        courier.stop()
        database.dispose()


def _pass_ms(database: Database, now: datetime) -> float:
    start = time.perf_counter()
    checks.run(database, POLICY, now)
    return (time.perf_counter() - start) * 1000


def _guarded_ms(runner: Runner) -> float:
    start = time.perf_counter()
    outcome = runner.run(CHECK, TASKS[CHECK], "manual", lambda: True)
    assert outcome.succeeded, outcome.message
    return (time.perf_counter() - start) * 1000


def trigger(place: Installed, task: str, seconds: float = 300) -> None:
    """Have the running cron service do a task now; back when it is done."""
    crowd.trigger(place.veilleur.cron_port, TOKEN, task, seconds).raise_for_status()


def holding(ground: Ground) -> list[Row]:
    """The memory of the real service after checks of few and of many jobs."""
    held = {}
    for name, place in (("few", ground.few()), ("many", ground.many())):
        with processes.cron(place.veilleur) as (process, _):
            time.sleep(SETTLE_SECONDS)
            for _ in range(3):
                trigger(place, CHECK)
            held[name] = processes.memory_mib(process)
    return [
        Row(
            f"memory, cron, {ground.many().population.jobs} jobs (PSS)",
            held["many"],
            "MiB",
            held["few"],
            "few jobs",
            "≤ +20",
        )
    ]


def alerting(ground: Ground) -> list[Row]:
    """Jobs become overdue at once, spread over all; the real service records them and tells a web server."""
    place, due = ground.many(), ground.scale.due
    rates, firsts, records = [], [], []
    step = place.population.jobs // due
    with _receiving() as line, place.database() as database:
        _add_channel(database, line.recv())
        with processes.cron(place.veilleur):
            time.sleep(SETTLE_SECONDS)
            for number in range(ground.scale.due_rounds):
                made_due = len(crowd.make_due(database, number + 1, place.population.jobs, step))
                rate, first, recorded = _tell_all(place, database, line, made_due)
                say(f"{made_due} alerts: recorded in {recorded:.2f} s, first at {first:.2f} s, {rate:.0f}/s")
                rates.append(rate)
                firsts.append(first)
                records.append(recorded)
    runs = ground.scale.due_rounds
    seconds = "≤ 5" if due > peers.ALERTS else "≤ 0.5"
    peer_seconds = peers.RECORDED_SECONDS[ground.kind]
    title = f"{due} newly due of {place.population.jobs} jobs"
    return [
        Row(
            f"{title}: recorded, courier running",
            statistics.median(records),
            "s",
            peer_seconds * due / peers.ALERTS,
            peers.HEALTHCHECKS,
            seconds,
            runs=runs,
        ),
        Row(
            f"{title}: first message, after the check was asked for",
            statistics.median(firsts),
            "s",
            peer_seconds,
            peers.HEALTHCHECKS,
            "≤ 0.5",
            runs=runs,
        ),
        Row(
            f"{title}: delivered to a webhook",
            statistics.median(rates),
            "/s",
            peers.DELIVERED_PER_SECOND[ground.kind],
            peers.HEALTHCHECKS,
            "≥ 400",
            runs=runs,
        ),
    ]


def _add_channel(database: Database, url: str) -> None:
    config = {"url": url, "method": "POST", "headers": "", "secret": ""}
    with database.writing() as session:
        channel = Channel(
            kind="webhook", name="bench", config=config, language="en", created_at=clock.utcnow()
        )
        session.add(channel)


def _tell_all(
    place: Installed, database: Database, line: Connection, count: int
) -> tuple[float, float, float]:
    """Messages per second, and the seconds until the first one came and that the check took."""
    begin = time.monotonic()
    trigger(place, CHECK)
    while _waiting(database) and time.monotonic() - begin < DELIVERY_SECONDS:
        time.sleep(0.1)
    line.send("how many?")
    messages, first, last = line.recv()
    assert messages == count, f"{messages} messages came instead of {count}"
    with database.reading() as session:
        newest = select(TaskRun).where(TaskRun.task == CHECK).order_by(TaskRun.id.desc()).limit(1)
        run = session.scalars(newest).one()
        assert run.finished_at is not None
        recorded = (run.finished_at - run.started_at).total_seconds()
    return messages / (last - first), first - begin, recorded


def _waiting(database: Database) -> int:
    with database.reading() as session:
        waiting = select(func.count()).select_from(Delivery).where(Delivery.next_attempt_at.is_not(None))
        return session.scalar(waiting.where(Delivery.status == PENDING)) or 0


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
        while True:
            line.recv()
            different = {each.headers["Idempotency-Key"] for each in receiver.requests}
            line.send((len(different), min(receiver.times), max(receiver.times)))
            receiver.requests.clear()
            receiver.times.clear()
