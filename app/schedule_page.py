"""What the schedule editor shows: the coming windows, and the past under the setting that was typed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app import (
    access,
    expectation,
    forecast,
    hindsight,
    job_forms,
    overdue,
    record,
    schedule_forms,
    stored_settings,
)
from app import schedule_sentences as sentences
from app.backtest import PastRun, Replay, Setting, Silence
from app.checks import Policy
from app.deadline import Span, merged
from app.expectation import Expectation, Source
from app.forecast import Window
from app.guess import FEWEST_RUNS, Guess, guess
from app.hindsight import Past
from app.models import Job
from app.overdue import Facts, State
from app.recurrence import RecurrenceError, Schedule

WINDOWS_SHOWN = 10
ALERTS_SHOWN = 10
STRIP_WIDTH = 900
_SHORTEST_MARK = 2


class Row(NamedTuple):
    window: Window
    notes: list[str]


class Strip(NamedTuple):
    """A picture of the past: tick marks of runs as paths, overdue times as bars from x, so wide."""

    good: str
    failed: str
    bars: list[tuple[int, int]]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """All that follows from a schedule which could be saved."""

    schedule: Schedule
    description: str
    zone: ZoneInfo
    viewer: ZoneInfo
    rows: list[Row]
    rows_at_change: list[Row]
    next_run: Expectation | None
    is_overdue_at_once: bool
    without_effect: str
    backtest: Backtest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    headline: str
    comparison: str
    failures: str
    reach: str
    runs_if_cut: int
    began_at: datetime
    ended_at: datetime
    silences: Sequence[Silence]
    count: int
    now: Strip
    then: Strip


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is stored about a job, read once for a page."""

    job: Job
    now: datetime
    policy: Policy
    past: Past
    suggestion: Guess | None
    runs_looked_at: int

    @property
    def typed(self) -> Schedule | None:
        return schedule_forms.schedule_of(job_forms.typed_row(self.job))

    @property
    def has_enough_runs(self) -> bool:
        return self.runs_looked_at >= FEWEST_RUNS


def read(rows: Session, job: Job, now: datetime) -> Known:
    policy = stored_settings.policy_in(rows, access.settings())
    past = hindsight.load(rows, job, policy, now)
    began = [each.began_at for each in past.runs]
    return Known(
        job=job,
        now=now,
        policy=policy,
        past=past,
        suggestion=guess(began, zone_of(job)),
        runs_looked_at=len(began),
    )


def zone_of(job: Job) -> str:
    """The zone that the schedule of a job is in, or would be."""
    known = {each.source: schedule_forms.schedule_of(each) for each in job.schedules}
    schedule = known.get(Source.TYPED) or known.get(Source.COLLECTED)
    return schedule.zone if schedule else access.timezone()


def viewer_zone() -> ZoneInfo:
    """The zone of whoever looks."""
    return ZoneInfo(access.timezone())


def preview(known: Known, entered: Schedule, tolerance_seconds: int | None) -> Preview:
    """What the schedule and the tolerance would do; RecurrenceError where they lead out of the calendar."""
    zone, viewer = entered.zone_info, viewer_zone()
    seconds = known.policy.tolerance_seconds if tolerance_seconds is None else tolerance_seconds
    allow = known.past.allow
    change = forecast.next_change(zone, known.now)
    windows = forecast.windows(entered, known.now, WINDOWS_SHOWN, seconds, allow)
    at_change = _at_change(entered, change, windows, seconds, known)
    expected = _after_saving(known, entered, seconds)
    return Preview(
        schedule=entered,
        description=sentences.describe(entered),
        zone=zone,
        viewer=viewer,
        rows=[_row(each, entered, viewer) for each in windows],
        rows_at_change=[_row(each, entered, viewer) for each in at_change],
        next_run=expected,
        is_overdue_at_once=_is_overdue(known, expected, seconds),
        without_effect=sentences.without_effect(expected.source if expected else None),
        backtest=_backtest(known, entered, seconds),
    )


def _at_change(
    entered: Schedule,
    change: forecast.ClockChange | None,
    shown: Sequence[Window],
    seconds: int,
    known: Known,
) -> list[Window]:
    """The runs beside the next change of the clocks, unless they are among those shown anyway."""
    if change is None or any(each.change or each.twice_at for each in shown):
        return []
    try:
        return forecast.around_change(entered, change, seconds, known.past.allow)
    except RecurrenceError:
        return []


