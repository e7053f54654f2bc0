"""Clocks that are stepped, suspended or change their offset, under the real loop of the cron service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from sqlalchemy import select

from app import checks, record
from app.cron.tasks import CHECK, TASKS
from app.db import Database
from app.models import Alert, Job, JobSchedule
from tests.stage import POLICY, alert_kinds, backup_body, only_job, send
from tests.test_cron_service import Running, past_run, running

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TEN = datetime(2027, 11, 23, 10, tzinfo=UTC)
EVERY = 20 * MINUTE


@dataclass
class Walk:
    """A service under a clock that is moved by hand; each move is followed by one whole turn of its loop."""

    rig: Running
    clock: time_machine.Coordinates

    def at(self, moment: datetime) -> None:
        self.clock.move_to(moment)
        # Starting what is started changes nothing and is answered between two turns: two enclose a turn.
        self.rig.service.start_task(CHECK)
        self.rig.service.start_task(CHECK)

    def through(self, begin_at: datetime, end_at: datetime, step: timedelta = 5 * MINUTE) -> None:
        at = begin_at
        while at <= end_at:
            self.at(at)
            at += step

    @property
    def runs(self) -> list[datetime]:
        return [row.started_at for row in self.rig.runs(CHECK)][1:]

    @property
    def alerts(self) -> list[tuple[str, datetime]]:
        with self.rig.database.reading() as rows:
            query = select(Alert.kind, Alert.created_at).order_by(Alert.id)
            return [(row.kind, row.created_at) for row in rows.execute(query)]


@contextmanager
def walking(folder: Path, start_at: datetime, zone: str = "UTC") -> Iterator[Walk]:
    """The real check every 20 minutes, on a machine whose own clock shows the time of the zone."""
    past_run(folder, CHECK, start_at)
    with (
        time_machine.travel(start_at.astimezone(ZoneInfo(zone)), tick=False) as clock,
        running(folder, {CHECK: TASKS[CHECK]}) as rig,
    ):
        walk = Walk(rig, clock)
        walk.at(start_at)
        yield walk


def due_at(walk: Walk, overdue_at: datetime, name: str = "Documents nightly") -> None:
    """A backup that is overdue from then on: a day and the hour of tolerance after its last run."""
    ended_at = overdue_at - DAY - HOUR
    send(walk.rig.database, backup_body(ended_at, seconds=0, name=name), ended_at)


def moments(begin_at: datetime, end_at: datetime) -> list[datetime]:
    """Every :00, :20 and :40 later than the begin, up to the end."""
    each = begin_at.replace(minute=0)
    found = []
    while each <= end_at:
        found += [each] if each > begin_at else []
        each += EVERY
    return found


@pytest.mark.parametrize(
    ("zone", "turn"),
    [
        ("Europe/Paris", "2028-03-26T01:00"),
        ("Europe/Paris", "2027-10-31T01:00"),
        ("America/New_York", "2028-03-12T07:00"),
        ("America/New_York", "2027-11-07T06:00"),
        ("Europe/Paris", "2028-02-28T23:00"),
        ("UTC", "2028-02-29T00:00"),
        ("UTC", "2028-03-01T00:00"),
        ("America/New_York", "2028-01-01T05:00"),
        ("UTC", "2028-01-01T00:00"),
    ],
)
def test_every_check_comes_once_where_clocks_and_calendars_turn(tmp_path: Path, zone: str, turn: str) -> None:
    turn_at = datetime.fromisoformat(turn).replace(tzinfo=UTC)
    begin_at, end_at = turn_at - 75 * MINUTE, turn_at + 75 * MINUTE
    with walking(tmp_path, begin_at, zone) as walk:
        for number, minutes in enumerate((-30, -1, 0, 1, 30)):
            due_at(walk, turn_at + minutes * MINUTE, name=str(number))
        walk.through(begin_at, end_at)
        assert walk.runs == moments(begin_at, end_at)
        told = [turn_at - EVERY, turn_at, turn_at + EVERY, turn_at + EVERY, turn_at + 2 * EVERY]
        assert walk.alerts == [("overdue", at) for at in told]


def test_a_clock_set_back_two_hours_skips_no_check_and_repeats_no_alert(tmp_path: Path) -> None:
    noon = TEN + 2 * HOUR
    with walking(tmp_path, TEN + MINUTE) as walk:
        due_at(walk, TEN + 90 * MINUTE, name="told before the step")
        due_at(walk, noon + 30 * MINUTE, name="told after it")
        walk.through(TEN + 5 * MINUTE, noon + 5 * MINUTE)
        assert walk.runs == moments(TEN + MINUTE, noon + MINUTE)
        told = [("overdue", TEN + 100 * MINUTE)]
        assert walk.alerts == told
        seen = len(walk.runs)
        walk.through(TEN + 6 * MINUTE, noon + 61 * MINUTE)
        assert [at - at.replace(second=0) for at in walk.runs[seen:]] == [timedelta()] * 9
        again = [at - MINUTE for at in walk.runs[seen:]]
        assert again == moments(TEN + 6 * MINUTE, noon + 61 * MINUTE)
        told.append(("overdue", noon + 41 * MINUTE))
        assert walk.alerts == told


def test_a_reminder_is_neither_lost_nor_repeated_when_the_clock_is_set_back(tmp_path: Path) -> None:
    told_at = TEN + EVERY
    with walking(tmp_path, TEN + MINUTE) as walk:
        due_at(walk, TEN + 10 * MINUTE)
        walk.at(told_at)
        walk.at(told_at + DAY - MINUTE)  # just before the reminder
        walk.through(told_at + DAY - 2 * HOUR, told_at + DAY + EVERY, EVERY)
        reminded = [("overdue", told_at), ("reminder", told_at + DAY + EVERY)]
        assert walk.alerts == reminded
        walk.through(told_at + DAY - 2 * HOUR, told_at + DAY + HOUR, EVERY)  # set back just after it
        assert walk.alerts == reminded
        walk.through(told_at + 2 * DAY - EVERY, told_at + 2 * DAY + EVERY, EVERY)
        assert walk.alerts == [*reminded, ("reminder", told_at + 2 * DAY + EVERY)]


@pytest.mark.parametrize("gap", [2 * HOUR, 3 * EVERY + 5 * MINUTE], ids=["step forward", "suspend"])
def test_a_step_forward_or_a_suspend_gives_one_check_and_each_alert_once(
    tmp_path: Path, gap: timedelta
) -> None:
    before_at = TEN + 22 * MINUTE
    with walking(tmp_path, TEN + MINUTE) as walk:
        due_at(walk, TEN + 30 * MINUTE, name="due meanwhile")
        due_at(walk, before_at + gap + 25 * MINUTE, name="due later")
        walk.through(TEN + 2 * MINUTE, before_at, MINUTE)
        after_at = before_at + gap
        walk.through(after_at, after_at + HOUR, MINUTE)
        assert walk.runs == [TEN + EVERY, after_at, *moments(after_at, after_at + HOUR)]
        first_after_at = next(at for at in walk.runs if at > after_at + 25 * MINUTE)
        assert walk.alerts == [("overdue", after_at), ("overdue", first_after_at)]


def test_small_corrections_around_a_check_repeat_and_skip_nothing(tmp_path: Path) -> None:
    with walking(tmp_path, TEN + MINUTE) as walk:
        expected = moments(TEN + MINUTE, TEN + 80 * MINUTE)
        for due in expected:
            for seconds in (-30, 0, -20, -2, 1, -15, 30):
                walk.at(due + timedelta(seconds=seconds))
        assert walk.runs == expected


# A report that came while our own clock was wrong


def _type_daily(database: Database, anchor_at: datetime) -> None:
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.schedules.append(
            JobSchedule(source="typed", repeat="1D", days="", zone="UTC", anchor_at=anchor_at, set_at=TEN)
        )
        record.schedule_changed(rows, job, POLICY, TEN)


def test_a_run_reported_while_our_clock_was_two_hours_slow_is_not_asked_for_again(database: Database) -> None:
    send(database, backup_body(TEN - DAY), TEN - DAY)
    _type_daily(database, TEN - 2 * DAY)
    run_at = TEN + 5 * MINUTE
    send(database, backup_body(run_at), run_at - 2 * HOUR)
    checks.run(database, POLICY, TEN - HOUR)
    for minutes in range(0, 24 * 60, 20):  # right again from here
        checks.run(database, POLICY, run_at + minutes * MINUTE)
    assert alert_kinds(database) == []
    assert only_job(database).expected_at == TEN + DAY
    checks.run(database, POLICY, TEN + DAY + HOUR + MINUTE)
    assert alert_kinds(database) == ["overdue"]


def test_a_run_reported_while_our_clock_was_two_hours_fast_counts_when_it_is_right_again(
    database: Database,
) -> None:
    send(database, backup_body(TEN - DAY), TEN - DAY)
    checks.run(database, POLICY, TEN + 2 * HOUR)  # it is 10:00, and the run has just begun
    send(database, backup_body(TEN + MINUTE), TEN + MINUTE + 2 * HOUR)
    for minutes in range(10, 23 * 60, 20):
        checks.run(database, POLICY, TEN + minutes * MINUTE)
    assert alert_kinds(database) == ["overdue", "recovered"]
    send(database, backup_body(TEN + DAY), TEN + DAY)
    assert (only_job(database).state, only_job(database).last_good_at) == ("ok", TEN + DAY)
    assert alert_kinds(database) == ["overdue", "recovered"]


def test_a_client_whose_clock_is_hours_ahead_is_not_overdue_on_its_own_schedule(database: Database) -> None:
    """It begins at 10:00 by its own clock, which is 07:00: that is the run that was to come at ten."""
    ahead = 3 * HOUR
    send(database, backup_body(TEN, seconds=30), TEN - ahead)
    _type_daily(database, TEN - DAY)
    for day in range(1, 5):
        at = TEN + day * DAY - ahead
        for minutes in range(0, 24 * 60, 60):
            checks.run(database, POLICY, at - DAY + minutes * MINUTE)
        send(database, backup_body(at + ahead, seconds=30), at)
    assert alert_kinds(database) == []
