"""The order of belief: when a job's next run is due, and on whose word."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.recurrence import RecurrenceError, Schedule, around, dst_readings, upcoming

_DAY: Final = timedelta(days=1)
# A client whose clock or schedule is this far off is not believed.
_BELIEVED_AHEAD: Final = timedelta(days=2 * 365 + 1)


class Source(StrEnum):
    """Whose word is in force, strongest first."""

    DECLARED = "declared"
    COLLECTED = "collected"
    TYPED = "typed"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Beliefs:
    """What is stored about a job's schedule; `declared_next_at` is the last one that the client sent."""

    declared_next_at: datetime | None
    collected: Schedule | None
    typed: Schedule | None
    tolerance_seconds: int
    declared_gap_seconds: int | None = None  # between the client's runs, as its declared times have shown

    @property
    def schedules(self) -> tuple[tuple[Schedule, Source], ...]:
        """The known schedules, the more trusted one first."""
        known = (self.collected, Source.COLLECTED), (self.typed, Source.TYPED)
        return tuple((schedule, source) for schedule, source in known if schedule)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run by its client's clock; `declared_next_at` is None for a manual run."""

    began_at: datetime
    ended_at: datetime
    declared_next_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """When the next run is due; up to `until_at` it is on time, the two readings of a DST night counted."""

    expected_at: datetime
    until_at: datetime
    source: Source
    previous_at: datetime | None


def after_run(run: Run, beliefs: Beliefs) -> Expectation:
    """What to expect once a run is in; the result is always later than the run's end."""
    declared_at = run.declared_next_at
    over_at = max(run.began_at, run.ended_at)
    # A time that went by during the run itself is no longer ahead: the client drops what it missed meanwhile.
    if declared_at and _is_believed(declared_at, run) and declared_at > over_at:
        return _exactly(declared_at, Source.DECLARED, run.began_at)
    stored_at = beliefs.declared_next_at
    if stored_at and _is_believed(stored_at, run) and stored_at > _reached(run, beliefs):
        return _exactly(stored_at, Source.DECLARED, run.began_at)
    for schedule, source in beliefs.schedules:
        try:
            return _after_run_by(schedule, source, run, beliefs.tolerance_seconds)
        except RecurrenceError:
            continue
    return _by_default(run, beliefs)


def after_schedule_change(last_run: Run | None, beliefs: Beliefs, now: datetime) -> Expectation | None:
    """What to expect once a schedule was saved or removed: counted from the last run, else from now.

    None when there was no run and nothing is known. What the client declared stays, even when it went by.
    """
    if last_run:
        return after_run(last_run, beliefs)
    if beliefs.declared_next_at and beliefs.declared_next_at - now <= _BELIEVED_AHEAD:
        return _exactly(beliefs.declared_next_at, Source.DECLARED, None)
    for schedule, source in beliefs.schedules:
        try:
            return _expect(schedule, source, *around(schedule, now))
        except RecurrenceError:
            continue
    return None


def heard(run: Run, expected: Expectation, beliefs: Beliefs) -> tuple[datetime | None, int | None]:
    """The client's last word that counts, and the gap that its words have shown, once this run is in."""
    if expected.source is not Source.DECLARED or run.declared_next_at != expected.expected_at:
        return beliefs.declared_next_at, beliefs.declared_gap_seconds
    gap_seconds = declared_gap_seconds(beliefs.declared_next_at, run)
    return run.declared_next_at, gap_seconds or beliefs.declared_gap_seconds


def windows(schedule: Schedule, after_at: datetime, count: int) -> list[Expectation]:
    """The next `count` runs by this schedule alone, as if each came when it is due."""
    previous_at = around(schedule, after_at)[0]
    found: list[Expectation] = []
    for expected_at in upcoming(schedule, after_at, count):
        found.append(_expect(schedule, Source.TYPED, previous_at, expected_at))
        previous_at = expected_at
    return found


def declared_gap_seconds(before_at: datetime | None, run: Run) -> int | None:
    """How far apart the client's runs are, shown by two declared times of which none was missed between."""
    next_at = run.declared_next_at
    if before_at is None or next_at is None or next_at <= before_at:
        return None
    gap = next_at - before_at
    return int(gap.total_seconds()) if abs(run.began_at - before_at) < gap / 2 else None


def _is_believed(declared_at: datetime, run: Run) -> bool:
    return timedelta() < declared_at - run.began_at <= _BELIEVED_AHEAD


def _early(tolerance_seconds: int, gap: timedelta) -> timedelta:
    """How long before an occurrence a run may begin and still count for it and not for the one before."""
    return min(timedelta(seconds=max(0, tolerance_seconds)), gap / 2)


def _reached(run: Run, beliefs: Beliefs) -> datetime:
    """Up to here occurrences count as done; where nothing tells the gap, a day stands for it."""
    gap = next((schedule.rule.span for schedule, _source in beliefs.schedules), _shown_gap(beliefs))
    return max(run.ended_at, run.began_at + _early(beliefs.tolerance_seconds, gap))


def _shown_gap(beliefs: Beliefs) -> timedelta:
    return timedelta(seconds=beliefs.declared_gap_seconds) if beliefs.declared_gap_seconds else _DAY


def _after_run_by(schedule: Schedule, source: Source, run: Run, tolerance_seconds: int) -> Expectation:
    previous_at, expected_at = around(schedule, max(run.began_at, run.ended_at))
    earliest_at = dst_readings(previous_at, expected_at, schedule)[0] if previous_at else expected_at
    if run.began_at + _early(tolerance_seconds, schedule.rule.span) >= earliest_at:
        previous_at, expected_at = around(schedule, expected_at)
    return _expect(schedule, source, previous_at, expected_at)


def _by_default(run: Run, beliefs: Beliefs) -> Expectation:
    """As far apart as the client's declared times were, else once a day: from the last declared time, which
    has passed, else from the run itself."""
    gap = _shown_gap(beliefs)
    declared = (run.declared_next_at, beliefs.declared_next_at)
    passed = [at for at in declared if at and at <= _reached(run, beliefs)]
    base_at = max(passed, default=run.began_at)
    times = (_reached(run, beliefs) - base_at) // gap + 1
    return _exactly(base_at + times * gap, Source.DEFAULT, base_at + (times - 1) * gap)


def _expect(
    schedule: Schedule, source: Source, previous_at: datetime | None, expected_at: datetime
) -> Expectation:
    until_at = dst_readings(previous_at, expected_at, schedule)[1] if previous_at else expected_at
    return Expectation(expected_at=expected_at, until_at=until_at, source=source, previous_at=previous_at)


def _exactly(expected_at: datetime, source: Source, previous_at: datetime | None) -> Expectation:
    return Expectation(expected_at=expected_at, until_at=expected_at, source=source, previous_at=previous_at)
