"""The backtest against the real thing: the same runs through report, check and database, and replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from app import backtest, checks, clock, hindsight, maintenance, record
from app.backtest import PastRun, Setting, running_since
from app.checks import Policy
from app.db import Database
from app.expectation import Source
from app.maintenance import Window
from app.models import Alert, Downtime, Job, JobSchedule
from app.recurrence import Schedule, around, upcoming
from app.reports import parse
from app.upload import Body
from tests import factories
from tests.model_of_overdue import Run
from tests.stage import NOON, SENDER, backup_body, new_database
from tests.year_of_clients import BEGIN_AT, Arrival, Client, events, make_clients

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
POLICY = Policy(tolerance_seconds=3600, reminder="onetime")
DAILY = Schedule(repeat="1D", days=frozenset(), zone="UTC", anchor_at=NOON)
SMALL = Body(b"{}", "application/json")
BACKUP = parse(backup_body(NOON), "application/json")


def no_allowance(_expected_at: datetime, _deadline_at: datetime) -> None:
    return None


def run(began_at: datetime, good: bool = True, **given: datetime | None) -> PastRun:
    ended_at = given.get("ended_at") or began_at + 5 * MINUTE
    return PastRun(
        received_at=given.get("received_at") or ended_at,
        began_at=began_at,
        ended_at=ended_at,
        declared_next_at=given.get("declared_next_at"),
        good=good,
    )


def setting(typed: Schedule | None = DAILY, tolerance_seconds: int = 3600) -> Setting:
    return Setting(collected=None, typed=typed, tolerance_seconds=tolerance_seconds)


def told(runs: list[PastRun], tried: Setting, until_at: datetime) -> list[tuple[datetime, datetime | None]]:
    found = backtest.replay(runs, tried, until_at, no_allowance)
    return [(each.began_at, each.ended_at) for each in found.silences]


# By hand


def test_a_missed_day_is_one_alert_from_the_deadline_to_the_next_report() -> None:
    runs = [run(NOON), run(NOON + DAY), run(NOON + 3 * DAY)]
    missed = (NOON + 2 * DAY + HOUR, NOON + 3 * DAY + 5 * MINUTE)
    assert told(runs, setting(), NOON + 3 * DAY + HOUR) == [missed]


def test_what_still_lasts_has_no_end() -> None:
    assert told([run(NOON)], setting(), NOON + DAY + HOUR + MINUTE) == [(NOON + DAY + HOUR, None)]
    assert told([run(NOON)], setting(), NOON + DAY + HOUR) == []


def test_a_greater_tolerance_and_a_rarer_schedule_tell_less() -> None:
    runs = [run(NOON), run(NOON + DAY), run(NOON + 3 * DAY)]
    weekly = replace(DAILY, repeat="1W")
    assert told(runs, setting(tolerance_seconds=25 * 3600), NOON + 3 * DAY + HOUR) == []
    assert told(runs, setting(weekly), NOON + 3 * DAY + HOUR) == []


def test_failed_runs_are_counted_apart_and_end_the_silence() -> None:
    runs = [run(NOON), run(NOON + DAY, good=False), run(NOON + 3 * DAY, good=False)]
    found = backtest.replay(runs, setting(), NOON + 3 * DAY + HOUR, no_allowance)
    assert [each.began_at for each in found.failures] == [NOON + DAY, NOON + 3 * DAY]
    assert [each.ended_at for each in found.silences] == [NOON + 3 * DAY + 5 * MINUTE]


def test_what_the_client_declares_goes_before_what_was_typed() -> None:
    runs = [run(NOON + n * 2 * DAY, declared_next_at=NOON + (n + 1) * 2 * DAY) for n in range(5)]
    found = backtest.replay(runs, setting(), NOON + 8 * DAY + HOUR, no_allowance)
    assert found.silences == ()
    assert set(found.waited_for) == {Source.DECLARED}
    manual = [replace(each, declared_next_at=None) for each in runs]
    found = backtest.replay(manual, setting(), NOON + 8 * DAY + HOUR, no_allowance)
    assert len(found.silences) == 4
    assert set(found.waited_for) == {Source.TYPED}


def test_only_what_reaches_beyond_the_beginning_is_counted() -> None:
    runs = [run(NOON, good=False), run(NOON + 5 * DAY), run(NOON + 9 * DAY)]
    found = backtest.replay(runs, setting(), NOON + 9 * DAY + HOUR, no_allowance)
    assert (len(found.silences), len(found.failures)) == (2, 1)
    assert len(found.since(NOON + 4 * DAY).silences) == 2
    assert len(found.since(NOON + 4 * DAY).failures) == 0
    assert len(found.since(NOON + 6 * DAY).silences) == 1


# A first run that lies ahead


@pytest.mark.parametrize(
    ("repeat", "days", "zone"),
    [
        ("1D", "", "Europe/Paris"),
        ("1D", "mon,tue,wed,thu,fri", "Europe/Paris"),
        ("2D", "mon,wed,fri", "America/New_York"),
        ("3D", "", "Europe/Paris"),
        ("1W", "", "Europe/Paris"),
        ("6h", "", "Europe/Paris"),
        ("90m", "mon,tue", "UTC"),
        ("3600", "", "UTC"),
        ("1D2h", "", "Europe/Paris"),
        ("1M", "", "Europe/Paris"),
        ("3M", "", "UTC"),
        ("1Y", "", "Europe/Paris"),
    ],
)
def test_a_schedule_is_put_back_so_that_it_leads_to_its_first_run(repeat: str, days: str, zone: str) -> None:
    first_at = datetime(2026, 12, 21, 20, 0, tzinfo=UTC)
    ahead = Schedule(
        repeat=repeat, days=frozenset(filter(None, days.split(","))), zone=zone, anchor_at=first_at
    )
    first_at = around(ahead, first_at - MICROSECOND)[1]
    for before_at in (datetime(2026, 9, 1, 3, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)):
        put_back = running_since(ahead, before_at)
        assert put_back.anchor_at <= before_at
        assert upcoming(put_back, first_at - MICROSECOND, 4) == upcoming(ahead, first_at - MICROSECOND, 4)


def test_a_schedule_that_runs_already_stays_the_same() -> None:
    old = replace(DAILY, anchor_at=NOON - 700 * DAY, days=frozenset({"mon", "thu"}), zone="Europe/Paris")
    assert upcoming(running_since(old, NOON), NOON, 9) == upcoming(old, NOON, 9)


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["1D", "1M", "7s", "2000Y"]))
def test_any_first_run_can_be_put_back(first_at: datetime, repeat: str) -> None:
    ahead = Schedule(repeat=repeat, days=frozenset(), zone="Europe/Paris", anchor_at=first_at)
    assert isinstance(running_since(ahead, NOON), Schedule)


# Against the real thing


@dataclass
class Real:
    """What the product itself told about one job."""

    overdue: list[str]
    ends: list[datetime]
    failed: list[datetime]


def steps(client: Client, seed: int) -> list[tuple[datetime, Arrival]]:
    """Its reports alone; a run that only makes the job known comes first, so that it can be set."""
    first_at = BEGIN_AT - 3 * HOUR
    known = Arrival(Run(first_at - HOUR, first_at, None, good=False, dry=True), "Success")
    arrivals = [(at, what) for at, what in events(client, seed) if isinstance(what, Arrival)]
    # Some are so long under way that the next run's report overtakes them.
    slow = client.plan.length * 1.3
    arrivals = [(at + slow if n % 11 == 5 else at, what) for n, (at, what) in enumerate(arrivals)]
    return [(first_at, known), *sorted(arrivals, key=lambda each: each[0])]


def live(database: Database, client: Client, seed: int, until_at: datetime) -> Real:
    """Take the reports in as they come, and check a moment after each instant that matters."""
    policy = replace(POLICY, tolerance_seconds=client.tolerance_seconds or POLICY.tolerance_seconds)
    is_set = False
    for at, arrival in steps(client, seed):
        if at >= until_at:
            break
        check_until(database, policy, at)
        take(database, client, arrival, policy, at)
        if client.typed and not is_set:
            type_schedule(database, client, policy, at)
        is_set = True
    check_until(database, policy, until_at)
    return what_was_told(database)


def check_until(database: Database, policy: Policy, until_at: datetime) -> None:
    while True:
        with database.reading() as rows:
            at = rows.scalar(select(Job.attention_at))
        if at is None or at >= until_at:
            return
        checks.run(database, policy, at + MICROSECOND)


def take(database: Database, client: Client, arrival: Arrival, policy: Policy, at: datetime) -> None:
    report = replace(
        BACKUP,
        outcome=arrival.outcome,
        began_at=arrival.run.began_at,
        ended_at=arrival.run.ended_at,
        next_scheduled_at=arrival.run.next_at,
        partial=arrival.partial,
        interrupted=arrival.interrupted,
        dry_run=arrival.run.dry,
        error=None if arrival.run.ended_at else f"it failed at {at}",
    )
    assert record.take(database, report, SMALL, SENDER, policy=policy, now=at) or arrival.run.ended_at


def type_schedule(database: Database, client: Client, policy: Policy, at: datetime) -> None:
    plan = client.plan
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        columns = {"repeat": plan.repeat, "days": ",".join(plan.days), "zone": plan.zone}
        job.schedules.append(JobSchedule(source="typed", anchor_at=plan.first_at, set_at=at, **columns))
        record.schedule_changed(rows, job, policy, at)
        # What is due before the first run is no matter of the past runs.
        job.expected_at = job.until_at = job.attention_at = None


def what_was_told(database: Database) -> Real:
    real, is_open = Real([], [], []), False
    with database.reading() as rows:
        for alert in rows.scalars(select(Alert).order_by(Alert.id)):
            if alert.kind == "overdue":
                real.overdue.append(str(alert.facts["overdueAt"]))
                is_open = True
                continue
            if alert.kind == "failed":
                real.failed.append(alert.created_at)
            is_history = alert.kind == "failed" and alert.facts["state"] == "overdue"
            if is_open and not is_history:
                real.ends.append(alert.created_at)
                is_open = False
    return real


def replayed(database: Database, client: Client, until_at: datetime) -> Real:
    policy = replace(POLICY, tolerance_seconds=client.tolerance_seconds or POLICY.tolerance_seconds)
    with database.reading() as rows:
        job = rows.scalars(select(Job)).one()
        past = hindsight.load(rows, job, policy, until_at)
        held = record.beliefs(job, policy)
    tried = Setting(
        collected=held.collected, typed=held.typed, tolerance_seconds=held.tolerance_seconds
    ).since(past.runs[0].began_at if past.runs else until_at)
    found = backtest.replay(past.runs, tried, until_at, past.allow)
    return Real(
        [str(clock.iso(each.began_at)) for each in found.silences],
        [each.ended_at for each in found.silences if each.ended_at],
        [each.received_at for each in found.failures],
    )


def clients() -> list[Client]:
    """Without those whose clock is ahead: less is stored of them than the product knew."""
    return [each for each in make_clients(120, 5, 0.9) if each.clock_ahead <= timedelta()]


@pytest.mark.parametrize("part", range(4))
def test_the_replay_tells_what_the_product_has_told(tmp_path: Path, part: int) -> None:
    """Clients of every kind around the days on which clocks change, each on a database of its own content."""
    database = new_database(tmp_path)
    alerts = failures = 0
    for client in clients()[part * 9 : part * 9 + 9]:
        begins_at, ends_at = client.lives
        until_at = min(ends_at, begins_at + 85 * DAY)
        real = live(database, client, 5, until_at)
        assert replayed(database, client, until_at) == real, client
        alerts, failures = alerts + len(real.overdue), failures + len(real.failed)
        forget(database)
    database.dispose()
    assert alerts > 5
    assert failures > 5


def forget(database: Database) -> None:
    with database.writing() as rows:
        for each in (Alert, Job):
            for row in rows.scalars(select(each)):
                rows.delete(row)


def test_maintenance_and_downtime_move_the_deadlines_of_the_past_as_they_do_now(database: Database) -> None:
    client = replace(clients()[0], typed=True, speaks=False, tolerance_seconds=600)
    begins_at = client.lives[0]
    until_at = begins_at + 6 * DAY
    with database.writing() as rows:
        weekly = Window(
            weekdays=frozenset({"mon", "tue", "wed", "thu", "fri"}),
            start_time="00:00",
            duration_minutes=900,
            zone="Europe/Paris",
        )
        maintenance.add(rows, "Patching", weekly, begins_at)
        down_at = begins_at + 2 * DAY
        rows.add(Downtime(began_at=down_at, ended_at=down_at + 90 * MINUTE, told_at=down_at))
    real = live(database, client, 5, until_at)
    assert replayed(database, client, until_at) == real
    assert real.overdue


# The stored past


def test_the_past_is_ninety_days_without_dry_runs_and_with_a_few_runs_before(database: Database) -> None:
    with database.writing() as rows:
        job = factories.add_job(rows)
        for day in range(130):
            factories.add_report(rows, job, ended_at=NOON - day * DAY, dry_run=day == 3)
    with database.reading() as rows:
        job = rows.scalars(select(Job)).one()
        past = hindsight.load(rows, job, POLICY, NOON + HOUR)
    assert not past.is_cut
    assert past.began_at == NOON + HOUR - 90 * DAY
    assert len(past.counted) == 89
    assert len(past.runs) == 89 + 20
    assert [each.received_at for each in past.runs] == sorted(each.received_at for each in past.runs)


def test_of_very_many_runs_the_newest_are_taken_and_that_is_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hindsight, "MOST_RUNS", 50)
    with database.writing() as rows:
        job = factories.add_job(rows)
        for hour in range(60):
            factories.add_report(rows, job, ended_at=NOON - hour * HOUR)
    with database.reading() as rows:
        past = hindsight.load(rows, rows.scalars(select(Job)).one(), POLICY, NOON)
    assert past.is_cut
    assert len(past.runs) == len(past.counted) == 50
    assert past.began_at == min(each.received_at for each in past.runs)


def test_a_job_without_a_run_has_no_past(database: Database) -> None:
    with database.writing() as rows:
        job = factories.add_job(rows)
        rows.execute(update(Job).values(last_ended_at=None, last_began_at=None))
        past = hindsight.load(rows, job, POLICY, NOON)
    compared = hindsight.compare(past, setting(None), setting())
    assert (past.runs, compared.now.silences, compared.then.silences) == ((), (), ())


def test_two_settings_are_compared_on_the_same_past(database: Database) -> None:
    with database.writing() as rows:
        job = factories.add_job(rows)
        for week in range(20):
            factories.add_report(rows, job, ended_at=NOON - week * 7 * DAY)
        past = hindsight.load(rows, job, POLICY, NOON + HOUR)
    first_at = NOON + 7 * DAY - 20 * MINUTE  # ahead: it says nothing of the past by itself
    weekly = setting(replace(DAILY, repeat="1W", anchor_at=first_at))
    compared = hindsight.compare(past, setting(None), weekly)
    assert len(compared.now.silences) == 13  # by the default of once a day, overdue nearly all the time
    assert compared.then.silences == ()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90 * 24), st.booleans(), st.integers(0, 48)), max_size=40))
def test_silences_come_in_order_and_end_after_they_began(made: list[tuple[int, bool, int]]) -> None:
    zone = ZoneInfo("Europe/Paris")
    first_at = datetime(2026, 9, 20, 2, 30, tzinfo=zone).astimezone(UTC)
    runs = [
        run(first_at + at * HOUR, good, received_at=first_at + (at + late) * HOUR) for at, good, late in made
    ]
    until_at = first_at + 92 * DAY
    found = backtest.replay(runs, setting(), until_at, no_allowance).silences
    assert [each.began_at for each in found] == sorted(each.began_at for each in found)
    assert all(each.began_at < each.until(until_at) for each in found)
    assert all(each.ended_at for each in found[:-1])