def _row(window: Window, entered: Schedule, viewer: ZoneInfo) -> Row:
    viewers = None
    if window.previous_at:
        viewers = forecast.change_between(viewer, window.previous_at, window.expected_at)
    return Row(window, sentences.notes(window, entered, viewer, viewers))


def _after_saving(known: Known, typed: Schedule | None, seconds: int) -> Expectation | None:
    held = replace(
        record.beliefs(known.job, known.policy),
        typed=typed,
        tolerance_seconds=seconds,
    )
    return expectation.after_schedule_change(record.last_run(known.job), held, known.now)


def after_removal(known: Known) -> Expectation | None:
    """What is expected once the typed schedule is gone."""
    return _after_saving(known, None, record.beliefs(known.job, known.policy).tolerance_seconds)


def _is_overdue(known: Known, expected: Expectation | None, seconds: int) -> bool:
    if expected is None:
        return False
    job = known.job
    facts = Facts(
        expected_at=expected.expected_at,
        until_at=expected.until_at,
        source=expected.source,
        tolerance_seconds=seconds,
        last_good_at=job.last_good_at,
        last_ended_at=job.last_ended_at,
        last_run_good=job.last_run_good,
        last_outcome=job.last_outcome,
        paused_at=job.paused_at,
        paused_until_at=job.paused_until_at,
    )
    deadline_at = facts.deadline_at or expected.until_at
    facts = replace(facts, allowance=known.past.allow(expected.expected_at, deadline_at))
    return overdue.verdict(facts, known.now).state is State.OVERDUE


# The past


def _backtest(known: Known, entered: Schedule, seconds: int) -> Backtest | None:
    past = known.past
    if not past.runs:
        return None
    held = record.beliefs(known.job, known.policy)
    now = Setting(collected=held.collected, typed=held.typed, tolerance_seconds=held.tolerance_seconds)
    compared = hindsight.compare(past, now, replace(now, typed=entered, tolerance_seconds=seconds))
    then = compared.then
    began_at = max(past.began_at, past.runs[0].received_at)
    days = max(1, math.ceil((past.ended_at - began_at) / timedelta(days=1)))
    return Backtest(
        headline=sentences.alerts_words(len(then.silences), days),
        comparison=sentences.comparison_words(len(compared.now.silences), len(then.silences)),
        failures=sentences.failures_words(len(then.failures)),
        reach=sentences.reach_words(then.waited_for.count(Source.TYPED), len(then.waited_for)),
        runs_if_cut=len(past.runs) if past.is_cut else 0,
        began_at=began_at,
        ended_at=past.ended_at,
        silences=list(reversed(then.silences))[:ALERTS_SHOWN],
        count=len(then.silences),
        now=_strip(compared.now, past, began_at),
        then=_strip(then, past, began_at),
    )


def _strip(found: Replay, past: Past, began_at: datetime) -> Strip:
    length = past.ended_at - began_at

    def place(at: datetime) -> int:
        share = (at - began_at) / length if length else 0.0
        return round(min(1.0, max(0.0, share)) * STRIP_WIDTH)

    spans = merged(Span(max(began_at, each.began_at), each.until(past.ended_at)) for each in found.silences)
    bars = [(place(each.began_at), place(each.ended_at)) for each in spans]
    seconds = sum((each.ended_at - each.began_at).total_seconds() for each in spans)
    runs = past.counted
    return Strip(
        good=_ticks([each for each in runs if each.good], place, 30, 10),
        failed=_ticks([each for each in runs if not each.good], place, 22, 18),
        bars=[
            (min(left, STRIP_WIDTH - _SHORTEST_MARK), max(_SHORTEST_MARK, right - left))
            for left, right in bars
        ],
        words=sentences.strip_words(len(runs), len(found.failures), len(found.silences), seconds),
    )


def _ticks(runs: Sequence[PastRun], place: Callable[[datetime], int], top: int, height: int) -> str:
    """One mark for all runs at the same place, so that a picture of thousands stays small."""
    places = sorted({place(each.ended_at) for each in runs})
    return "".join(f"M{x} {top}v{height}" for x in places)
