"""Figures over time: what is kept of a long series, the columns the charts read, and the days of a year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from app import clock, day_map, figures, job_history, thinning
from app.day_map import Count
from app.db import Database
from app.models import Job, Report
from app.thinning import FIGURES, MOST_POINTS, Point, thin
from tests import factories
from tests.web import Site, site

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PARIS, KATHMANDU = ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kathmandu")


def point(number: int, good: bool = True, **values: float | None) -> Point:
    told = dict.fromkeys(FIGURES, 10) | values
    return Point(ended_at=NOW + number * HOUR, good=good, **told)


# Thinning


def test_a_short_series_is_kept_whole() -> None:
    points = [point(number) for number in range(MOST_POINTS)]
    assert thin(points) == points


def test_a_long_series_keeps_its_extremes_and_its_failures() -> None:
    points = [point(number, versions=number % 7) for number in range(9000)]
    points[4321] = point(4321, duration_seconds=99_999.0)
    points[777] = point(777, stored_bytes=0)
    points[5000] = point(5000, good=False, **dict.fromkeys(FIGURES))
    kept = thin(points)
    assert len(kept) <= MOST_POINTS
    assert {points[4321], points[777], points[5000]} <= set(kept)
    assert kept == sorted(kept, key=lambda each: each.ended_at)


@settings(deadline=None, max_examples=25)
@given(st.integers(1001, 4000), st.integers(0, 9), st.integers(1, 500))
def test_however_long_a_series_is_its_points_are_bounded_and_even(length: int, seed: int, gap: int) -> None:
    points = [
        point(
            number * (gap if number > length // 2 else 1),
            good=(number * 31 + seed) % 5 > 0,
            versions=number % 13,
        )
        for number in range(length)
    ]
    kept = thin(points)
    assert len(kept) <= MOST_POINTS
    assert set(kept) <= set(points)
    part = (points[-1].ended_at - points[0].ended_at) / thinning.STRETCHES
    for number in range(thinning.STRETCHES):
        began_at = points[0].ended_at + number * part
        inside = [each for each in points if began_at < each.ended_at < began_at + part]
        assert not inside or [each for each in kept if began_at <= each.ended_at <= began_at + part]


def test_runs_that_all_ended_at_once_are_thinned_too() -> None:
    assert len(thin([point(0, versions=number) for number in range(3000)])) <= 13


# Figures


def test_a_course_tells_where_a_figure_went_by_the_good_runs() -> None:
    points = [point(0, stored_bytes=100), point(1, good=False, stored_bytes=1), point(2, stored_bytes=103)]
    found = figures.courses(points)["stored_bytes"]
    assert found is not None
    assert (found.first, found.last, found.smallest, found.largest, found.total) == (100, 103, 100, 103, 203)
    assert found.change == pytest.approx(0.03)
    assert figures.courses([point(0, stored_bytes=None)])["stored_bytes"] is None
    assert set(figures.courses([]).values()) == {None}
    grown = figures.courses([point(0, stored_bytes=0), point(1, stored_bytes=5)])["stored_bytes"]
    assert grown is not None
    assert grown.change is None


def test_months_are_those_of_the_zone() -> None:
    begin = datetime(2026, 10, 31, 22, 30, tzinfo=UTC)
    points = [point(0)._replace(ended_at=begin), point(0)._replace(ended_at=begin + HOUR, good=False)]
    told = [(each.first_day, each.runs, each.failed) for each in figures.by_month(points, PARIS, 24)]
    assert told == [(date(2026, 11, 1), 1, 1), (date(2026, 10, 1), 1, 0)]


@pytest.mark.parametrize("zone", ["Europe/Paris", "Africa/Cairo", "Asia/Kathmandu", "America/Havana", "UTC"])
def test_each_run_is_in_the_month_of_its_day(zone: str) -> None:
    """Cairo's and Havana's clocks change around midnight."""
    points = [point(number * 7) for number in range(2500)]
    expected = Counter(each.ended_at.astimezone(ZoneInfo(zone)).strftime("%Y-%m") for each in points)
    found = figures.by_month(points, ZoneInfo(zone), 100)
    told = [(each.first_day.strftime("%Y-%m"), each.runs) for each in found]
    assert told == sorted(expected.items(), reverse=True)
    assert figures.by_month(points, ZoneInfo(zone), 3) == found[:3]
    assert figures.by_month([], ZoneInfo(zone), 3) == []


# Days


@pytest.mark.parametrize("zone", [PARIS, KATHMANDU, ZoneInfo("America/St_Johns"), ZoneInfo("UTC")], ids=str)
def test_a_year_is_few_stretches_that_meet_without_gap(zone: ZoneInfo) -> None:
    last = date(2026, 11, 23)
    found = day_map.stretches(day_map.first_day(last), last, zone)
    assert 1 <= len(found) <= 5
    for before, after in pairwise(found):
        assert before.ended_at == after.began_at
    assert found[0].began_at == datetime(2025, 11, 24, tzinfo=zone)
    assert found[-1].ended_at == datetime(2026, 11, 24, tzinfo=zone)


def test_a_year_of_cells_is_weeks_of_seven_without_a_hole() -> None:
    last = date(2026, 11, 23)
    first = day_map.first_day(last)
    cells = list(day_map.cells({last: Count(good=1)}, first, last, 0))
    assert len(cells) == day_map.DAYS
    assert len({(each.x, each.y) for each in cells}) == day_map.DAYS
    assert {each.day.weekday() * day_map.CELL == each.y for each in cells} == {True}
    assert (cells[-1].count.kind, cells[0].count.kind) == ("good", "none")
    assert max(each.x for each in cells) + day_map.CELL == day_map.width(first, last, 0)
    assert {each.y for each in day_map.cells({}, first, last, 6) if each.day.weekday() == 6} == {0}


def test_a_day_counts_as_failed_only_when_nothing_good_came() -> None:
    assert Count(failed=2).kind == "failed"
    assert Count(good=1, failed=1).kind == "warned"
    assert Count(warned=1).kind == "warned"
    assert Count(good=2).kind == "good"


def test_the_names_of_months_never_touch() -> None:
    for number in range(366):
        last = date(2026, 1, 1) + number * DAY
        first = day_map.first_day(last)
        starts = day_map.month_starts(first, last)
        assert all(after[1] - before[1] >= 3 * day_map.CELL for before, after in pairwise(starts))
        assert starts[-1][1] + 2 * day_map.CELL <= day_map.width(first, last)


def rows_of(job: Job, times: list[datetime], **values: object) -> list[dict[str, object]]:
    common = {
        "job_id": job.id,
        "received_at": NOW,
        "time_source": "report",
        "outcome": "Success",
        "good": True,
        "partial": False,
        "interrupted": False,
        "dry_run": False,
        "salvaged": False,
        "duration_seconds": 60.5,
        "stored_bytes": 5_000_000_000,
        **values,
    }
    return [
        {**common, "began_at": at, "ended_at": at, "fingerprint": f"{values} {number}"}
        for number, at in enumerate(times)
    ]


def check_days(database: Database, zone: ZoneInfo) -> None:
    """The database's own count by day against one made here, over both nights of changing clocks."""
    last = date(2026, 11, 23)
    stretches = day_map.stretches(day_map.first_day(last), last, zone)
    hours = [datetime(2026, 3, 27, tzinfo=UTC) + number * HOUR / 2 for number in range(240)]
    hours += [datetime(2026, 10, 23, tzinfo=UTC) + number * HOUR / 2 for number in range(240)]
    with database.writing() as rows:
        job, other = factories.add_job(rows), factories.add_job(rows, "Other")
        kinds: list[dict[str, object]] = [{}, {"outcome": "Warning"}, {"good": False}, {"warnings_count": 2}]
        for number, values in enumerate(kinds):
            rows.execute(insert(Report), rows_of(job, hours[number::4], **values))
        rows.execute(insert(Report), rows_of(job, hours, dry_run=True, good=False))
        rows.execute(insert(Report), rows_of(other, hours))
        job_id = job.id
    expected: dict[date, Count] = {}
    for number, at in enumerate(hours):
        one = (Count(good=1), Count(warned=1), Count(failed=1), Count(warned=1))[number % 4]
        day = at.astimezone(zone).date()
        expected[day] = expected.get(day, Count()) + one
    with database.reading() as rows:
        assert job_history.days(rows, job_id, stretches) == expected


