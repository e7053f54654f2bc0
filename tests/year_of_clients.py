"""Backup clients made up from a seed: how each is scheduled, and what it reports and is set to in a year."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.model_of_overdue import DAY, HOUR, WEEKDAYS, Plan, Run, occurrences

# Both changes of the clocks in Paris and in New York, the end of a year, and a 29 February.
BEGIN_AT = datetime(2027, 10, 1, tzinfo=UTC)
END_AT = datetime(2028, 10, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ZONES = ("Europe/Paris", "America/New_York", "UTC")
WORKDAYS = WEEKDAYS[:5]
REMINDERS = ("onetime", "every_day", "every_week", "every_month")
# Repeat, weekdays, how often, and the days of a short life, in which each has about as many runs.
KINDS = (
    ("1h", (), 1, 0.7),
    ("2h", (), 1, 1.2),
    ("6h", (), 4, 4),
    ("6h", WORKDAYS, 3, 5),
    ("12h", (), 4, 8),
    ("24h", (), 4, 15),
    ("1D", (), 30, 15),
    ("1D", WORKDAYS, 20, 21),
    ("1D", ("mon", "wed", "fri"), 6, 35),
    ("2D", (), 5, 30),
    ("1W", (), 12, 100),
    ("2W", (), 3, 200),
    ("1M", (), 8, 366),
)
# The days around which short lives lie, so that each of these moments is met by hundreds of jobs.
TURNS = tuple(
    datetime(year, month, day, tzinfo=UTC)
    for year, month, day in (
        (2027, 10, 31),  # Paris goes back to winter time
        (2027, 11, 7),  # New York does
        (2028, 1, 1),
        (2028, 2, 29),
        (2028, 3, 12),  # New York goes forward
        (2028, 3, 26),  # Paris does
    )
)


@dataclass(frozen=True)
class Settings:
    """What an administrator changes about a job; None leaves it as it is."""

    tolerance_seconds: int | None = None
    reminder: str | None = None
    pause_until_at: datetime | None = None
    plan: Plan | None = None
    pause: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Arrival:
    """A report as it comes in."""

    run: Run
    outcome: str
    partial: bool = False
    interrupted: bool = False


@dataclass(frozen=True)
class Client:
    """A backup job as it really is. `speaks` declares its next run, `typed` has its schedule typed in."""

    number: int
    plan: Plan
    known: list[datetime]
    speaks: bool
    typed: bool
    tolerance_seconds: int | None
    reminder: str | None
    clock_ahead: timedelta
    lives: tuple[datetime, datetime]


def make_clients(count: int, seed: int, lives: float) -> list[Client]:
    """`lives` is the part of its short life that each has, 0 for the whole year."""
    return [_client(number, _chance(f"{seed} {number}"), lives) for number in range(count)]


def _chance(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311  (no secret)


def _client(number: int, chance: random.Random, lives: float) -> Client:
    repeat, days, _often, most_days = chance.choices(KINDS, [each[2] for each in KINDS])[0]
    life = most_days * lives * DAY
    begins_at = BEGIN_AT
    if life:
        around_at = chance.choice((*TURNS, BEGIN_AT + chance.uniform(0, 366) * DAY))
        begins_at = max(BEGIN_AT, around_at - chance.uniform(0.2, 0.8) * life)
    plan = Plan(repeat, days, chance.choice(ZONES), _first(chance, begins_at))
    manner = chance.choices(("speaks", "typed", "both", "neither"), (30, 45, 10, 15))[0]
    if manner == "neither":  # known by the default of once a day alone
        plan = Plan("1D", (), plan.zone, plan.first_at)
    ahead = chance.choices((timedelta(), chance.randint(-20, 50) * MINUTE, 3 * HOUR), (88, 10, 2))[0]
    return Client(
        number=number,
        plan=plan,
        known=occurrences(plan, END_AT + 120 * DAY),
        speaks=manner in ("speaks", "both"),
        typed=manner in ("typed", "both"),
        tolerance_seconds=chance.choice((None, None, None, None, 0, 600, 1800, 7200, 6 * 3600, 86400)),
        reminder=chance.choice((None, None, None, *REMINDERS)),
        clock_ahead=ahead,
        lives=(begins_at, min(END_AT, begins_at + life) if life else END_AT),
    )


def _first(chance: random.Random, begins_at: datetime) -> datetime:
    """A round time of day, often in the hours that a change of the clocks skips or repeats."""
    hour = chance.choice((0, 1, 2, 2, 3, 3, 6, 7, 12, 20, 23))
    day = chance.choice((begins_at, begins_at, begins_at.replace(day=28), begins_at - DAY))
    if chance.random() < 0.1:
        day = datetime(2027, 8, 31, tzinfo=UTC)
    return day.replace(hour=hour, minute=chance.choice((0, 0, 15, 30)), second=0, microsecond=0)


def events(client: Client, seed: int) -> Iterator[tuple[datetime, Arrival | Settings]]:
    """What reaches the monitor about one job, with the time at which it does; not in order."""
    chance = _chance(f"{seed} events {client.number}")
    begins_at, ends_at = client.lives
    if client.typed:  # a trial run makes the job known, so that its schedule can be typed in
        yield (
            begins_at - HOUR,
            Arrival(Run(begins_at - 2 * HOUR, begins_at - HOUR, None, False, True), "Success"),
        )
        yield begins_at - HOUR + SECOND, Settings(plan=client.plan)
    yield from _reports(client, chance)
    if ends_at < END_AT and chance.random() < 0.97:  # taken out of service
        yield ends_at + chance.uniform(0, 5) * DAY, Settings(pause=True)
    yield from _settings(client, chance)


def _reports(client: Client, chance: random.Random) -> Iterator[tuple[datetime, Arrival]]:
    begins_at, ends_at = client.lives
    free_at, silent_until_at = begins_at, begins_at
    length = client.plan.length
    for due_at in client.known:
        if due_at > ends_at:
            return
        if due_at < silent_until_at or due_at < begins_at:
            continue
        if chance.random() < 0.015:
            silent_until_at = due_at + chance.uniform(1, 12) * length
        if chance.random() < 0.03:  # missed without a word
            continue
        # A client whose clock is wrong begins at its own idea of the time.
        starts_at = max(due_at - client.clock_ahead + _delay(chance, length), free_at)
        if starts_at > due_at + length and chance.random() < 0.5:
            continue  # several missed ones become one
        free_at = starts_at + _duration(chance)
        yield from _arrivals(client, chance, starts_at, free_at, by_schedule=True)
        if chance.random() < 0.04:
            manual_at = free_at + chance.uniform(0.01, 1) * length
            free_at = manual_at + _duration(chance)
            yield from _arrivals(client, chance, manual_at, free_at, by_schedule=False)


def _delay(chance: random.Random, length: timedelta) -> timedelta:
    kind = chance.random()
    if kind < 0.85:
        return chance.randint(0, 90) * SECOND
    if kind < 0.95:
        return chance.uniform(1, 150) * MINUTE
    return chance.uniform(0.1, 1.5) * length


def _duration(chance: random.Random) -> timedelta:
    return chance.choices(
        (
            chance.randint(5, 900) * SECOND,
            chance.randint(900, 7200) * SECOND,
            chance.randint(7200, 200_000) * SECOND,
        ),
        (94, 5, 1),
    )[0]


def _arrivals(
    client: Client, chance: random.Random, starts_at: datetime, ends_at: datetime, *, by_schedule: bool
) -> Iterator[tuple[datetime, Arrival]]:
    """The report of a run: rarely long under way, rarely twice."""
    told = _arrival(client, chance, starts_at, ends_at, by_schedule)
    under_way = chance.choices((chance.randint(1, 90), chance.randint(90, 20_000)), (97, 3))[0]
    came_at = ends_at + under_way * SECOND
    yield came_at, told
    if told.run.ended_at and chance.random() < 0.02:
        yield came_at + chance.randint(1, 100_000) * SECOND, told


def _arrival(
    client: Client, chance: random.Random, starts_at: datetime, ends_at: datetime, by_schedule: bool
) -> Arrival:
    began_at, ended_at = _seconds(starts_at + client.clock_ahead), _seconds(ends_at + client.clock_ahead)
    next_at = None
    if by_schedule and client.speaks:
        asked_at = began_at if client.number % 2 else ended_at  # versions differ in when they look ahead
        next_at = client.known[bisect_right(client.known, asked_at)]
    outcome, partial, interrupted, dry = chance.choices(
        (
            ("Success", False, False, False),
            ("Warning", False, False, False),
            ("Warning", True, False, False),
            ("Success", False, True, False),
            ("Success", False, False, True),
            ("Error", False, False, False),
            ("Fatal", False, False, False),
        ),
        (85, 4, 2, 2, 1, 3, 3),
    )[0]
    good = outcome in ("Success", "Warning") and not (partial or interrupted or dry)
    timeless = outcome == "Fatal" and chance.random() < 0.5
    run = Run(
        None if timeless else began_at,
        None if timeless else ended_at,
        None if timeless else next_at,
        good,
        dry,
    )
    return Arrival(run, outcome, partial, interrupted)


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _settings(client: Client, chance: random.Random) -> Iterator[tuple[datetime, Settings]]:
    begins_at, ends_at = client.lives
    at = begins_at + chance.expovariate(1 / 30) * DAY
    while at < ends_at:
        kind = chance.choice(("pause", "pause", "pause and resume", "tolerance", "reminder"))
        if kind == "tolerance":
            yield at, Settings(tolerance_seconds=chance.choice((0, 900, 3600, 5 * 3600, 2 * 86400)))
        elif kind == "reminder":
            yield at, Settings(reminder=chance.choice(REMINDERS))
        else:
            until_at = at + chance.uniform(0.05, 12) * DAY
            resumed = kind == "pause and resume"
            yield at, Settings(pause=True, pause_until_at=None if resumed else until_at)
            if resumed:
                yield until_at, Settings(resume=True)
            at = until_at
        at += chance.expovariate(1 / 60) * DAY
