"""A year of 500 clients on the real code, every verdict compared with the slow model.

`python -m tests.simulated_year --jobs 500 --seed 3` checks every 20 minutes and lets every job live for the
whole year. Without `--bodies`, reports are handed to `record.take` already read, which is much faster.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import event

from app import checks, record
from app.clock import iso
from app.models import Job, JobSchedule
from app.record import Body
from app.reports import parse
from tests import databases
from tests.model_of_overdue import ModelJob
from tests.stage import POLICY, SENDER, backup_body, new_database, send
from tests.year_of_clients import (
    BEGIN_AT,
    DAY,
    END_AT,
    SECOND,
    Arrival,
    Client,
    Settings,
    events,
    make_clients,
)

logger = logging.getLogger(__name__)

JOBS_A_SERVER = 5
TOLD = 20  # differences that are told in full


@dataclass
class Tally:
    """What was compared, and where the code and the model differ."""

    reports: int = 0
    checks: int = 0
    states: int = 0
    settings: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    false: int = 0
    missed: int = 0
    wrong_states: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        alerts = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
        return (
            f"{self.reports} reports, {self.settings} settings, {self.checks} checks, {self.states} states; "
            f"alerts: {alerts}; false alerts {self.false}, missed alerts {self.missed}, "
            f"wrong states {self.wrong_states}"
        )


class Year:
    """The real code and the model side by side, driven through the events in their order."""

    def __init__(
        self, folder: Path, clients: list[Client], seed: int, every: timedelta, probed: float
    ) -> None:
        self.tally = Tally()
        self._clients = clients
        self._seed, self._every, self._probed = seed, every, probed
        self._chance = random.Random(f"{seed} checks")  # noqa: S311  (no secret)
        self._database = new_database(folder)
        if self._database.is_sqlite:
            event.listen(self._database.engine, "connect", _hurry)
        self._look = databases.bare(folder)
        self._models: dict[int, ModelJob] = {}
        self._ids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._newest_alert = 0
        self._differing: set[int] = set()
        self._seen: set[tuple[int, Arrival]] = set()
        self._queue: list[tuple[datetime, int, Client | None, Arrival | Settings | None]] = []
        self._order = count()
        self._planned_checks: set[datetime] = set()
        self._templates = {each: parse(_body(each), "application/json") for each in _OUTCOMES}
        self.real_bodies = False

    def run(self) -> Tally:
        for client in self._clients:
            for at, what in events(client, self._seed):
                self._put(at, client, what)
        at = BEGIN_AT
        while at < END_AT:
            self._plan_check(at)
            at += self._every
        told_at = BEGIN_AT
        while self._queue:
            at, _order, client, what = heapq.heappop(self._queue)
            if at >= told_at:
                logger.info("%s: %s", at.date(), self.tally)
                told_at += 30 * DAY
            if client is None:
                self._check(at)
            elif isinstance(what, Arrival):
                self._report(client, what, at)
            elif isinstance(what, Settings) and client.number in self._models:
                self._set(client, what, at)
        return self.tally

    def close(self) -> None:
        self._look.close()
        self._database.dispose()

    def _put(self, at: datetime, client: Client | None, what: Arrival | Settings | None) -> None:
        if BEGIN_AT - DAY <= at < END_AT:
            heapq.heappush(self._queue, (at, next(self._order), client, what))

    def _plan_check(self, at: datetime) -> None:
        if at not in self._planned_checks:
            self._planned_checks.add(at)
            self._put(at, None, None)

    def _probe(self, model: ModelJob, now: datetime) -> None:
        """Look at the very moment after which silence changes something, and a second later."""
        for at in model.edges():
            if at > now and self._chance.random() < self._probed:
                self._plan_check(at)
                self._plan_check(at + SECOND)

    # The same on both sides

    def _check(self, now: datetime) -> None:
        expected = Counter[tuple[int, str]]()
        for number, model in self._models.items():
            kind = model.check(now)
            if kind:
                expected[number, kind] += 1
        checks.run(self._database, POLICY, now)
        self._compare_alerts(expected, now, "check")
        self.tally.checks += 1
        for job_id, state in self._look.execute("SELECT id, state FROM job"):
            self.tally.states += 1
            number = self._numbers[job_id]
            if state != self._models[number].seen:
                self.tally.wrong_states += 1
                self._differ(number, now, f"state {state}, by the model {self._models[number].seen}")
        for number, _kind in expected:
            self._probe(self._models[number], now)

    def _report(self, client: Client, arrival: Arrival, now: datetime) -> None:
        first = client.number not in self._models
        model = self._models.setdefault(client.number, _new_model())
        is_new = self._take(client, arrival, now)
        if first:
            self._learn_id(client)
        is_known = arrival.run.ended_at is not None and (client.number, arrival) in self._seen
        self._seen.add((client.number, arrival))
        if is_new == is_known:
            self._differ(client.number, now, f"the report counts as {'new' if is_new else 'repeated'}")
        kind = None if is_known else model.report(arrival.run, now)
        self._compare_alerts(Counter({(client.number, kind): 1} if kind else {}), now, "report")
        self.tally.reports += 1
        if first and (client.tolerance_seconds is not None or client.reminder):
            self._set(client, Settings(client.tolerance_seconds, client.reminder), now)
        self._probe(model, now)

    def _set(self, client: Client, change: Settings, now: datetime) -> None:
        model = self._models[client.number]
        with self._database.writing() as rows:
            job = rows.get_one(Job, self._ids[client.number])
            self._apply(rows, job, change, now)
        _apply_to_model(model, client, change, now)
        self._compare_alerts(Counter(), now, "settings")
        self.tally.settings += 1
        self._probe(model, now)

    @staticmethod
    def _apply(rows: Any, job: Job, change: Settings, now: datetime) -> None:
        if change.tolerance_seconds is not None:
            job.tolerance_seconds = change.tolerance_seconds
        if change.reminder is not None:
            job.reminder = change.reminder
        if change.pause:
            job.paused_at, job.paused_until_at = now, change.pause_until_at
        if change.resume:
            job.paused_at = job.paused_until_at = None
        if change.plan:
            row = JobSchedule(
                source="typed",
                repeat=change.plan.repeat,
                days=",".join(change.plan.days),
                zone=change.plan.zone,
                anchor_at=change.plan.first_at,
                set_at=now,
            )
            job.schedules.append(row)
            record.schedule_changed(rows, job, POLICY, now)
        else:
            record.settings_changed(job, POLICY, now)

    # What the real code is given

    def _learn_id(self, client: Client) -> None:
        ((job_id,),) = self._look.execute(f"SELECT id FROM job WHERE backup_id = 'DB-{client.number}'")
        self._ids[client.number], self._numbers[job_id] = job_id, client.number

    def _take(self, client: Client, arrival: Arrival, now: datetime) -> bool:
        if self.real_bodies:
            return send(self._database, _real_body(client, arrival), now)
        run = arrival.run
        report = replace(
            self._templates[arrival.outcome],
            machine_id=f"machine-{client.number // JOBS_A_SERVER}",
            machine_name=f"server {client.number // JOBS_A_SERVER}",
            backup_id=f"DB-{client.number}",
            backup_name=f"job {client.number}",
            began_at=run.began_at,
            ended_at=run.ended_at,
            next_scheduled_at=run.next_at,
            partial=arrival.partial,
            interrupted=arrival.interrupted,
            dry_run=run.dry,
            error=None if run.ended_at else f"it failed at {now}",
        )
        return record.take(self._database, report, _SMALL, SENDER, policy=POLICY, now=now)

    # What differs

    def _compare_alerts(self, expected: Counter[tuple[int, str]], now: datetime, when: str) -> None:
        found = Counter[tuple[int, str]]()
        query = f"SELECT id, job_id, kind FROM alert WHERE id > {self._newest_alert} ORDER BY id"
        for alert_id, job_id, kind in self._look.execute(query):
            self._newest_alert = alert_id
            found[self._numbers[job_id], kind] += 1
            self.tally.kinds[kind] += 1
        if found == expected:
            return
        for (number, kind), times in (found - expected).items():
            self.tally.false += times
            self._differ(number, now, f"false {kind} at a {when}")
        for (number, kind), times in (expected - found).items():
            self.tally.missed += times
            self._differ(number, now, f"missed {kind} at a {when}")

    def _differ(self, number: int, now: datetime, what: str) -> None:
        if len(self.tally.differences) < TOLD and number not in self._differing:
            told = [replace(self._clients[number], known=[]), replace(self._models[number], known=[])]
            self.tally.differences.append(
                "\n  ".join([f"job {number} at {iso(now)}: {what}", *map(_short, told)])
            )
        self._differing.add(number)


_OUTCOMES = ("Success", "Warning", "Error", "Fatal")
_UNSET = "0001-01-01T00:00:00"
_SMALL = Body(b"{}", "application/json")


def _short(facts: Client | ModelJob) -> str:
    """Its fields in one line, times as times."""
    told = {name: iso(each) if isinstance(each, datetime) else each for name, each in vars(facts).items()}
    return ", ".join(f"{name} {each}" for name, each in told.items())


def _body(outcome: str, **data: object) -> bytes:
    return backup_body(BEGIN_AT, ParsedResult=outcome, **data)


def _real_body(client: Client, arrival: Arrival) -> bytes:
    """What the client sends, in full."""
    run = arrival.run
    data: dict[str, object] = {
        "ParsedResult": arrival.outcome,
        "BeginTime": iso(run.began_at) or _UNSET,
        "EndTime": iso(run.ended_at) or _UNSET,
        "PartialBackup": arrival.partial,
        "Interrupted": arrival.interrupted,
        "Dryrun": run.dry,
    }
    machine = f"machine-{client.number // JOBS_A_SERVER}"
    return backup_body(BEGIN_AT, name=str(client.number), machine=machine, next_at=run.next_at, **data)


def _new_model() -> ModelJob:
    return ModelJob(timedelta(seconds=POLICY.tolerance_seconds), POLICY.reminder)


def _apply_to_model(model: ModelJob, client: Client, change: Settings, now: datetime) -> None:
    if change.tolerance_seconds is not None:
        model.tolerance = timedelta(seconds=change.tolerance_seconds)
    if change.reminder is not None:
        model.reminder = change.reminder
    if change.pause:
        model.paused, model.paused_since_at, model.paused_until_at = True, now, change.pause_until_at
    if change.resume:
        model.paused, model.paused_until_at = False, None
    if change.plan:
        model.type_plan(change.plan, client.known, now)
    else:
        model.settings_changed(now)


def _hurry(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # no power cut is simulated


def simulate(
    folder: Path,
    jobs: int,
    seed: int,
    *,
    lives: float,
    every: timedelta,
    probed: float,
    real_bodies: bool = False,
) -> Tally:
    """Run it all; what differs is in the tally."""
    clients = make_clients(jobs, seed, lives)
    year = Year(folder, clients, seed, every, probed)
    year.real_bodies = real_bodies
    try:
        return year.run()
    finally:
        year.close()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=500)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--minutes", type=int, default=20, help="between two checks")
    options.add_argument("--lives", type=float, default=0, help="part of a short life around the turns")
    options.add_argument("--probed", type=float, default=0.1, help="share of the turning points looked at")
    options.add_argument("--bodies", action="store_true", help="send whole bodies through the reader")
    chosen = options.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        tally = simulate(
            Path(folder),
            chosen.jobs,
            chosen.seed,
            lives=chosen.lives,
            every=timedelta(minutes=chosen.minutes),
            probed=chosen.probed,
            real_bodies=chosen.bodies,
        )
    sys.stdout.write("\n".join([*tally.differences, f"seed {chosen.seed}: {tally}\n"]))
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
