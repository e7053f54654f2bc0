"""Cron-exact runs: every scheduled moment once, whatever the clock does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import schedule
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.cron.cron_job import CronExpressionError, CronJob, last_run_until, next_run_after
from app.interval import CRON_EXPRESSIONS, MINUTES


def moment(text: str) -> datetime:
    return clock.from_iso(f"2026-11-23T{text}Z")


class Diary:
    """A job under a clock that is moved by hand, and the times at which it ran."""

    def __init__(self, expression: str, traveller: time_machine.Coordinates) -> None:
        self.runs: list[str] = []
        self._traveller = traveller
        self._scheduler = schedule.Scheduler()
        self.job = CronJob(expression, self._scheduler)
        self.job.do(lambda: self.runs.append(clock.utcnow().strftime("%H:%M:%S")))

    def at(self, text: str) -> None:
        self._traveller.move_to(moment(text))
        self._scheduler.run_pending()

    def tick_until(self, text: str, step_seconds: float = 1) -> None:
        while clock.utcnow() < moment(text):
            self._traveller.shift(step_seconds)
            self._scheduler.run_pending()


@pytest.fixture
def traveller() -> Iterator[time_machine.Coordinates]:
    with time_machine.travel(moment("10:07:31"), tick=False) as coordinates:
        yield coordinates


def test_runs_fall_on_the_minutes_of_the_expression_whatever_the_start(
    traveller: time_machine.Coordinates,
) -> None:
    diary = Diary("*/20 * * * *", traveller)
    diary.tick_until("11:05")
    assert diary.runs == ["10:20:00", "10:40:00", "11:00:00"]


def test_every_second_hour_means_the_even_hours(traveller: time_machine.Coordinates) -> None:
    diary = Diary("0 */2 * * *", traveller)
    diary.tick_until("16:30", step_seconds=60)
    assert [run[:2] for run in diary.runs] == ["12", "14", "16"]


def test_the_time_zone_of_the_machine_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert next_run_after("0 2 * * *", moment("01:59")) == moment("02:00")


def test_a_suspend_is_followed_by_one_run(traveller: time_machine.Coordinates) -> None:
    diary = Diary("*/20 * * * *", traveller)
    diary.at("15:47")
    diary.at("15:48")
    diary.tick_until("16:00:30")
    assert diary.runs == ["15:47:00", "16:00:00"]


def test_a_clock_set_back_by_hours_plans_anew(traveller: time_machine.Coordinates) -> None:
    diary = Diary("0 * * * *", traveller)
    diary.at("20:00")
    diary.at("15:30")
    diary.tick_until("16:30")
    assert diary.runs == ["20:00:00", "16:00:00"]


def test_a_corrected_clock_does_not_repeat_a_run(traveller: time_machine.Coordinates) -> None:
    diary = Diary("*/20 * * * *", traveller)
    diary.at("10:20:00")
    diary.at("10:19:58")
    diary.tick_until("10:40:10")
    assert diary.runs == ["10:20:00", "10:40:00"]


def test_a_clock_corrected_during_the_run_does_not_repeat_it(traveller: time_machine.Coordinates) -> None:
    scheduler = schedule.Scheduler()
    job = CronJob("*/20 * * * *", scheduler)
    job.do(lambda: traveller.move_to(moment("10:19:59")))
    traveller.move_to(moment("10:20:00"))
    scheduler.run_pending()
    assert job.next_run == moment("10:40")


def test_a_run_longer_than_the_interval_is_followed_by_one_at_the_next_moment(
    traveller: time_machine.Coordinates,
) -> None:
    scheduler = schedule.Scheduler()
    job = CronJob("*/1 * * * *", scheduler)
    job.do(lambda: traveller.shift(timedelta(minutes=5, seconds=10)))
    traveller.move_to(moment("10:08"))
    scheduler.run_pending()
    assert job.next_run == moment("10:14")


def test_planning_from_an_earlier_look_passes_nothing_over(traveller: time_machine.Coordinates) -> None:
    traveller.move_to(moment("10:20:00"))
    job = CronJob("*/20 * * * *", schedule.Scheduler(), planned_from=moment("10:19:59"))
    job.do(lambda: None)
    assert job.next_run == moment("10:20")
    assert job.should_run


@pytest.mark.parametrize("expression", ["* * * * * *", "* * * *", "", "61 * * * *", "a b c d e", "@daily"])
def test_anything_but_five_good_fields_is_refused(expression: str) -> None:
    with pytest.raises(CronExpressionError):
        next_run_after(expression, moment("10:00"))


def test_an_expression_that_never_fires_never_runs(
    traveller: time_machine.Coordinates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cron.cron_job.CronSim", lambda *_arguments: iter(()))
    diary = Diary("0 0 30 1 *", traveller)
    diary.tick_until("10:30", step_seconds=60)
    assert (diary.runs, diary.job.next_run) == ([], None)
    assert last_run_until("0 0 30 1 *", moment("10:00")) is None


def test_the_latest_moment_may_be_now() -> None:
    assert last_run_until("*/20 * * * *", moment("10:20")) == moment("10:20")
    assert last_run_until("*/20 * * * *", moment("10:19:59")) == moment("10:00")


@given(
    st.sampled_from(sorted(MINUTES)),
    st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_moments_lie_whole_intervals_after_midnight(interval: str, now: datetime) -> None:
    found = next_run_after(CRON_EXPRESSIONS[interval], now)
    before = last_run_until(CRON_EXPRESSIONS[interval], now)
    assert found is not None
    assert before is not None
    assert before <= now < found
    assert found - before == timedelta(minutes=MINUTES[interval])
    assert (found.hour * 60 + found.minute) % MINUTES[interval] == 0
    assert (found.second, found.microsecond, found.utcoffset()) == (0, 0, timedelta(0))
