"""A slow model of what is overdue and what people are told, for comparison alone; nothing of app is in it.

It counts through every occurrence of a schedule, one after the other, and decides anew at each look from the
facts of the job. Every rule is a sentence of the specification; where that leaves a choice, the comment says
which one was made.
"""

from __future__ import annotations

import calendar
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
BAD_NEWS = ("overdue", "reminder", "failed")


@dataclass(frozen=True)
class Plan:
    """A repeat of one number and one unit ("1D", "6h"), its weekdays (none: all), its zone, its first run."""

    repeat: str
    days: tuple[str, ...]
    zone: str
    first_at: datetime

    @property
    def length(self) -> timedelta:
        """A month counts 30 days."""
        return int(self.repeat[:-1]) * {"h": HOUR, "D": DAY, "W": 7 * DAY, "M": 30 * DAY}[self.repeat[-1]]


def local(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone))


def offset(at: datetime, zone: str) -> timedelta:
    return local(at, zone).utcoffset() or timedelta()


def one_step(at: datetime, plan: Plan) -> datetime:
    """Hours are elapsed time; days, weeks and months keep the wall clock; the 31st becomes the last day."""
    count, unit = int(plan.repeat[:-1]), plan.repeat[-1]
    if unit == "h":
        return at + count * HOUR
    moved = at
    for _ in range(count):
        moved = a_month_later(moved) if unit == "M" else moved + (7 * DAY if unit == "W" else DAY)
    return moved + offset(at, plan.zone) - offset(moved, plan.zone)


def a_month_later(at: datetime) -> datetime:
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


def on_an_allowed_day(at: datetime, plan: Plan) -> datetime:
    """A repeat of a day or more goes on by whole UTC days, a shorter one by itself."""
    stride = DAY if plan.length >= DAY else plan.length
    while plan.days and WEEKDAYS[local(at, plan.zone).weekday()] not in plan.days:
        at += stride
    return at


def occurrences(plan: Plan, until_at: datetime) -> list[datetime]:
    """All runs that the schedule has, each counted from the one before."""
    found = [on_an_allowed_day(plan.first_at, plan)]
    while found[-1] <= until_at:
        found.append(on_an_allowed_day(one_step(found[-1], plan), plan))
    return found


def accepted(before_at: datetime, at: datetime, plan: Plan) -> list[datetime]:
    """When the clocks changed since the run before, this one may keep the wall clock or UTC, for one cycle.

    A repeat of less than four hours has no time of day to keep: an hour off is a missed run.
    """
    if at - before_at < 4 * HOUR:
        return [at]
    by_utc = at
    if plan.length >= DAY:
        by_utc = min((before_at + n * DAY for n in range(70)), key=lambda each: abs(each - at))
    shown = local(before_at, plan.zone).replace(tzinfo=None) + (by_utc - before_at)
    by_wall_clock = shown.replace(tzinfo=ZoneInfo(plan.zone)).astimezone(UTC)
    exists = local(by_wall_clock, plan.zone).replace(tzinfo=None) == shown
    return sorted({at, by_utc, by_wall_clock if exists else at})


@dataclass(frozen=True)
class Run:
    """What a report says of a run, by the client's clock; None where it does not tell."""

    began_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None
    good: bool
    dry: bool = False


