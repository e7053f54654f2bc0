"""Who backs up what in the made-up installation: machines, their jobs, and what has become of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.recurrence import Schedule

DAY = timedelta(days=1)
OLDEST = "2.0.7.1 (2.0.7.1_beta_2023-05-25)"
OLD = "2.1.0.5 (2.1.0.5_stable_2025-03-04)"
NEW = "2.3.0.4 (2.3.0.4_stable_2026-07-09)"
PARIS, NEW_YORK = "Europe/Paris", "America/New_York"
WORKDAYS = frozenset(("mon", "tue", "wed", "thu", "fri"))
LATE_BY = timedelta(minutes=40)
IN_MAINTENANCE_FOR = timedelta(hours=2)


class Fate(StrEnum):
    """What a job is in at the moment of the demo; most of them run well."""

    WELL = "well"
    OFF = "off"  # its machine is silent
    FAILING = "failing"
    INTERRUPTED = "interrupted"
    LATE = "late"
    MAINTENANCE = "maintenance"
    PAUSED = "paused"
    NEW = "new"
    SHUT_AT_WEEKENDS = "shut at weekends"


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    system: str
    version: str
    zone: str
    jobs: tuple[str, ...]
    gigabytes: int = 120

    @property
    def declares(self) -> bool:
        """Whether its Duplicati says when the next run is due."""
        return self.version == NEW

    @property
    def is_named(self) -> bool:
        """Whether it sends an id and a name of its own; else its key stands for it."""
        return self.version != OLDEST


@dataclass(frozen=True, slots=True)
class Client:
    """One backup job as it really is."""

    number: int
    machine: Machine
    name: str
    schedule: Schedule
    fate: Fate
    joined_at: datetime
    bytes_at_first: int

    @property
    def is_typed(self) -> bool:
        """Whether somebody had to tell the schedule: nobody else does, and it is not once a day."""
        return not self.machine.declares and (
            (self.schedule.repeat, self.schedule.days) != ("1D", frozenset())
            or self.fate is Fate.SHUT_AT_WEEKENDS
        )


_LINUX, _WINDOWS, _MAC = "Linux", "Windows", "MacOS"
# The first eight hold one of everything that can be the matter.
# fmt: off
MACHINES = (
    Machine("nas-attic", _LINUX, NEW, PARIS, ("Documents", "Photos", "Music"), 640),
    Machine("office-pc", _WINDOWS, NEW, PARIS, ("Documents", "Accounting", "Mail"), 90),
    Machine("web-01", _LINUX, NEW, "UTC", ("Websites", "Databases", "Uploads"), 45),
    Machine("laptop-claire", _WINDOWS, OLD, PARIS, ("Documents", "Pictures", "Desktop"), 60),
    Machine("warehouse-pc", _WINDOWS, NEW, PARIS, ("Stock database", "Delivery notes", "Scans"), 30),
    Machine("db-01", _LINUX, NEW, "UTC", ("PostgreSQL", "Configuration", "Logs"), 210),
    Machine("mail-01", _LINUX, OLD, PARIS, ("Mailboxes", "Calendars", "Configuration"), 150),
    Machine("media-box", _LINUX, NEW, PARIS, ("Videos", "Old recordings", "Camera imports"), 1800),
    Machine("studio-mac", _MAC, NEW, NEW_YORK, ("Projects", "Photos", "Fonts and presets"), 420),
    Machine("print-server", _WINDOWS, OLD, PARIS, ("Spool settings", "Address books", "Scans"), 12),
    Machine("git-01", _LINUX, NEW, "UTC", ("Repositories", "Issues", "Packages"), 75),
    Machine("vm-host-1", _LINUX, NEW, PARIS, ("Virtual machines", "Images", "Configuration"), 900),
    Machine("parish-nas", _LINUX, OLDEST, PARIS, ("Register", "Choir recordings", "Newsletter"), 55),
    Machine("laptop-tom", _MAC, NEW, PARIS, ("Documents", "Code", "Mail"), 80),
    Machine("reception-pc", _WINDOWS, NEW, PARIS, ("Documents", "Appointments", "Mail"), 20),
    Machine("shop-till", _WINDOWS, OLD, PARIS, ("Receipts", "Article list", "Configuration"), 8),
    Machine("home-server", _LINUX, NEW, PARIS, ("Home Assistant", "Paperless", "Photos"), 260),
    Machine("vps-frankfurt", _LINUX, NEW, "Europe/Berlin", ("Websites", "Databases", "Mail"), 35),
    Machine("nas-newyork", _LINUX, NEW, NEW_YORK, ("Documents", "Photos", "Contracts"), 520),
    Machine("lab-workstation", _LINUX, NEW, PARIS, ("Measurements", "Notebooks", "Home"), 330),
)
FATES = {
    ("nas-attic", 1): Fate.INTERRUPTED,
    ("office-pc", 1): Fate.FAILING,
    ("warehouse-pc", 0): Fate.OFF,
    ("warehouse-pc", 1): Fate.OFF,
    ("warehouse-pc", 2): Fate.OFF,
    ("db-01", 1): Fate.LATE,
    ("mail-01", 1): Fate.MAINTENANCE,
    ("media-box", 1): Fate.PAUSED,
    ("media-box", 2): Fate.NEW,
    ("print-server", 1): Fate.OFF,
}
# Repeat, weekdays and time of day of those that do not simply run every night.
PLANS: dict[tuple[str, int], tuple[str, frozenset[str], time]] = {
    ("nas-attic", 0): ("1D", frozenset(), time(22)),
    ("nas-attic", 2): ("1W", frozenset(), time(3)),
    ("office-pc", 0): ("1D", WORKDAYS, time(12, 30)),
    ("office-pc", 2): ("1D", WORKDAYS, time(18, 15)),
    ("web-01", 1): ("6h", frozenset(), time(0, 10)),
    ("web-01", 2): ("12h", frozenset(), time(5, 45)),
    ("db-01", 0): ("1h", frozenset(), time(0, 5)),
    ("mail-01", 0): ("12h", frozenset(), time(1)),
    ("media-box", 0): ("1W", frozenset(), time(4)),
    ("git-01", 0): ("1D", frozenset(), time(3, 30)),
    ("vm-host-1", 0): ("1W", frozenset(), time(1, 30)),
    ("laptop-tom", 0): ("1D", WORKDAYS, time(13)),
    ("reception-pc", 0): ("1D", WORKDAYS, time(19)),
    ("shop-till", 0): ("1D", frozenset(("mon", "tue", "wed", "thu", "fri", "sat")), time(20, 20)),
}
# fmt: on
# Names for more jobs than a machine has, and for more machines than there are.
_FURTHER_JOBS = ("System settings", "Archive", "Certificates", "Projects", "Templates", "Recordings")
_NEWCOMERS = ("reception-pc", "home-server", "lab-workstation")


def machines(count: int) -> Iterator[Machine]:
    for number in range(count):
        known = MACHINES[number % len(MACHINES)]
        if number < len(MACHINES):
            yield known
        else:
            name = f"branch-{number - len(MACHINES) + 1:02}"
            yield Machine(name, known.system, NEW, known.zone, known.jobs, known.gigabytes)


def clients(servers: int, jobs: int, days: int, now: datetime) -> list[Client]:
    """All jobs; the first ones have the most to tell."""
    return [
        _client(machine, position, number * jobs + position, days, now)
        for number, machine in enumerate(machines(servers))
        for position in range(jobs)
    ]


def _client(machine: Machine, position: int, number: int, days: int, now: datetime) -> Client:
    fate = FATES.get((machine.name, position), Fate.WELL)
    if machine.name == "laptop-claire":
        fate = Fate.SHUT_AT_WEEKENDS
    joined_at = now - (days // 3 if machine.name in _NEWCOMERS else days) * DAY
    if fate is Fate.NEW:
        joined_at = now - DAY
    return Client(
        number=number,
        machine=machine,
        name=_job_name(machine, position),
        schedule=_schedule(machine, position, number, fate, joined_at, now),
        fate=fate,
        joined_at=joined_at,
        bytes_at_first=machine.gigabytes * 10**9 // (1 + 3 * (position % 4)),
    )


def _job_name(machine: Machine, position: int) -> str:
    if position < len(machine.jobs):
        return machine.jobs[position]
    turn, further = divmod(position - len(machine.jobs), len(_FURTHER_JOBS))
    return _FURTHER_JOBS[further] + (f" {turn + 1}" if turn else "")


def _schedule(
    machine: Machine, position: int, number: int, fate: Fate, joined_at: datetime, now: datetime
) -> Schedule:
    at_night = time((21 + number * 5 % 8) % 24, number * 35 % 60 // 5 * 5)
    repeat, weekdays, at = PLANS.get((machine.name, position), ("1D", frozenset(), at_night))
    zone = ZoneInfo(machine.zone)
    if fate is Fate.SHUT_AT_WEEKENDS:
        at = time(9 + position, 40)
    if fate in (Fate.LATE, Fate.MAINTENANCE):
        due = now - (LATE_BY if fate is Fate.LATE else IN_MAINTENANCE_FOR)
        at = due.astimezone(zone).replace(second=0, microsecond=0, tzinfo=None).time()
        at = at.replace(minute=at.minute // 5 * 5)
    first = datetime.combine(joined_at.astimezone(zone).date(), at, zone)
    if repeat == "1W":
        first += (6 - first.weekday()) % 7 * DAY  # the first Sunday
    return Schedule(repeat=repeat, days=weekdays, zone=machine.zone, anchor_at=first.astimezone(UTC))