@pytest.mark.parametrize("zone", [PARIS, KATHMANDU, ZoneInfo("Australia/Lord_Howe")], ids=str)
def test_runs_are_counted_on_the_day_of_the_zone(database: Database, zone: ZoneInfo) -> None:
    check_days(database, zone)


@pytest.mark.sqlite("asks for SQLite's plan")
def test_a_year_of_one_job_is_found_by_its_index(database: Database) -> None:
    with database.writing() as rows:
        job_id = factories.add_job(rows).id
        rows.flush()
        plan = rows.execute(
            text(
                f"EXPLAIN QUERY PLAN SELECT good FROM report WHERE job_id = {job_id} AND NOT dry_run"
                " AND ended_at >= '2025-01-01' ORDER BY ended_at DESC, id DESC LIMIT 20001"
            )
        ).all()
    assert "ix_report_job_ended" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


# What the charts ask for


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture
def job_id(here: Site) -> int:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = factories.add_job(rows, now=now)
        for days in (1, 40, 100, 500):
            factories.add_report(rows, job, ended_at=now - days * DAY, good=days != 40, versions=days)
        factories.add_report(rows, job, ended_at=now - DAY, dry_run=True, good=False)
        return job.id


@pytest.mark.parametrize(("days", "versions"), [("30", [1]), ("90", [40, 1]), ("all", [500, 100, 40, 1])])
def test_the_series_has_the_runs_of_the_time_asked_for(
    here: Site, job_id: int, days: str, versions: list[int]
) -> None:
    answer = here.viewer().get(f"/jobs/{job_id}/series?days={days}").json
    assert answer["versions"] == versions
    assert answer["runs"] == len(versions) == len(answer["endedAt"])
    assert answer["good"] == [int(each != 40) for each in versions]
    assert answer["isWhole"] is True
    assert answer["endedAt"] == sorted(answer["endedAt"])


