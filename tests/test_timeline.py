"""The geometry of the timeline: order, room for every label, and a picture of every state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import timeline, timeline_picture
from app.deadline import Span
from app.models import Job, Report, Server
from app.timeline import Label
from app.timeline_picture import Deadline, Picture, deadline_of, draw
from tests.web import Site, site

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
PARIS = ZoneInfo("Europe/Paris")
instants = st.integers(-800_000_000, 800_000_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@settings(deadline=None, max_examples=60)
@given(st.lists(instants, min_size=1, max_size=12))
def test_what_comes_later_lies_further_right_and_inside(marks: list[datetime]) -> None:
    line = timeline.axis(marks)
    shares = [line.share(at) for at in sorted(marks)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 100 for share in shares)
    room = 100 - 2 * timeline.MARGIN
    least = min(timeline.LEAST_SHARE, room / max(1, len(line.instants) - 1))
    for before, after in pairwise(line.shares):
        assert after - before >= least - 1e-6


def test_the_axis_is_true_to_scale_where_nothing_is_too_short() -> None:
    line = timeline.axis([NOW, NOW + DAY, NOW + 2 * DAY, NOW + 4 * DAY])
    assert not line.is_stretched
    assert line.shares == pytest.approx((3, 26.5, 50, 97))
    assert line.share(NOW + 3 * DAY) == pytest.approx(73.5)
    assert (line.share(NOW - DAY), line.share(NOW + 9 * DAY)) == pytest.approx((3, 97))


def test_a_short_tolerance_can_be_seen_in_a_long_time_and_that_is_said() -> None:
    line = timeline.axis([NOW, NOW + HOUR, NOW + 60 * DAY])
    assert line.share(NOW + HOUR) - line.share(NOW) == pytest.approx(timeline.LEAST_SHARE)
    assert line.is_stretched


labels = st.lists(
    st.builds(
        lambda share, words: Label("any", share, tuple(words)),
        st.floats(3, 97),
        st.lists(st.text("abc ", min_size=1, max_size=21), min_size=1, max_size=2),
    ),
    max_size=7,
)


@settings(deadline=None, max_examples=60)
@given(labels, st.sampled_from([timeline_picture.NARROW, timeline_picture.WIDE]))
def test_no_label_covers_another_or_leaves_the_picture(given_labels: list[Label], width: float) -> None:
    placed = timeline.place(given_labels, width)
    assert sorted(each.label.share for each in placed) == sorted(each.share for each in given_labels)
    for each in placed:
        assert each.left >= 0
        assert each.right <= width
    for one, other in combinations(placed, 2):
        beside = one.right + timeline.LABEL_GAP <= other.left or other.right + timeline.LABEL_GAP <= one.left
        assert one.lane != other.lane or beside


@settings(deadline=None, max_examples=60)
@given(labels)
def test_labels_placed_for_a_narrow_picture_fit_a_wider_one(given_labels: list[Label]) -> None:
    for width in (400.0, 620.0):
        moved = []
        for each in timeline.place(given_labels, timeline_picture.NARROW):
            at = each.text_share / 100 * width
            left = at - each.label.width * {"start": 0.0, "middle": 0.5, "end": 1.0}[each.anchor]
            assert left >= -1e-6
            assert left + each.label.width <= width + 1e-6
            moved.append((each.lane, left, left + each.label.width))
        for one, other in combinations(moved, 2):
            assert one[0] != other[0] or one[2] <= other[1] or other[2] <= one[1]


def test_no_line_crosses_a_text_where_there_is_room_below() -> None:
    crowded = [Label("any", share, ("Last good", "Sun 17:01")) for share in (61, 68, 75, 90)]
    placed = timeline.place(crowded, timeline_picture.NARROW)
    for one, other in combinations(placed, 2):
        upper, lower = sorted((one, other), key=lambda each: each.lane)
        assert upper.lane == lower.lane or not upper.left <= lower.at <= upper.right


def test_of_points_too_close_the_failed_and_the_later_are_drawn() -> None:
    assert timeline.apart([(10, False), (12, True), (14, False), (20, False)], 5) == [1, 3]
    assert timeline.apart([(10, False), (12, False)], 5) == [1]


@pytest.mark.parametrize(
    ("length", "unit"), [(DAY, "hour"), (9 * DAY, "day"), (80 * DAY, "day"), (900 * DAY, "month")]
)
def test_ticks_are_round_times_of_the_zone_and_never_crowded(length: timedelta, unit: str) -> None:
    line = timeline.axis([NOW, NOW + length])
    found = timeline.ticks(line, PARIS, 9)
    assert 2 <= len(found) <= 12
    assert unit in {each.unit for each in found}
    for each in found:
        local = each.at.astimezone(PARIS)
        assert (local.hour % 6, local.minute) == (0, 0)
        assert unit != "month" or local.day == 1
    for before, after in pairwise(found):
        assert after.share - before.share >= 9


# The picture


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(Path(tmp_path_factory.mktemp("timeline")), VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


def job_in(state: str, **columns: object) -> Job:
    values = {
        "name": "Documents",
        "state": state,
        "state_since_at": NOW - HOUR,
        "created_at": NOW - 90 * DAY,
        "expected_at": NOW + 12 * HOUR,
        "until_at": NOW + 12 * HOUR,
        "last_good_at": NOW - 12 * HOUR,
        "why": {},
        **columns,
    }
    return Job(server=Server(name="nas"), **values)


def run(ended_at: datetime, outcome: str = "Success", dry_run: bool = False) -> Report:
    return Report(ended_at=ended_at, outcome=outcome, good=outcome == "Success", dry_run=dry_run)


def picture_of(here: Site, job: Job, runs: list[Report], maintenance: list[Span] | None = None) -> Picture:
    with here.app.test_request_context("/"):
        spans = maintenance or []
        return draw(job, runs, deadline_of(job, 3600, spans), spans, NOW)


NIGHTS = [run(NOW - 12 * HOUR - day * DAY) for day in range(20)]
FAILED = [run(NOW - 2 * HOUR, "Fatal"), *NIGHTS]
CASES: dict[str, tuple[Job, list[Report], list[str], list[str]]] = {
    "new": (
        job_in("new", last_good_at=None, expected_at=None, until_at=None),
        [],
        ["First seen", "Now"],
        [],
    ),
    "ok": (job_in("ok"), NIGHTS, ["Last good", "Now", "Expected", "Overdue from"], ["tolerance"]),
    "late": (
        job_in("late", expected_at=NOW - 30 * MINUTE, until_at=NOW - 30 * MINUTE),
        NIGHTS,
        ["Last good", "Expected", "Now", "Overdue from"],
        ["tolerance"],
    ),
    "overdue": (
        job_in("overdue", expected_at=NOW - 5 * HOUR, until_at=NOW - 5 * HOUR, state_since_at=NOW - 4 * HOUR),
        NIGHTS,
        ["Last good", "Expected", "Overdue since", "Now"],
        ["tolerance", "overdue"],
    ),
    "failed": (
        job_in("failed"),
        FAILED,
        ["Last good", "Last run", "Now", "Expected", "Overdue from"],
        ["tolerance"],
    ),
    "paused": (
        job_in("paused", paused_at=NOW - DAY, paused_until_at=NOW + DAY),
        NIGHTS,
        ["Last good", "Now", "Paused until"],
        ["paused"],
    ),
}


@pytest.mark.parametrize("state", CASES)
def test_every_state_shows_its_times_in_order(here: Site, state: str) -> None:
    job, runs, names, bands = CASES[state]
    picture = picture_of(here, job, runs)
    assert {band.kind for band in picture.bands} == set(bands)
    for drawing in picture.drawings:
        ordered = sorted(drawing.labels, key=lambda each: each.label.share)
        assert [each.label.lines[0] for each in ordered] == names
        assert drawing.marks or not runs
        assert drawing.lanes <= 5
    for band in picture.bands:
        assert 0 <= band.share <= band.share + band.width <= 100
    assert "Now: Mon 23 Nov 2026, 10:00." in picture.description
    assert {kind for kind, _name in picture.legend} >= set(bands)


def test_an_expected_window_lies_between_its_ends_and_before_the_tolerance(here: Site) -> None:
    job = job_in("ok", until_at=NOW + 13 * HOUR)
    expected, tolerance = picture_of(here, job, NIGHTS).bands
    assert (expected.kind, tolerance.kind) == ("expected", "tolerance")
    assert expected.width >= timeline.LEAST_SHARE - 1e-6
    assert tolerance.share == pytest.approx(expected.share + expected.width)


def test_maintenance_that_moves_the_deadline_is_drawn_and_the_deadline_moved(here: Site) -> None:
    job = job_in("ok")
    windows = [Span(NOW + 12 * HOUR, NOW + 15 * HOUR)]
    with here.app.test_request_context("/"):
        moved = deadline_of(job, 3600, windows)
    assert moved == Deadline(NOW + 13 * HOUR, NOW + 16 * HOUR)
    picture = picture_of(here, job, NIGHTS, windows)
    assert [band.kind for band in picture.bands] == ["tolerance", "moved", "maintenance"]
    assert "Overdue from: Tue 24 Nov 2026, 02:00." in picture.description


def test_a_deadline_that_was_lengthened_by_our_own_downtime_is_the_one_shown() -> None:
    told = {"expectedAt": "2026-11-23T08:00:00Z", "overdueAt": "2026-11-23T11:00:00Z"}
    job = job_in("late", expected_at=NOW - HOUR, until_at=NOW - HOUR, why=told)
    assert deadline_of(job, 3600, []).at == NOW + 2 * HOUR
    # Once another run is expected, that is history.
    job = job_in("late", expected_at=NOW - HOUR / 2, until_at=NOW - HOUR / 2, why=told)
    assert deadline_of(job, 3600, []).at == NOW + HOUR / 2


def test_a_deadline_people_were_told_of_stays() -> None:
    late = {"expected_at": NOW - 9 * HOUR, "until_at": NOW - 9 * HOUR}
    windows = [Span(NOW - 9 * HOUR, NOW + 9 * HOUR)]
    job = job_in("overdue", **late, state_since_at=NOW - 3 * HOUR)
    assert deadline_of(job, 3600, windows).at == NOW - 3 * HOUR
    job = job_in("overdue", **late, state_since_at=NOW - 8 * HOUR)
    assert deadline_of(job, 3600, windows) == Deadline(NOW - 8 * HOUR, None)


def test_without_a_tolerance_nothing_is_labelled_twice(here: Site) -> None:
    with here.app.test_request_context("/"):
        job = job_in("ok")
        picture = draw(job, NIGHTS, deadline_of(job, 0, []), [], NOW)
    assert "Overdue from" not in {each.label.lines[0] for each in picture.drawings[0].labels}


def test_marks_differ_in_shape_and_say_what_they_are(here: Site) -> None:
    runs = [run(NOW - 9 * HOUR, "Fatal"), run(NOW - 5 * HOUR, dry_run=True), *NIGHTS]
    marks = picture_of(here, job_in("failed"), runs).drawings[1].marks
    assert {each.kind for each in marks} == {"good", "failed", "dry"}
    assert [each.name for each in marks if each.kind == "failed"] == [
        "Not good (Fatal error): Mon 23 Nov 2026, 01:00"
    ]
    assert all(re.search(r"\d\d:\d\d$", each.name) for each in marks)


def test_the_last_good_run_is_drawn_even_when_many_failed_since(here: Site) -> None:
    runs = [run(NOW - hour * HOUR, "Error") for hour in range(1, 12)]
    picture = picture_of(here, job_in("failed", last_good_at=NOW - 9 * DAY), runs)
    assert "good" in {mark.kind for mark in picture.drawings[0].marks}
