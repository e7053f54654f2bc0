"""Verdicts: every state, its reasons, and the next instant to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.overdue import Facts, State, next_reminder, verdict

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def _facts(**changed: object) -> Facts:
    known: dict[str, object] = {
        "expected_at": NOON,
        "until_at": NOON,
        "source": "declared",
        "tolerance_seconds": 3600,
        "last_good_at": NOON - DAY,
        "last_ended_at": NOON - DAY,
        "last_run_good": True,
        "last_outcome": "Success",
        "paused_at": None,
        "paused_until_at": None,
    }
    return Facts(**{**known, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "state", "attention"),
    [
        (-HOUR, State.OK, NOON),
        (timedelta(), State.OK, NOON),
        (timedelta(seconds=1), State.LATE, NOON + HOUR),
        (HOUR, State.LATE, NOON + HOUR),
        (HOUR + timedelta(seconds=1), State.OVERDUE, None),
    ],
)
def test_silence_turns_ok_into_late_and_late_into_overdue(
    after: timedelta, state: State, attention: datetime | None
) -> None:
    decided = verdict(_facts(), NOON + after)
    assert (decided.state, decided.attention_at) == (state, attention)


def test_why_names_every_input_of_the_decision() -> None:
    assert verdict(_facts(), NOON + 2 * HOUR).why == {
        "reason": "overdue",
        "sinceAt": "2026-12-01T13:00:00Z",
        "expectedAt": "2026-12-01T12:00:00Z",
        "untilAt": "2026-12-01T12:00:00Z",
        "overdueAt": "2026-12-01T13:00:00Z",
        "source": "declared",
        "toleranceSeconds": 3600,
        "lastGoodAt": "2026-11-30T12:00:00Z",
        "lastReportAt": "2026-11-30T12:00:00Z",
        "outcome": "Success",
        "pausedUntilAt": None,
    }


def test_a_night_the_clocks_change_gives_the_hour_between_both_readings() -> None:
    facts = _facts(until_at=NOON + HOUR)
    assert verdict(facts, NOON + timedelta(minutes=59)).state is State.OK
    assert verdict(facts, NOON + 2 * HOUR).state is State.LATE
    assert verdict(facts, NOON + 2 * HOUR + timedelta(seconds=1)).state is State.OVERDUE


def test_a_failed_job_stays_failed_until_its_next_run_is_overdue() -> None:
    facts = _facts(last_run_good=False)
    assert verdict(facts, NOON + HOUR / 2).state is State.FAILED
    assert verdict(facts, NOON + HOUR / 2).attention_at == NOON + HOUR
    assert verdict(facts, NOON + 2 * HOUR).state is State.OVERDUE


def test_a_job_without_any_backup_is_new_until_one_is_late() -> None:
    nothing = _facts(
        last_good_at=None, last_ended_at=None, last_run_good=None, expected_at=None, until_at=None
    )
    assert verdict(nothing, NOON).state is State.NEW
    assert verdict(nothing, NOON).attention_at is None


def test_a_pause_silences_until_its_end() -> None:
    facts = _facts(paused_at=NOON - DAY, paused_until_at=NOON + DAY)
    assert verdict(facts, NOON + 2 * HOUR).state is State.PAUSED
    assert verdict(facts, NOON + 2 * HOUR).attention_at == NOON + DAY
    assert verdict(facts, NOON + DAY + timedelta(seconds=1)).state is State.OVERDUE
    assert verdict(_facts(paused_at=NOON), NOON + 400 * DAY).state is State.PAUSED


@given(minutes=st.integers(-10_000, 10_000), failed=st.booleans(), tolerance=st.integers(0, 200_000))
def test_nothing_changes_by_silence_before_the_next_instant_to_look(
    minutes: int, failed: bool, tolerance: int
) -> None:
    facts = _facts(last_run_good=not failed, tolerance_seconds=tolerance)
    now = NOON + timedelta(minutes=minutes)
    decided = verdict(facts, now)
    assert decided.attention_at is None or decided.attention_at >= now
    until = decided.attention_at or now + 1000 * DAY
    for share in (0.1, 0.5, 1.0):
        assert verdict(facts, now + (until - now) * share).state is decided.state


@pytest.mark.parametrize(
    ("reminder", "after_at", "expected"),
    [
        ("onetime", NOON, None),
        ("every_day", NOON, NOON + DAY),
        ("every_week", NOON, NOON + 7 * DAY),
        ("every_month", datetime(2027, 1, 31, tzinfo=UTC), datetime(2027, 2, 28, tzinfo=UTC)),
        ("every_month", datetime(2026, 12, 15, tzinfo=UTC), datetime(2027, 1, 15, tzinfo=UTC)),
        ("every_month", datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC)),
    ],
)
def test_reminders_come_a_day_a_week_or_a_month_later(
    reminder: str, after_at: datetime, expected: datetime | None
) -> None:
    assert next_reminder(reminder, after_at) == expected