@dataclass
class ModelJob:
    """The facts of one job, and what it would say of them at any moment."""

    tolerance: timedelta
    reminder: str
    plan: Plan | None = None
    known: list[datetime] = field(default_factory=list)  # every occurrence of the plan

    until_at: datetime | None = None  # up to here the next run is on time
    next_at: datetime | None = None  # the client's last word
    gap: timedelta | None = None  # between its runs, as its words have shown
    last_at: datetime | None = None  # when the newest run ended
    good_at: datetime | None = None
    last_good: bool = True
    paused: bool = False
    paused_since_at: datetime | None = None
    paused_until_at: datetime | None = None

    seen: str = "new"  # the state at the last look
    told: str | None = None
    remind_at: datetime | None = None

    # What is expected

    def overdue_at(self) -> datetime | None:
        return self.until_at + self.tolerance if self.until_at else None

    def early(self) -> timedelta:
        """A run may begin this long before its time: the tolerance, at most half way to the run before."""
        length = self.plan.length if self.plan else self.gap or DAY
        return min(self.tolerance, length / 2)

    def expect(self, began_at: datetime, ended_at: datetime, next_at: datetime | None) -> datetime:
        """The client's word, else the typed schedule, else once a day, or as often as its words were."""
        if next_at and next_at > ended_at:
            return next_at
        done_at = max(ended_at, began_at + self.early())
        if self.next_at and self.next_at > done_at:
            return (
                self.next_at
            )  # a manual run keeps the last word, unless it comes so late that it is that run
        if self.plan:
            return self.expect_by_plan(began_at, ended_at)
        words = [each for each in (next_at, self.next_at) if each and each <= done_at]
        expected_at = max(words, default=began_at)
        while expected_at <= done_at:
            expected_at += self.gap or DAY
        return expected_at

    def expect_by_plan(self, began_at: datetime, ended_at: datetime) -> datetime:
        """The first occurrence that is later than the run, and that this run was not itself, begun early."""
        for number in range(bisect_right(self.known, ended_at), len(self.known)):
            if began_at + self.early() < min(self.times(number)):
                return max(self.times(number))
        raise AssertionError("the occurrences end too early")

    def times(self, number: int) -> list[datetime]:
        at = self.known[number]
        return accepted(self.known[number - 1], at, self.plan) if number and self.plan else [at]

    # The state

    def state(self, now: datetime) -> str:
        overdue_at = self.overdue_at()
        if self.is_paused(now):
            return "paused"
        if overdue_at and now > overdue_at:
            return "overdue"
        if not self.last_good:
            return "failed"
        if self.until_at and now > self.until_at:
            return "late"
        return "ok" if self.good_at else "new"

    def is_paused(self, now: datetime) -> bool:
        return self.paused and (self.paused_until_at is None or now <= self.paused_until_at)

    def edges(self) -> list[datetime]:
        """The moments after which silence alone changes something."""
        times = (self.until_at, self.overdue_at(), self.remind_at, self.paused_until_at)
        return [each for each in times if each]

    # What people are told

    def check(self, now: datetime) -> str | None:
        """Once when it becomes overdue, then reminders; what was told before a pause is a reminder after."""
        before, self.seen = self.seen, self.state(now)
        if self.seen != "overdue":
            self.remind_at = None
            return self.tell(self.after_pause(before))
        if before != "overdue":
            kind = "reminder" if self.told in ("overdue", "reminder") else "overdue"
            self.remind_at = self.following(now)
        elif self.remind_at and now > self.remind_at:
            kind = "reminder"
            # Counted from when it was due and not from the check that found it: every day stays every day.
            while self.remind_at and self.remind_at <= now:
                self.remind_at = self.following(self.remind_at)
        else:
            return None
        self.told = kind
        return kind

    def after_pause(self, before: str) -> str | None:
        """What a run has brought during a pause is told when that ends by itself; who ends it, sees it."""
        if before != "paused" or self.seen == "paused" or not self.paused_since_at or not self.last_at:
            return None
        if self.last_at <= self.paused_since_at:
            return None
        if self.seen == "failed":
            return "failed"
        return "recovered" if self.last_good and self.told in BAD_NEWS else None

    def following(self, at: datetime) -> datetime | None:
        steps = {"onetime": None, "every_day": at + DAY, "every_week": at + 7 * DAY}
        return a_month_later(at) if self.reminder == "every_month" else steps[self.reminder]

    def report(self, run: Run, now: datetime) -> str | None:
        """A failure is told at once, a good run after bad news is the recovery; a pause says nothing."""
        if run.dry:
            return None
        # A client's schedule goes by its own clock; a time more than a day ahead is no time at all.
        ended_at = run.ended_at if run.ended_at and run.ended_at <= now + DAY else None
        began_at = run.began_at if run.began_at and (ended_at or run.began_at <= now) else now
        known_end_at = min(ended_at or now, now)
        if self.last_at and known_end_at < self.last_at:
            return self.tell(None if run.good or self.is_paused(now) else "failed")
        self.move(run, began_at, ended_at or now, known_end_at)
        still_overdue = self.seen == "overdue" and run.good and self.state(now) == "overdue"
        if self.is_paused(now):
            self.seen = "paused"
            return None
        if still_overdue:
            return None
        self.remind_at = None
        self.seen = "ok" if run.good else "failed"
        if not run.good:
            return self.tell("failed")
        return self.tell("recovered" if self.told in BAD_NEWS else None)

    def move(self, run: Run, began_at: datetime, ended_at: datetime, known_end_at: datetime) -> None:
        self.until_at = self.expect(began_at, ended_at, run.next_at)
        if run.next_at and run.next_at > ended_at:
            step = run.next_at - self.next_at if self.next_at else timedelta()
            if self.next_at and step > timedelta() and abs(began_at - self.next_at) < step / 2:
                self.gap = step
            self.next_at = run.next_at
        self.last_at, self.last_good = known_end_at, run.good
        if run.good:
            self.good_at = known_end_at

    def tell(self, kind: str | None) -> str | None:
        self.told = kind or self.told
        return kind

    # What an administrator sets

    def type_plan(self, plan: Plan, known: list[datetime], now: datetime) -> None:
        """Typed in before the first run: the first occurrence from now on."""
        assert self.last_at is None
        self.plan, self.known = plan, known
        self.until_at = max(self.times(bisect_right(known, now)))
        self.settings_changed(now)

    def settings_changed(self, now: datetime) -> None:
        """That it is overdue by the new setting is for the next check to tell."""
        if self.state(now) == "overdue":
            if self.seen == "overdue":
                self.remind_at = self.following(now)
            return
        self.seen, self.remind_at = self.state(now), None
