"""The order of belief: the client's word, a collected schedule, a typed one, and once a day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.expectation import Beliefs, Expectation, Run, Source, after_run, after_schedule_change
from app.recurrence import Schedule, next_after

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOTHING = Beliefs(declared_next_at=None, collected=None, typed=None, tolerance_seconds=3600)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def run(began: str, ended: str | None = None, declared: str | None = None) -> Run:
    began_at = utc(began)
    return Run(
        began_at=began_at,
        ended_at=utc(ended) if ended else began_at + timedelta(minutes=5),
        declared_next_at=utc(declared) if declared else None,
    )


def schedule(repeat: str, anchor: str, days: str = "", zone: str = "UTC") -> Schedule:
    return Schedule(repeat=repeat, days=frozenset(days.split()), zone=zone, anchor_at=utc(anchor))


def typed(
    repeat: str, anchor: str, days: str = "", zone: str = "UTC", tolerance_seconds: int = 3600
) -> Beliefs:
    known = schedule(repeat, anchor, days, zone)
    return Beliefs(declared_next_at=None, collected=None, typed=known, tolerance_seconds=tolerance_seconds)


def due(found: Expectation | None) -> tuple[datetime, Source]:
    assert found
    return found.expected_at, found.source


NIGHTLY = typed("1D", "2026-06-01T22:00")
HOURLY = typed("1h", "2026-06-01T00:00")
WORKDAYS_IN_PARIS = typed("1D", "2026-03-02T13:00", "mon tue wed thu fri", "Europe/Paris")


def test_the_clients_own_word_is_believed_before_any_schedule() -> None:
    beliefs = replace(NIGHTLY, collected=schedule("1W", "2026-06-01T22:00"))
    found = after_run(run("2026-06-02T22:00", declared="2026-06-03T04:00"), beliefs)
    assert due(found) == (utc("2026-06-03T04:00"), Source.DECLARED)
    assert found.until_at == found.expected_at
    assert found.previous_at == utc("2026-06-02T22:00")


@pytest.mark.parametrize(
    "declared", ["2026-06-02T22:00", "2026-01-01T00:00", "2028-06-04T22:00", "2099-01-01T00:00"]
)
def test_a_word_of_the_past_or_more_than_two_years_ahead_is_not_believed(declared: str) -> None:
    found = after_run(run("2026-06-02T22:00", declared=declared), NIGHTLY)
    assert due(found) == (utc("2026-06-03T22:00"), Source.TYPED)


def test_a_word_almost_two_years_ahead_is_believed() -> None:
    found = after_run(run("2026-06-02T22:00", declared="2028-06-01T22:00"), NIGHTLY)
    assert due(found) == (utc("2028-06-01T22:00"), Source.DECLARED)


def test_a_declared_time_that_went_by_during_the_run_leaves_the_word_to_the_schedule() -> None:
    long_run = run("2026-06-02T22:00", "2026-06-02T23:30", declared="2026-06-02T23:00")
    assert due(after_run(long_run, HOURLY)) == (utc("2026-06-03T00:00"), Source.TYPED)


def test_a_declared_time_that_went_by_during_the_run_without_a_schedule_gives_a_day_from_it() -> None:
    long_run = run("2026-06-02T22:00", "2026-06-02T23:30", declared="2026-06-02T23:00")
    assert due(after_run(long_run, NOTHING)) == (utc("2026-06-03T23:00"), Source.DEFAULT)


def test_a_manual_run_does_not_move_what_the_client_declared() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2026-06-03T04:00"))
    found = after_run(run("2026-06-02T15:00"), beliefs)
    assert due(found) == (utc("2026-06-03T04:00"), Source.DECLARED)


def test_a_run_just_before_the_declared_time_counts_for_it() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2026-06-02T22:00"))
    found = after_run(run("2026-06-02T21:59:58"), beliefs)
    assert due(found) == (utc("2026-06-03T22:00"), Source.TYPED)


def test_a_wide_tolerance_does_not_let_a_manual_run_use_up_a_declared_time_days_ahead() -> None:
    beliefs = replace(NOTHING, declared_next_at=utc("2026-06-05T22:00"), tolerance_seconds=7 * 86_400)
    found = after_run(run("2026-06-03T10:00"), beliefs)
    assert due(found) == (utc("2026-06-05T22:00"), Source.DECLARED)


def test_a_stored_word_of_another_century_is_not_believed() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2099-01-01T00:00"))
    assert due(after_run(run("2026-06-02T22:00"), beliefs)) == (utc("2026-06-03T22:00"), Source.TYPED)


def test_a_declared_time_that_passed_makes_way_for_the_schedule() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2026-06-02T04:00"))
    assert due(after_run(run("2026-06-02T22:00"), beliefs)) == (utc("2026-06-03T22:00"), Source.TYPED)


def test_a_declared_time_that_passed_without_a_schedule_is_repeated_daily() -> None:
    beliefs = replace(NOTHING, declared_next_at=utc("2026-06-02T04:00"))
    found = after_run(run("2026-06-05T15:00"), beliefs)
    assert due(found) == (utc("2026-06-06T04:00"), Source.DEFAULT)
    assert found.previous_at == utc("2026-06-05T04:00")


def test_a_collected_schedule_comes_before_a_typed_one() -> None:
    beliefs = replace(NIGHTLY, collected=schedule("1D", "2026-06-01T03:00"))
    assert due(after_run(run("2026-06-02T03:00"), beliefs)) == (utc("2026-06-03T03:00"), Source.COLLECTED)


def test_a_collected_schedule_that_never_comes_again_makes_way_for_the_typed_one() -> None:
    never = schedule("1s", "2026-06-01T00:00", "mon")
    at_night = run("2026-06-02T22:00")
    assert due(after_run(at_night, replace(NIGHTLY, collected=never))) == (
        utc("2026-06-03T22:00"),
        Source.TYPED,
    )
    beliefs = replace(NOTHING, collected=never)
    assert due(after_run(at_night, beliefs)) == (utc("2026-06-03T22:00"), Source.DEFAULT)


def test_knowing_nothing_a_day_from_the_last_run_is_expected() -> None:
    found = after_run(run("2026-06-02T15:00"), NOTHING)
    assert due(found) == (utc("2026-06-03T15:00"), Source.DEFAULT)
    assert found.previous_at == utc("2026-06-02T15:00")


def test_knowing_nothing_a_run_of_thirty_hours_is_not_overdue_at_its_end() -> None:
    found = after_run(run("2026-06-02T15:00", "2026-06-03T21:00"), NOTHING)
    assert due(found) == (utc("2026-06-04T15:00"), Source.DEFAULT)


def test_a_manual_run_in_the_afternoon_leaves_the_night_expected() -> None:
    assert due(after_run(run("2026-06-02T15:00"), NIGHTLY))[0] == utc("2026-06-02T22:00")


def test_a_run_within_the_tolerance_before_its_time_counts_for_it() -> None:
    assert due(after_run(run("2026-06-02T20:59:59"), NIGHTLY))[0] == utc("2026-06-02T22:00")
    assert due(after_run(run("2026-06-02T21:00"), NIGHTLY))[0] == utc("2026-06-03T22:00")


def test_two_seconds_before_the_hour_leads_to_the_hour_after_the_next() -> None:
    found = after_run(run("2026-06-02T21:59:58", "2026-06-02T22:00"), HOURLY)
    assert found.expected_at == utc("2026-06-02T23:00")
    short = after_run(run("2026-06-02T21:59:58", "2026-06-02T21:59:59"), HOURLY)
    assert short.expected_at == utc("2026-06-02T23:00")


def test_a_long_hourly_backup_leads_to_the_next_hour_and_not_to_the_one_after() -> None:
    found = after_run(run("2026-06-02T22:00", "2026-06-02T22:45"), HOURLY)
    assert found.expected_at == utc("2026-06-02T23:00")


def test_a_late_hourly_run_does_not_use_up_the_next_hour() -> None:
    assert after_run(run("2026-06-02T22:29"), HOURLY).expected_at == utc("2026-06-02T23:00")


def test_a_run_that_ends_after_several_occurrences_leads_to_the_first_one_ahead() -> None:
    found = after_run(run("2026-06-02T22:00", "2026-06-03T03:20"), HOURLY)
    assert found.expected_at == utc("2026-06-03T04:00")
    assert found.previous_at == utc("2026-06-03T03:00")


def test_a_run_whose_end_is_an_occurrence_leads_to_the_one_after() -> None:
    assert after_run(run("2026-06-02T22:00", "2026-06-02T23:00"), HOURLY).expected_at == utc(
        "2026-06-03T00:00"
    )


def test_a_clock_set_back_during_the_run_counts_from_its_begin() -> None:
    back = run("2026-06-02T22:00", "2026-06-02T20:00")
    assert after_run(back, NIGHTLY).expected_at == utc("2026-06-03T22:00")
    assert after_run(back, NOTHING).expected_at == utc("2026-06-03T22:00")


def test_no_tolerance_means_that_an_early_run_counts_for_nothing_ahead() -> None:
    beliefs = replace(NIGHTLY, tolerance_seconds=0)
    assert after_run(run("2026-06-02T21:59", "2026-06-02T21:59"), beliefs).expected_at == utc(
        "2026-06-02T22:00"
    )


def test_friday_leads_to_monday_for_a_workday_job() -> None:
    found = after_run(run("2026-03-06T13:00"), WORKDAYS_IN_PARIS)
    assert (found.expected_at, found.until_at) == (utc("2026-03-09T13:00"), utc("2026-03-09T13:00"))


def test_over_the_spring_change_a_run_an_hour_later_in_utc_is_on_time() -> None:
    beliefs = typed("1D", "2026-03-02T13:00", zone="Europe/Paris")
    found = after_run(run("2026-03-28T13:00"), beliefs)
    assert (found.expected_at, found.until_at) == (utc("2026-03-29T12:00"), utc("2026-03-29T13:00"))
    after = after_run(run("2026-03-29T12:00"), beliefs)
    assert (after.expected_at, after.until_at) == (utc("2026-03-30T12:00"), utc("2026-03-30T12:00"))


def test_over_the_autumn_change_the_wall_clock_is_the_later_reading() -> None:
    wall = after_run(run("2026-10-24T12:00"), typed("1D", "2026-10-01T12:00", zone="Europe/Paris"))
    assert (wall.expected_at, wall.until_at) == (utc("2026-10-25T13:00"), utc("2026-10-25T13:00"))
    elapsed = after_run(run("2026-10-24T12:00"), typed("24h", "2026-10-01T12:00", zone="Europe/Paris"))
    assert (elapsed.expected_at, elapsed.until_at) == (utc("2026-10-25T12:00"), utc("2026-10-25T13:00"))


def test_a_run_at_the_earlier_reading_of_a_changed_night_counts_even_with_a_short_tolerance() -> None:
    beliefs = replace(typed("1D", "2026-10-01T12:00", zone="Europe/Paris"), tolerance_seconds=600)
    assert after_run(run("2026-10-25T12:00"), beliefs).expected_at == utc("2026-10-26T13:00")
    # On an ordinary day an hour early is another run.
    assert after_run(run("2026-10-26T12:00"), beliefs).expected_at == utc("2026-10-26T13:00")


def test_a_workday_job_that_keeps_its_wall_clock_over_the_change_is_not_expected_twice() -> None:
    beliefs = replace(WORKDAYS_IN_PARIS, tolerance_seconds=600)
    assert after_run(run("2026-03-27T13:00"), beliefs).expected_at == utc("2026-03-30T13:00")
    assert after_run(run("2026-03-30T12:00"), beliefs).expected_at == utc("2026-03-31T13:00")


def test_hourly_runs_stay_hourly_through_both_changes() -> None:
    beliefs = typed("1h", "2026-01-01T00:00", zone="Europe/Paris")
    for began, expected in (
        ("2026-03-29T00:00", "2026-03-29T01:00"),
        ("2026-10-25T00:00", "2026-10-25T01:00"),
    ):
        found = after_run(run(began), beliefs)
        assert (found.expected_at, found.until_at) == (utc(expected), utc(expected))


def test_months_clamp_to_the_end_of_the_short_one() -> None:
    beliefs = typed("1M", "2026-01-31T02:00")
    assert after_run(run("2026-01-31T02:00"), beliefs).expected_at == utc("2026-02-28T02:00")
    assert after_run(run("2026-02-28T02:00"), beliefs).expected_at == utc("2026-03-28T02:00")


def test_a_run_before_the_anchor_leads_to_the_anchor() -> None:
    found = after_run(run("2026-05-20T22:00"), NIGHTLY)
    assert (found.expected_at, found.previous_at) == (utc("2026-06-01T22:00"), None)


def test_a_saved_schedule_counts_from_the_last_run() -> None:
    now = utc("2026-06-20T12:00")
    assert due(after_schedule_change(run("2026-06-02T22:00"), NIGHTLY, now)) == (
        utc("2026-06-03T22:00"),
        Source.TYPED,
    )


def test_a_saved_schedule_of_a_job_without_a_run_counts_from_now() -> None:
    found = after_schedule_change(None, NIGHTLY, utc("2026-06-20T23:00"))
    assert due(found) == (utc("2026-06-21T22:00"), Source.TYPED)


def test_a_removed_schedule_leaves_a_day_from_the_last_run() -> None:
    found = after_schedule_change(run("2026-06-02T22:00"), NOTHING, utc("2026-06-02T23:00"))
    assert due(found) == (utc("2026-06-03T22:00"), Source.DEFAULT)


def test_a_removed_schedule_of_a_job_without_a_run_leaves_nothing_to_expect() -> None:
    assert after_schedule_change(None, NOTHING, utc("2026-06-02T23:00")) is None
    never = replace(NOTHING, typed=schedule("1s", "2026-06-01T00:00", "mon"))
    assert after_schedule_change(None, never, utc("2026-06-02T23:00")) is None


def test_saving_a_schedule_does_not_excuse_a_declared_run_that_did_not_come() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2026-06-10T04:00"))
    now = utc("2026-06-12T12:00")
    for last_run in (None, run("2026-06-09T04:00")):
        assert due(after_schedule_change(last_run, beliefs, now)) == (
            utc("2026-06-10T04:00"),
            Source.DECLARED,
        )


def test_a_declared_time_of_another_century_does_not_hide_a_saved_schedule() -> None:
    beliefs = replace(NIGHTLY, declared_next_at=utc("2099-01-01T00:00"))
    assert due(after_schedule_change(None, beliefs, utc("2026-06-12T12:00"))) == (
        utc("2026-06-12T22:00"),
        Source.TYPED,
    )


INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SCHEDULES = st.builds(
    lambda repeat, days, zone, anchor_at: Schedule(repeat=repeat, days=days, zone=zone, anchor_at=anchor_at),
    st.sampled_from(["15m", "1h", "6h", "12h", "24h", "1D", "2D", "1W", "1M", "1D6h", "1s"]),
    st.frozensets(st.sampled_from(["mon", "tue", "sat"])),
    st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]),
    INSTANTS,
)
BELIEFS = st.builds(
    Beliefs,
    declared_next_at=st.none() | INSTANTS,
    collected=st.none() | SCHEDULES,
    typed=st.none() | SCHEDULES,
    tolerance_seconds=st.integers(0, 10 * 86_400),
)
RUNS = st.builds(
    lambda began_at, length, declared_next_at: Run(
        began_at=began_at, ended_at=began_at + length, declared_next_at=declared_next_at
    ),
    INSTANTS,
    st.timedeltas(-2 * DAY, 3 * DAY),
    st.none() | INSTANTS,
)


@given(RUNS, BELIEFS)
@settings(deadline=None)
def test_no_run_leads_to_an_expectation_that_it_has_already_missed(one: Run, beliefs: Beliefs) -> None:
    found = after_run(one, beliefs)
    assert found.expected_at > max(one.began_at, one.ended_at)
    assert found.until_at >= found.expected_at
    assert found.until_at - found.expected_at <= HOUR
    assert found.previous_at is None or found.previous_at < found.expected_at


@given(RUNS, SCHEDULES.filter(lambda known: known.repeat != "1s"), st.integers(0, 10 * 86_400))
@settings(deadline=None)
def test_a_run_uses_up_at_most_one_occurrence_that_is_still_ahead(
    one: Run, known: Schedule, tolerance_seconds: int
) -> None:
    one = replace(one, declared_next_at=None)
    beliefs = replace(NOTHING, typed=known, tolerance_seconds=tolerance_seconds)
    following_at = next_after(known, max(one.began_at, one.ended_at))
    assert after_run(one, beliefs).expected_at in (following_at, next_after(known, following_at))


def test_the_gap_that_declared_times_have_shown_bounds_how_early_a_run_may_be() -> None:
    hourly = replace(NOTHING, declared_next_at=utc("2026-06-02T11:00"), declared_gap_seconds=3600)
    assert due(after_run(run("2026-06-02T10:20"), hourly)) == (utc("2026-06-02T11:00"), Source.DECLARED)
    assert due(after_run(run("2026-06-02T10:40"), hourly)) == (utc("2026-06-02T12:00"), Source.DEFAULT)
