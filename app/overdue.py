"""Facts of a job and the time now → its state, with the reasons and the next instant to look again."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app import clock
from app.deadline import Allowance


class State(StrEnum):
    NEW = "new"
    OK = "ok"
    LATE = "late"
    OVERDUE = "overdue"
    FAILED = "failed"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the decision rests on. `until_at` is `expected_at`, or later on a night the clocks change;
    `allowance` is what moves the deadline, if anything does."""

    expected_at: datetime | None
    until_at: datetime | None
    source: str | None
    tolerance_seconds: int
    last_good_at: datetime | None
    last_ended_at: datetime | None
    last_run_good: bool | None
    last_outcome: str | None
    paused_at: datetime | None
    paused_until_at: datetime | None
    allowance: Allowance | None = None

    @property
    def deadline_at(self) -> datetime | None:
        """By the schedule and the tolerance alone."""
        return self.until_at + timedelta(seconds=self.tolerance_seconds) if self.until_at else None

    @property
    def overdue_at(self) -> datetime | None:
        return self.allowance.deadline_at if self.allowance else self.deadline_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`since_at` is when the state began; silence alone can't change it before `attention_at`."""

    state: State
    since_at: datetime | None
    attention_at: datetime | None
    why: dict[str, object]


def verdict(facts: Facts, now: datetime) -> Verdict:
    """The state at `now`. `expected_at` counts from the last run, so a job is overdue as soon as now is
    later than `overdue_at`: a run that had come since would have moved it on."""
    state, since_at, attention_at = _decide(facts, now)
    return Verdict(
        state=state, since_at=since_at, attention_at=attention_at, why=_why(facts, state, since_at)
    )


def after_report(facts: Facts, before: str, good: bool, now: datetime) -> Verdict:
    """The state once a report has moved the facts on. That a job is overdue is for the check to find, never
    for a report; what people were told stays true until a good run ends it."""
    decided = verdict(facts, now)
    if decided.state is not State.OVERDUE or (before == State.OVERDUE and good):
        return decided
    assert facts.last_ended_at is not None  # noqa: S101  (the report has just set it)
    return verdict(facts, facts.last_ended_at)


def _decide(facts: Facts, now: datetime) -> tuple[State, datetime | None, datetime | None]:
    if facts.paused_at and (facts.paused_until_at is None or now <= facts.paused_until_at):
        return State.PAUSED, facts.paused_at, facts.paused_until_at
    until_at, overdue_at = facts.until_at, facts.overdue_at
    if overdue_at and now > overdue_at:
        return State.OVERDUE, overdue_at, None
    if facts.last_run_good is False:
        return State.FAILED, facts.last_ended_at, overdue_at
    if until_at and now > until_at:
        return State.LATE, until_at, overdue_at
    if facts.last_good_at is None:
        return State.NEW, None, until_at
    return State.OK, facts.last_good_at, until_at


def _why(facts: Facts, state: State, since_at: datetime | None) -> dict[str, object]:
    return {
        "reason": str(state),
        "sinceAt": clock.iso(since_at),
        "expectedAt": clock.iso(facts.expected_at),
        "untilAt": clock.iso(facts.until_at),
        "overdueAt": clock.iso(facts.overdue_at),
        "source": facts.source,
        "toleranceSeconds": facts.tolerance_seconds,
        "lastGoodAt": clock.iso(facts.last_good_at),
        "lastReportAt": clock.iso(facts.last_ended_at),
        "outcome": facts.last_outcome,
        "pausedUntilAt": clock.iso(facts.paused_until_at),
        **_excuse(facts.allowance),
    }


def _excuse(allowance: Allowance | None) -> dict[str, object]:
    """Why the deadline is later than the tolerance says; empty for nearly all jobs at nearly all times."""
    if allowance is None:
        return {}
    told: dict[str, object] = {}
    if allowance.maintenance_until_at:
        told["maintenanceUntilAt"] = clock.iso(allowance.maintenance_until_at)
    if allowance.downtime:
        span = allowance.downtime.span
        told["unverified"] = downtime_facts(
            span.began_at, None if allowance.downtime.is_open else span.ended_at
        )
    return told


def downtime_facts(began_at: datetime, ended_at: datetime | None) -> dict[str, object]:
    """A time in which reports could not be taken in; without an end it lasts."""
    return {"beganAt": clock.iso(began_at), "endedAt": clock.iso(ended_at)}


def member_facts(job_id: int, job: str, server: str, expected_at: datetime | None) -> dict[str, object]:
    """A job in the list of a message about several."""
    return {"jobId": job_id, "job": job, "server": server, "expectedAt": clock.iso(expected_at)}


def next_reminder(reminder: str, after_at: datetime) -> datetime | None:
    """When an overdue job is mentioned again; None for `onetime`. Short months end the 31st early."""
    if reminder == "every_day":
        return after_at + timedelta(days=1)
    if reminder == "every_week":
        return after_at + timedelta(weeks=1)
    if reminder == "every_month":
        year, month = divmod(after_at.year * 12 + after_at.month, 12)
        last_day = calendar.monthrange(year, month + 1)[1]
        return after_at.replace(year=year, month=month + 1, day=min(after_at.day, last_day))
    return None


def following_reminder(reminder: str, due_at: datetime, now: datetime) -> datetime | None:
    """The next one ahead, counted from when one was due and not from the check that found it: with a check
    every two hours, every day would otherwise mean every 26 hours."""
    following_at: datetime | None = due_at
    while following_at and following_at <= now:
        following_at = next_reminder(reminder, following_at)
    return following_at
