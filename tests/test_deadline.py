"""What moves a deadline: maintenance stops the clock, a downtime of ours is credited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.deadline import Allowance, Downtime, Span, allow, merged

TWO = datetime(2026, 12, 1, 2, tzinfo=UTC)  # a run is expected at two, with an hour's tolerance
HOUR = timedelta(hours=1)
THREE = TWO + HOUR


def at(hours: float) -> datetime:
    return TWO + timedelta(hours=hours - 2)


def span(start: float, end: float) -> Span:
    return Span(at(start), at(end))


def moved(
    *maintenance: Span, downtimes: tuple[Downtime, ...] = (), credit_hours: float = 2
) -> Allowance | None:
    return allow(TWO, THREE, maintenance, downtimes, int(credit_hours * 3600))


def deadline(*maintenance: Span, downtimes: tuple[Downtime, ...] = (), credit_hours: float = 2) -> datetime:
    found = moved(*maintenance, downtimes=downtimes, credit_hours=credit_hours)
    return found.deadline_at if found else THREE


def down(start: float, end: float, *, is_open: bool = False) -> Downtime:
    return Downtime(1, span(start, end), is_open)


def test_nothing_moves_a_deadline_without_a_reason() -> None:
    assert moved() is None
    assert moved(span(0, 2), span(3, 9)) is None
    assert moved(downtimes=(down(0, 2), down(3, 5))) is None


def test_maintenance_over_the_whole_run_leaves_the_whole_tolerance_after_it() -> None:
    assert moved(span(1, 5)) == Allowance(at(6), at(5), None)


def test_maintenance_in_the_middle_leaves_what_was_left() -> None:
    assert deadline(span(2.5, 4)) == at(4.5)


def test_a_moved_deadline_can_reach_into_the_next_maintenance() -> None:
    assert deadline(span(1, 5), span(5.5, 8)) == at(8.5)


def test_overlapping_maintenance_counts_once() -> None:
    assert deadline(span(1, 4), span(2, 5), span(5, 6)) == at(7)


def test_a_downtime_is_credited_from_its_end() -> None:
    found = moved(downtimes=(down(1.5, 3.5),))
    assert found is not None
    assert found.deadline_at == at(5.5)
    assert found.downtime == down(1.5, 3.5)


def test_a_downtime_that_ended_before_the_deadline_adds_its_length() -> None:
    assert deadline(downtimes=(down(2.25, 2.5),)) == at(3.25)


def test_the_credit_is_capped_in_all() -> None:
    assert deadline(downtimes=(down(0, 10),)) == at(12)
    assert deadline(downtimes=(down(0, 10), down(11, 30))) == at(30)
    assert deadline(downtimes=(down(0, 10),), credit_hours=0) == THREE


def test_a_downtime_that_lasts_moves_the_deadline_with_it_up_to_the_cap() -> None:
    assert deadline(downtimes=(down(2.5, 3),)) == at(3.5)
    assert deadline(downtimes=(down(2.5, 3.25, is_open=True),)) == at(3.75)
    assert deadline(downtimes=(down(2.5, 9, is_open=True),)) == at(5)


def test_maintenance_and_a_downtime_add_up() -> None:
    found = moved(span(1, 4), downtimes=(down(4.25, 4.5),))
    assert found == Allowance(at(5.25), at(4), down(4.25, 4.5))


HOURS = st.integers(0, 400).map(lambda quarters: quarters / 4)
SPANS = st.lists(st.tuples(HOURS, HOURS).filter(lambda pair: pair[0] < pair[1]), max_size=6)


@given(SPANS, SPANS)
def test_a_deadline_only_ever_moves_later_and_never_within_maintenance(
    maintenance: list[tuple[float, float]], downtimes: list[tuple[float, float]]
) -> None:
    spans = [span(*each) for each in maintenance]
    quiet = deadline(*spans)
    assert quiet >= THREE
    # Counted minute by minute: as much time outside of maintenance as the tolerance.
    outside = sum(
        1
        for minute in range(int((quiet - TWO) / timedelta(minutes=15)))
        if not any(
            each.began_at <= TWO + minute * timedelta(minutes=15) < each.ended_at for each in merged(spans)
        )
    )
    assert outside == 4
    credited = deadline(*spans, downtimes=tuple(down(*each) for each in downtimes))
    latest = max([quiet, *(at(each[1]) for each in downtimes)])
    assert quiet <= credited <= latest + timedelta(hours=2)
