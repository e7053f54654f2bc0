"""The runs of every job from its first day to now: when, how large, how long, and how they ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import pairwise
from random import Random

from app.demo.bodies import Run
from app.demo.fleet import DAY, IN_MAINTENANCE_FOR, LATE_BY, WORKDAYS, Client, Fate
from app.demo.troubles import DISK_FULL, FAILURES, failure_lines, locked_files, stack_of
from app.recurrence import WEEKDAYS, upcoming

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
FAILING_SINCE = 7 * DAY
PAUSED_SINCE = 20 * DAY
OFF_SINCE = {"warehouse-pc": 4 * DAY, "print-server": 2 * DAY}
# So long before now nothing goes wrong by chance: what is wrong then is told by the fates.
CALM = 3 * DAY
OUTAGE_SHARE = 0.4
OUTAGE = 14 * HOUR
_SLIP = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Span:
    """The night in which the line to the outside was cut."""

    began_at: datetime
    ended_at: datetime


def runs(clients: list[Client], days: int, seed: int, now: datetime) -> Iterator[Run]:
    """All that were reported until now, in the order in which their reports came."""
    outage = outage_of(days, now)
    histories = (_History(each, seed, now, outage).runs() for each in clients)
    return merge(*histories, key=lambda run: (run.arrives_at, run.client.number))


def outage_of(days: int, now: datetime) -> Span | None:
    if days < 30:
        return None
    began_at = (now - int(days * OUTAGE_SHARE) * DAY).replace(hour=19, minute=0, second=0, microsecond=0)
    return Span(began_at, began_at + OUTAGE)


class _History:
    """One job, run by run."""

    def __init__(self, client: Client, seed: int, now: datetime, outage: Span | None) -> None:
        self._client, self._now, self._outage = client, now, outage
        # Seeded by name, so that each job has its own history, whatever the others have.
        self._chance = Random(f"{seed} {client.machine.name} {client.name}")  # noqa: S311  (no secret)
        self._examined = float(client.bytes_at_first)
        self._stored = client.bytes_at_first * 0.55
        self._growth = self._chance.uniform(0.0004, 0.0025)
        self._warning_rate = self._chance.choice((0.005, 0.01, 0.02, 0.06))
        self._versions = 0
        span = client.schedule.rule.span
        self._runs_a_day = max(1.0, DAY / span)
        self._calm_at = now - max(CALM, 2 * span)

    def runs(self) -> Iterator[Run]:
        if self._client.fate is Fate.NEW:
            due_at = self._now - 3 * HOUR
            yield replace(self._run(due_at, due_at + 7 * MINUTE), dry_run=True, next_at=None)
            return
        free_at = self._client.joined_at
        known = self._occurrences()
        for due_at, next_at in pairwise(known):
            start_at = self._start(due_at, next_at)
            if start_at is None or start_at >= self._now:
                continue
            run = self._outcome(self._run(max(start_at, free_at), next_at), due_at)
            if run.arrives_at >= self._now:
                return
            free_at = run.ended_at + SECOND
            yield run

    def _occurrences(self) -> list[datetime]:
        schedule = self._client.schedule
        count = int((self._now - self._client.joined_at) / schedule.rule.span) + 12
        return upcoming(schedule, self._client.joined_at, count)

    def _start(self, due_at: datetime, next_at: datetime) -> datetime | None:
        """When the run that is due begins; None when it does not."""
        client, now = self._client, self._now
        if due_at >= now or self._is_silenced(due_at):
            return None
        if client.fate is Fate.SHUT_AT_WEEKENDS:
            local = due_at.astimezone(client.schedule.zone_info)
            if WEEKDAYS[local.weekday()] not in WORKDAYS:
                return None
        if self._outage and self._outage.began_at <= due_at < self._outage.ended_at:
            back_at = self._outage.ended_at + self._chance.uniform(1, 40) * MINUTE
            # Of several missed ones one is made up for.
            return back_at if next_at >= self._outage.ended_at else None
        if due_at < self._calm_at and self._chance.random() < 0.004 / self._runs_a_day:
            return None
        return due_at + self._chance.uniform(2, 40) * SECOND

    def _is_silenced(self, due_at: datetime) -> bool:
        client, now = self._client, self._now
        if client.fate is Fate.OFF:
            return due_at > now - OFF_SINCE[client.machine.name]
        if client.fate is Fate.PAUSED:
            return due_at > now - PAUSED_SINCE
        if client.fate is Fate.LATE:
            return due_at > now - LATE_BY - HOUR
        if client.fate is Fate.MAINTENANCE:
            return due_at > now - IN_MAINTENANCE_FOR - HOUR
        return False

    def _run(self, began_at: datetime, next_at: datetime) -> Run:
        chance = self._chance
        workday = 1.0 if WEEKDAYS[began_at.weekday()] in WORKDAYS else 0.3
        first = self._versions == 0
        added = self._examined * self._growth * workday * chance.lognormvariate(0, 0.5) / self._runs_a_day
        modified = added * chance.uniform(0.5, 2)
        uploaded = self._stored if first else (added + modified) * chance.uniform(0.4, 0.7)
        self._examined += added * 0.8
        self._stored += 0 if first else uploaded * 0.6
        self._versions = min(self._versions + 1, 30)
        files = int(self._examined // 900_000) + 40
        seconds = 20 + files / 2500 + min(uploaded, 3e9) / 6e6
        length = timedelta(seconds=round(seconds * chance.lognormvariate(0, 0.25), 3))
        return Run(
            client=self._client,
            began_at=began_at,
            ended_at=self._end(began_at, length),
            next_at=next_at,
            examined_bytes=int(self._examined),
            added_bytes=int(added),
            modified_bytes=int(modified),
            uploaded_bytes=int(uploaded),
            stored_bytes=int(self._stored),
            versions=self._versions,
            files=files,
            changed_files=int((added + modified) // 700_000) + chance.randint(0, 9),
            arrives_after=timedelta(seconds=round(chance.uniform(0.5, 4), 3)),
        )

    def _end(self, began_at: datetime, length: timedelta) -> datetime:
        """Nothing is under way now: whatever has begun has ended, so that the picture is the same at any
        time of the day."""
        left = self._now - _SLIP - began_at
        return began_at + (length if length < left else max(left, SECOND))

    def _outcome(self, run: Run, due_at: datetime) -> Run:
        fate, chance, now = self._client.fate, self._chance, self._now
        if fate is Fate.FAILING and due_at > now - FAILING_SINCE:
            return _failed(run, DISK_FULL)
        if fate is Fate.INTERRUPTED and due_at > now - DAY:
            cut_at = run.began_at + (run.ended_at - run.began_at) / 3
            return replace(run, outcome="Warning", interrupted=True, ended_at=cut_at, next_at=run.next_at)
        kind = chance.random() * self._runs_a_day**0.5
        if due_at < self._calm_at and kind < 0.006:
            return _failed(run, chance.choice(FAILURES))
        if due_at < self._calm_at and kind < 0.009:
            return replace(run, outcome="Warning", partial=True)
        if kind < 0.009 + self._warning_rate:
            return replace(run, outcome="Warning", lines=locked_files(chance, self._client.machine.system))
        return run


def _failed(run: Run, exception: str) -> Run:
    return replace(
        run,
        outcome="Fatal",
        exception=stack_of(exception),
        lines=failure_lines(exception),
        ended_at=run.began_at + (run.ended_at - run.began_at) / 4,
        uploaded_bytes=0,
        stored_bytes=0,
        versions=0,
        examined_bytes=0,
        added_bytes=0,
        modified_bytes=0,
        files=0,
        changed_files=0,
    )
