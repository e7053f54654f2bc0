"""What people would have been told: past runs played once more through the rules, under another setting."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from app import expectation, overdue
from app.deadline import Allowance
from app.expectation import Beliefs, Expectation, Run, Source
from app.overdue import Facts, State
from app.recurrence import Repeat, Schedule, around

# What moves a deadline that was by the schedule alone: expected time and deadline in, the moved one out.
Allow = Callable[[datetime, datetime], Allowance | None]

_MOMENT = timedelta(microseconds=1)
_LONGER_STEPS_TRIED = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as it was stored; `received_at` is when its report came."""

    received_at: datetime
    began_at: datetime
    ended_at: datetime
    declared_next_at: datetime | None
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is tried on the past."""

    collected: Schedule | None
    typed: Schedule | None
    tolerance_seconds: int

    def since(self, began_at: datetime) -> Setting:
        """The same setting as if it had been in force from then on."""
        return replace(
            self,
            collected=running_since(self.collected, began_at) if self.collected else None,
            typed=running_since(self.typed, began_at) if self.typed else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time in which the backup was overdue. Without an end it still is."""

    expected_at: datetime
    began_at: datetime
    ended_at: datetime | None
    source: Source

    def until(self, now: datetime) -> datetime:
        return self.ended_at or now


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the past would have brought; `waited_for` tells on whose word each next run was expected."""

    silences: tuple[Silence, ...]
    failures: tuple[PastRun, ...]
    waited_for: tuple[Source, ...]

    def since(self, began_at: datetime) -> Replay:
        """Only what reaches beyond a moment."""
        silences = tuple(each for each in self.silences if each.ended_at is None or each.ended_at > began_at)
        failures = tuple(each for each in self.failures if each.received_at >= began_at)
        return replace(self, silences=silences, failures=failures)


def replay(runs: Sequence[PastRun], setting: Setting, until_at: datetime, allow: Allow) -> Replay:
    """Hand the runs in as they came, with a check at every moment in which silence changes something.

    Real checks come every few minutes, so a silence of less than that may have gone untold. Pauses and
    acknowledgements are not played again.
    """
    watch = _Watch(setting, allow)
    for run in sorted(runs, key=lambda each: each.received_at):
        watch.wait(run.received_at)
        watch.take(run)
    watch.wait(until_at)
    return Replay(
        silences=tuple(watch.silences), failures=tuple(watch.failures), waited_for=tuple(watch.waited_for)
    )


@dataclass(slots=True)
class _Watch:
    """A job while its past goes by once more."""

    setting: Setting
    allow: Allow
    silences: list[Silence] = field(default_factory=list)
    failures: list[PastRun] = field(default_factory=list)
    waited_for: list[Source] = field(default_factory=list)
    _expected: Expectation | None = None
    _declared: tuple[datetime | None, int | None] = (None, None)
    _last: PastRun | None = None
    _last_good_at: datetime | None = None
    _attention_at: datetime | None = None

    def wait(self, until_at: datetime) -> None:
        """Nothing comes until then."""
        while self._attention_at and self._attention_at < until_at and not self._is_silent:
            decided = overdue.verdict(self._facts(self.allow), self._attention_at + _MOMENT)
            self._attention_at = decided.attention_at
            if decided.state is State.OVERDUE and decided.since_at and self._expected:
                self.silences.append(
                    Silence(
                        expected_at=self._expected.expected_at,
                        began_at=decided.since_at,
                        ended_at=None,
                        source=self._expected.source,
                    )
                )

    def take(self, run: PastRun) -> None:
        """A report comes in. One of a run that ended before the newest is history, but a failure is told."""
        if not run.good:
            self.failures.append(run)
        if self._last and run.ended_at < self._last.ended_at:
            return
        before = State.OVERDUE if self._is_silent else State.OK
        self._move(run)
        decided = overdue.after_report(self._facts(None), before, run.good, run.received_at)
        if decided.state is State.OVERDUE:
            return
        if self._is_silent:
            self.silences[-1] = replace(self.silences[-1], ended_at=run.received_at)
        self._attention_at = decided.attention_at

    @property
    def _is_silent(self) -> bool:
        return bool(self.silences) and self.silences[-1].ended_at is None

    def _move(self, run: PastRun) -> None:
        told = Run(began_at=run.began_at, ended_at=run.ended_at, declared_next_at=run.declared_next_at)
        beliefs = Beliefs(
            declared_next_at=self._declared[0],
            declared_gap_seconds=self._declared[1],
            collected=self.setting.collected,
            typed=self.setting.typed,
            tolerance_seconds=self.setting.tolerance_seconds,
        )
        self._expected = expectation.after_run(told, beliefs)
        self._declared = expectation.heard(told, self._expected, beliefs)
        self.waited_for.append(self._expected.source)
        self._last = run
        self._last_good_at = run.ended_at if run.good else self._last_good_at

    def _facts(self, allow: Allow | None) -> Facts:
        expected, last = self._expected, self._last
        facts = Facts(
            expected_at=expected.expected_at if expected else None,
            until_at=expected.until_at if expected else None,
            source=None,
            tolerance_seconds=self.setting.tolerance_seconds,
            last_good_at=self._last_good_at,
            last_ended_at=last.ended_at if last else None,
            last_run_good=last.good if last else None,
            last_outcome=None,
            paused_at=None,
            paused_until_at=None,
        )
        if allow is None or facts.expected_at is None or facts.deadline_at is None:
            return facts
        return replace(facts, allowance=allow(facts.expected_at, facts.deadline_at))


def running_since(schedule: Schedule, before_at: datetime) -> Schedule:
    """The schedule with another first run, not later than then, as if it had been running all along.

    A first run that lies ahead says nothing of the past, but people who enter one mean the rhythm.
    """
    try:
        reached_at, first_at = around(schedule, before_at)
        if reached_at:
            return replace(schedule, anchor_at=reached_at)
        return _put_back(schedule, first_at, before_at)
    except (ValueError, OverflowError):
        return schedule  # further back than the calendar goes


def _put_back(schedule: Schedule, first_at: datetime, before_at: datetime) -> Schedule:
    """Weekdays, changes of the clocks and the ends of months shift a rhythm: of some first runs further back,
    the one that leads to `first_at`."""
    steps = -((before_at - first_at) // schedule.rule.span)
    tried = [
        replace(schedule, anchor_at=at)
        for zone in (schedule.zone_info if schedule.rule.keeps_wall_clock else _UTC, _UTC)
        for at in _earlier(schedule.rule, first_at, steps, zone)
    ]
    leading = (each for each in tried if around(each, first_at - _MOMENT)[1] == first_at)
    return next(leading, tried[0])


def _earlier(rule: Repeat, first_at: datetime, steps: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Whole repeats before a run, by the calendar of the zone."""
    months = sum(count * (12 if unit == "Y" else 1) for count, unit in rule.parts if unit in "MY")
    rest = rule.span - timedelta(days=sum(_NOMINAL_DAYS.get(unit, 0) * count for count, unit in rule.parts))
    for times in range(steps, steps + _LONGER_STEPS_TRIED):
        local = _months_before(first_at.astimezone(zone).replace(tzinfo=None), months * times) - rest * times
        yield local.replace(tzinfo=zone).astimezone(UTC)


_UTC = ZoneInfo("UTC")
_NOMINAL_DAYS = {"M": 30, "Y": 365}


def _months_before(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
    return local.replace(year=year, month=month + 1, day=min(local.day, monthrange(year, month + 1)[1]))
