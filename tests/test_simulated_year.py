"""A simulated year of 500 jobs, each verdict compared with a slow model; the model held to the documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.model_of_overdue import DAY, HOUR, WEEKDAYS, ModelJob, Plan, Run, accepted, occurrences, one_step
from tests.simulated_year import simulate

MINUTE = timedelta(minutes=1)
WORKDAYS = WEEKDAYS[:5]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_year_of_five_hundred_jobs_has_no_false_and_no_missed_alert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short lives around the days on which clocks change; `python -m tests.simulated_year` does it all."""
    tally = simulate(tmp_path, 500, 1, lives=0.18, every=timedelta(hours=25), probed=0.02)
    with capsys.disabled():
        print(f"\n{tally}")  # noqa: T201  (the figures are what this is for)
    assert (tally.false, tally.missed, tally.wrong_states, tally.differences) == (0, 0, 0, [])
    assert set(tally.kinds) == {"overdue", "reminder", "recovered", "failed"}
    assert min(tally.kinds.values()) > 100


def test_a_dozen_jobs_live_the_year_with_the_bodies_that_clients_send(tmp_path: Path) -> None:
    tally = simulate(tmp_path, 8, 2, lives=0.5, every=timedelta(hours=73), probed=0.2, real_bodies=True)
    assert (tally.false, tally.missed, tally.wrong_states, tally.differences) == (0, 0, 0, [])
    assert tally.reports > 50


# The model itself


@pytest.mark.parametrize(
    ("at", "repeat", "days", "zone", "following"),
    [
        ("2024-03-10T06:30", "1h", (), "America/New_York", "2024-03-10T07:30"),
        ("2024-03-09T06:30", "1D", (), "America/New_York", "2024-03-10T06:30"),
        ("2024-11-02T05:30", "1D", (), "America/New_York", "2024-11-03T05:30"),
        ("2024-11-03T05:30", "1h", (), "America/New_York", "2024-11-03T06:30"),
        ("2024-03-30T13:00", "1D", (), "Europe/Paris", "2024-03-31T12:00"),
        ("2024-10-26T12:00", "1D", (), "Europe/Paris", "2024-10-27T13:00"),
        ("2026-03-27T12:00", "1D", WORKDAYS, "Europe/Paris", "2026-03-30T12:00"),
        ("2029-12-25T13:00", "1D", ("fri",), "UTC", "2029-12-28T13:00"),
        ("2026-03-28T01:30", "1D", (), "Europe/Paris", "2026-03-29T00:30"),
        ("2028-01-31T12:00", "1M", (), "UTC", "2028-02-29T12:00"),
        ("2028-02-29T12:00", "1M", (), "UTC", "2028-03-29T12:00"),
        ("2027-12-31T12:00", "1D", (), "UTC", "2028-01-01T12:00"),
    ],
)
def test_the_model_steps_as_the_documents_say(
    at: str, repeat: str, days: tuple[str, ...], zone: str, following: str
) -> None:
    plan = Plan(repeat, days, zone, utc(at))
    expected_at = utc(following)
    first_at = occurrences(plan, expected_at)[0]
    found = occurrences(plan, expected_at)[1] if first_at == utc(at) else first_at
    assert found == expected_at
    assert one_step(utc(at), plan) <= expected_at


def test_the_model_accepts_both_readings_on_the_day_the_clocks_change() -> None:
    daily = Plan("1D", (), "Europe/Paris", utc("2028-03-25T12:00"))
    assert accepted(utc("2028-03-25T12:00"), utc("2028-03-26T11:00"), daily) == [
        utc("2028-03-26T11:00"),
        utc("2028-03-26T12:00"),
    ]
    assert accepted(utc("2028-03-26T11:00"), utc("2028-03-27T11:00"), daily) == [utc("2028-03-27T11:00")]
    hourly = Plan("1h", (), "Europe/Paris", utc("2028-03-26T00:00"))
    assert accepted(utc("2028-03-26T00:00"), utc("2028-03-26T01:00"), hourly) == [utc("2028-03-26T01:00")]


def test_the_model_tells_each_thing_once() -> None:
    noon = utc("2028-02-28T12:00")
    job = ModelJob(HOUR, "every_day")
    good = Run(noon - MINUTE, noon, None, good=True)
    assert job.report(good, noon) is None
    due_at = noon - MINUTE + DAY + HOUR
    told = [job.check(due_at + late) for late in (timedelta(), MINUTE, HOUR, DAY, DAY + 2 * MINUTE, 2 * DAY)]
    assert told == [None, "overdue", None, None, "reminder", None]
    back_at = noon + 5 * DAY
    assert job.report(Run(back_at, back_at, None, good=True), back_at) == "recovered"
    assert job.report(Run(back_at, back_at + HOUR, None, good=False), back_at + HOUR) == "failed"