def test_the_series_is_ninety_days_unless_asked_and_nothing_else_is_taken(here: Site, job_id: int) -> None:
    viewer = here.viewer()
    assert viewer.get(f"/jobs/{job_id}/series").json["versions"] == [40, 1]
    for wrong in ("7", "-1", "ALL", "90 ", ""):
        assert viewer.get(f"/jobs/{job_id}/series?days={wrong}").status_code == 404
        assert viewer.get(f"/jobs/{job_id}?days={wrong}").status_code == 404
    assert viewer.get("/jobs/77/series").status_code == 404


def test_a_job_without_runs_has_empty_columns(here: Site) -> None:
    with here.database.writing() as rows:
        job_id = factories.add_job(rows).id
    answer = here.viewer().get(f"/jobs/{job_id}/series").json
    assert (answer["runs"], answer["endedAt"], answer["stored_bytes"]) == (0, [], [])


def test_a_very_long_series_is_bounded_in_rows_and_in_points(here: Site, job_id: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        times = [now - number * timedelta(minutes=20) for number in range(1, 4001)]
        rows.execute(insert(Report), rows_of(rows.get_one(Job, job_id), times))
    answer = here.viewer().get(f"/jobs/{job_id}/series?days=90")
    assert answer.json["runs"] == 4002
    assert 300 < len(answer.json["endedAt"]) <= MOST_POINTS or len(set(answer.json["stored_bytes"])) < 5
    assert len(answer.data) < 60_000
    with here.database.reading() as rows:
        newest = job_history.series(rows, job_id, None, most=100)
    assert (len(newest.points), newest.is_whole) == (100, False)
    assert newest.points[-1].ended_at > now - HOUR
