"""Duplicati's schedule arithmetic: its own vectors, the documented table, and what holds for any input."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.recurrence import (
    EVERY_DAY,
    WEEKDAYS,
    RecurrenceError,
    Schedule,
    around,
    dst_readings,
    dst_slack_until,
    next_after,
    next_valid,
    parse_repeat,
    span_seconds,
    step,
    upcoming,
)

VECTORS = json.loads((Path(__file__).parent / "samples" / "schedule-vectors.json").read_text())["vectors"]
PARIS = ZoneInfo("Europe/Paris")
NEW_YORK = ZoneInfo("America/New_York")
WORKDAYS = frozenset(WEEKDAYS[:5])
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(repeat: str, anchor: str, days: str = "", zone: str = "Europe/Paris") -> Schedule:
    return Schedule(repeat=repeat, days=frozenset(days.split()), zone=zone, anchor_at=utc(anchor))


def answer(vector: dict) -> float | str:
    if vector["type"] == "timespan_seconds":
        return span_seconds(vector["repeat"])
    base_at, zone = datetime.fromisoformat(vector["base_time"]), ZoneInfo(vector["tz"])
    if vector["type"] == "step":
        found_at = step(base_at, vector["repeat"], zone)
    else:
        first_at = datetime.fromisoformat(vector["first_allowed"])
        found_at = next_valid(base_at, first_at, vector["repeat"], frozenset(vector["allowed_days"]), zone)
    return found_at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['id']}-{vector['type']}")
def test_every_vector_of_duplicati_gives_its_answer(vector: dict) -> None:
    if vector["expected"] is None:
        with pytest.raises(RecurrenceError):
            answer(vector)
    else:
        assert answer(vector) == vector["expected"]


def test_no_vector_is_left_out() -> None:
    assert len(VECTORS) == 71
    assert {vector["type"] for vector in VECTORS} == {"next", "step", "timespan_seconds"}


@pytest.mark.parametrize(
    ("base", "repeat", "zone", "expected"),
    [
        ("2024-03-10T06:30", "1h", "US/Eastern", "2024-03-10T07:30"),
        ("2024-03-09T06:30", "1D", "US/Eastern", "2024-03-10T06:30"),
        ("2024-03-10T04:00", "1D2h", "US/Eastern", "2024-03-11T06:00"),
        ("2024-11-02T05:30", "1D", "US/Eastern", "2024-11-03T05:30"),
        ("2024-11-03T05:30", "1h", "US/Eastern", "2024-11-03T06:30"),
        ("2024-03-30T13:00", "1D", "CET", "2024-03-31T12:00"),
        ("2024-10-26T12:00", "1D", "CET", "2024-10-27T13:00"),
        ("2024-03-30T13:00", "24h", "CET", "2024-03-31T13:00"),
        ("2024-03-30T13:00", "1D0h", "CET", "2024-03-31T13:00"),
        ("2024-03-30T13:00", "86400", "CET", "2024-03-31T13:00"),
        ("2025-01-31T13:00", "1M", "UTC", "2025-02-28T13:00"),
        ("2025-12-31T13:00", "2M", "UTC", "2026-02-28T13:00"),
        ("2025-12-31T13:00", "1Y2M", "UTC", "2027-02-28T13:00"),
    ],
)
def test_one_step_keeps_the_wall_clock_only_for_days_and_longer(
    base: str, repeat: str, zone: str, expected: str
) -> None:
    assert step(utc(base), repeat, ZoneInfo(zone)) == utc(expected)


def test_months_clamp_cumulatively() -> None:
    found = upcoming(schedule("1M", "2026-01-31T12:00", zone="UTC"), utc("2026-01-31T12:00"), 3)
    assert found == [utc("2026-02-28T12:00"), utc("2026-03-28T12:00"), utc("2026-04-28T12:00")]


def test_a_weekend_over_the_spring_change_moves_a_workday_job_by_an_hour_for_good() -> None:
    rule = schedule("1D", "2026-03-16T12:00", "mon tue wed thu fri")
    assert upcoming(rule, utc("2026-03-27T12:00"), 2) == [utc("2026-03-30T12:00"), utc("2026-03-31T12:00")]


def test_daily_half_past_two_slips_to_half_past_one_for_good() -> None:
    found = upcoming(schedule("1D", "2026-03-01T01:30"), utc("2026-03-28T01:30"), 3)
    assert [f"{at.astimezone(PARIS):%d %H:%M}" for at in found] == ["29 01:30", "30 01:30", "31 01:30"]
    later_at = next_after(schedule("1D", "2026-03-01T01:30"), utc("2027-01-10T12:00"))
    assert f"{later_at.astimezone(PARIS):%H:%M}" == "01:30"


def test_a_repeat_of_24_hours_drifts_over_the_autumn_change() -> None:
    found_at = next_after(schedule("24h", "2026-10-20T20:00"), utc("2026-10-26T12:00"))
    assert f"{found_at.astimezone(PARIS):%H:%M}" == "21:00"


def test_weekdays_are_judged_in_the_zone_of_the_job() -> None:
    # 20:00 in Los Angeles from Monday to Friday is early on Tuesday to Saturday in UTC.
    rule = schedule("1D", "2026-06-01T03:00", "mon tue wed thu fri", "America/Los_Angeles")
    assert next_after(rule, utc("2026-06-05T12:00")) == utc("2026-06-06T03:00")
    assert next_after(rule, utc("2026-06-06T03:00")) == utc("2026-06-09T03:00")


def test_an_hourly_rule_on_one_weekday_runs_from_midnight_to_midnight_of_the_zone() -> None:
    rule = schedule("1h", "2026-06-01T00:00", "mon")
    assert next_after(rule, utc("2026-06-03T12:00")) == utc("2026-06-07T22:00")
    assert around(rule, utc("2026-06-10T12:00"))[0] == utc("2026-06-08T21:00")


def test_two_daily_steps_count_from_the_day_that_was_moved() -> None:
    # Friday + 2 days is a Sunday, moved to Monday; from there Wednesday, Friday, and Monday again.
    found = upcoming(
        schedule("2D", "2025-01-03T12:00", "mon tue wed thu fri", "UTC"), utc("2025-01-03T12:00"), 4
    )
    assert [WEEKDAYS[at.weekday()] for at in found] == ["mon", "wed", "fri", "mon"]


def test_the_anchor_itself_is_the_first_occurrence() -> None:
    rule = schedule("1D", "2026-05-01T12:00")
    assert next_after(rule, utc("2020-01-01T00:00")) == utc("2026-05-01T12:00")
    assert around(rule, utc("2026-05-01T11:59")) == (None, utc("2026-05-01T12:00"))
    assert around(rule, utc("2026-05-01T12:00")) == (utc("2026-05-01T12:00"), utc("2026-05-02T12:00"))


def test_no_more_than_the_asked_occurrences_are_listed() -> None:
    assert upcoming(schedule("1D", "2026-05-01T12:00"), utc("2026-05-01T12:00"), 0) == []


@pytest.mark.parametrize(
    "text",
    ["1d", "1w", "1H", "xyz", "D", "1DD", "1.5h", "1D1", "1D,2h", "9999999999D", "2147483647Y", "٣D", "0x1s"],
)
def test_an_unknown_repeat_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(RecurrenceError, match="repeat: expected whole numbers"):
        parse_repeat(text)


@pytest.mark.parametrize("text", ["1D ", " 1D", "1 D", "-1D", "+1D", "-90"])
def test_a_repeat_that_has_a_length_may_still_be_no_step(text: str) -> None:
    assert abs(span_seconds(text)) > 0
    with pytest.raises(RecurrenceError, match="repeat"):
        step(utc("2026-01-01T00:00"), text, PARIS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repeat", "1d"),
        ("repeat", ""),
        ("repeat", "0s"),
        ("repeat", "-1D"),
        ("repeat", "1D "),
        ("days", frozenset({"mon", "monday"})),
        ("days", frozenset({"MON"})),
        ("zone", "Europe/Pari"),
        ("zone", ""),
        ("zone", "../etc/passwd"),
        ("zone", "Europe"),
        ("zone", "a\0b"),
        ("zone", "x" * 5000),
        ("anchor_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - a time without a zone is the wrong input meant
    ],
)
def test_a_wrong_field_of_a_schedule_is_named(field: str, value: object) -> None:
    right = {
        "repeat": "1D",
        "days": frozenset(),
        "zone": "Europe/Paris",
        "anchor_at": utc("2026-01-01T00:00"),
    }
    with pytest.raises(RecurrenceError, match=f"^{field}: expected"):
        Schedule(**right | {field: value})


def test_a_time_without_a_zone_is_refused() -> None:
    naive_at = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(RecurrenceError, match="after_at"):
        next_after(schedule("1D", "2026-01-01T00:00"), naive_at)


def test_duplicati_gives_up_after_50000_steps() -> None:
    base_at, minute = utc("2026-01-01T00:00"), timedelta(minutes=1)
    assert next_valid(base_at, base_at + 50_000 * minute, "1m", EVERY_DAY, PARIS) == base_at + 50_000 * minute
    with pytest.raises(RecurrenceError, match="50000"):
        next_valid(base_at, base_at + 50_000 * minute + TICK, "1m", EVERY_DAY, PARIS)


def test_a_rule_too_short_to_cross_the_forbidden_days_has_no_next_run() -> None:
    rule = schedule("1s", "2026-06-01T00:00", "mon", "UTC")
    assert next_after(rule, utc("2026-06-01T10:00")) == utc("2026-06-01T10:00:01")
    for after in ("2026-06-01T23:59:59", "2026-06-04T00:00", "2026-06-07T23:59:58"):
        with pytest.raises(RecurrenceError, match="50000"):
            next_after(rule, utc(after))


def test_an_empty_repeat_never_comes_again() -> None:
    base_at = utc("2026-01-01T00:00")
    assert next_valid(base_at, base_at, "", EVERY_DAY, PARIS) == base_at
    with pytest.raises(RecurrenceError):
        next_valid(base_at, base_at + TICK, "", EVERY_DAY, PARIS)
    with pytest.raises(RecurrenceError):
        next_valid(base_at, base_at, "", frozenset({"mon"}), PARIS)


def test_a_zone_that_dropped_a_day_ends_in_an_error_and_not_in_a_loop() -> None:
    samoa = ZoneInfo("Pacific/Apia")
    with pytest.raises(RecurrenceError):
        next_valid(utc("2011-12-29T20:00"), utc("2011-12-31T00:00"), "1D", EVERY_DAY, samoa)
    with pytest.raises(RecurrenceError):
        next_after(schedule("1D", "2011-12-01T20:00", zone="Pacific/Apia"), utc("2012-06-01T00:00"))


@pytest.mark.parametrize("repeat", ["1D", "1M", "24h", "1h", "1Y", "200000W"])
def test_the_end_of_the_calendar_is_an_error_of_ours(repeat: str) -> None:
    end_at = datetime.max.replace(tzinfo=UTC)
    start_at = end_at - timedelta(minutes=30)
    for days in (frozenset(), frozenset({"mon"})):
        with pytest.raises(RecurrenceError):
            next_after(Schedule(repeat=repeat, days=days, zone="Europe/Paris", anchor_at=start_at), end_at)


@pytest.mark.parametrize("repeat", ["1m", "1h", "1D", "1W", "24h", "1M"])
@pytest.mark.parametrize("days", ["", "mon tue wed thu fri"])
def test_an_anchor_of_thirty_years_ago_costs_few_steps(
    repeat: str, days: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[datetime] = []

    def counted(base_at: datetime, *rest: object) -> datetime:
        taken.append(base_at)
        return step(base_at, *rest)

    monkeypatch.setattr("app.recurrence.step", counted)
    next_after(schedule(repeat, "1996-01-01T12:00", days), utc("2026-06-01T00:00"))
    assert len(taken) < 800


def test_an_anchor_of_the_year_one_is_out_of_reach() -> None:
    with pytest.raises(RecurrenceError, match=r"^anchor_at: expected"):
        next_after(schedule("1D", "0001-01-02T00:00"), utc("2026-01-01T00:00"))


@pytest.mark.parametrize(
    ("previous", "expected", "earliest", "latest"),
    [
        # Spring: the wall clock says 12:00Z, constant UTC 13:00Z.
        ("2026-03-28T13:00", "2026-03-29T12:00", "2026-03-29T12:00", "2026-03-29T13:00"),
        ("2026-03-28T13:00", "2026-03-29T13:00", "2026-03-29T12:00", "2026-03-29T13:00"),
        # Autumn: the wall clock says 13:00Z, constant UTC 12:00Z.
        ("2026-10-24T12:00", "2026-10-25T13:00", "2026-10-25T12:00", "2026-10-25T13:00"),
        ("2026-10-24T12:00", "2026-10-25T12:00", "2026-10-25T12:00", "2026-10-25T13:00"),
        # Friday to Monday over the change, a month over it, half past two into the gap.
        ("2026-03-27T12:00", "2026-03-30T12:00", "2026-03-30T11:00", "2026-03-30T12:00"),
        ("2026-03-15T13:00", "2026-04-15T12:00", "2026-04-15T12:00", "2026-04-15T13:00"),
        ("2026-03-28T01:30", "2026-03-29T00:30", "2026-03-29T00:30", "2026-03-29T01:30"),
        # The cycle after the change, and rules too short to have a time of day.
        ("2026-03-29T12:00", "2026-03-30T12:00", "2026-03-30T12:00", "2026-03-30T12:00"),
        ("2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T01:30", "2026-10-25T01:30"),
        ("2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T01:30", "2026-03-29T01:30"),
        # Twelve hours have one.
        ("2026-10-24T18:00", "2026-10-25T06:00", "2026-10-25T06:00", "2026-10-25T07:00"),
    ],
)
def test_both_readings_count_for_one_cycle_around_a_change(
    previous: str, expected: str, earliest: str, latest: str
) -> None:
    assert dst_readings(utc(previous), utc(expected), PARIS) == (utc(earliest), utc(latest))
    assert dst_slack_until(utc(previous), utc(expected), schedule("1D", previous)) == utc(latest)


def test_a_zone_that_changes_by_half_an_hour_gives_half_an_hour() -> None:
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    previous_at = datetime(2026, 4, 4, 12, tzinfo=lord_howe).astimezone(UTC)
    expected_at = step(previous_at, "1D", lord_howe)
    assert expected_at - previous_at == timedelta(hours=24.5)
    assert dst_readings(previous_at, expected_at, lord_howe) == (
        expected_at - timedelta(hours=0.5),
        expected_at,
    )
