"""What holds for any schedule: later, allowed, steady, the same by skipping as by stepping."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from app.recurrence import (
    EVERY_DAY,
    WEEKDAYS,
    RecurrenceError,
    Schedule,
    around,
    dst_readings,
    next_after,
    next_valid,
    parse_repeat,
    span_seconds,
    step,
    upcoming,
)

PARIS = ZoneInfo("Europe/Paris")
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(repeat: str, anchor: str, days: str = "", zone: str = "Europe/Paris") -> Schedule:
    return Schedule(repeat=repeat, days=frozenset(days.split()), zone=zone, anchor_at=utc(anchor))


NEAR_ZONES = ("UTC", "Europe/Paris", "America/New_York", "America/Los_Angeles", "Asia/Kolkata")
ODD_ZONES = ("Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "Africa/Cairo", "America/St_Johns")
ZONES = st.sampled_from((*NEAR_ZONES, *ODD_ZONES))
REPEATS = st.one_of(
    st.sampled_from(
        ["1D", "2D", "3D", "7D", "1W", "2W", "1M", "1Y", "1h", "6h", "12h", "15m", "24h", "36h", "1D2h"]
    ),
    st.builds(
        lambda parts: "".join(f"{count}{unit}" for count, unit in parts),
        st.lists(st.tuples(st.integers(0, 90), st.sampled_from("smhDWMY")), min_size=1, max_size=3),
    ),
)
INSTANTS = st.datetimes(datetime(2010, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DAYS = st.frozensets(st.sampled_from(WEEKDAYS))
SCHEDULES = st.builds(
    lambda **fields: Schedule(**fields),
    repeat=REPEATS.filter(lambda text: span_seconds(text) >= 1),
    days=DAYS,
    zone=ZONES,
    anchor_at=INSTANTS,
)


def found_or_skip(rule: Schedule, after_at: datetime) -> datetime:
    try:
        return next_after(rule, after_at)
    except RecurrenceError:
        assume(False)
        raise


def plain_steps(rule: Schedule) -> Iterator[datetime]:
    """The occurrences as a server finds them that never missed one."""
    at = next_valid(rule.anchor_at, rule.anchor_at, rule.repeat, rule.days, rule.zone_info)
    while True:
        yield at
        at = next_valid(at, at + TICK, rule.repeat, rule.days, rule.zone_info)


@given(SCHEDULES, INSTANTS)
@settings(deadline=None)
def test_the_next_occurrence_is_later_allowed_and_stays_the_next_until_it_comes(
    rule: Schedule, after_at: datetime
) -> None:
    found_at = found_or_skip(rule, after_at)
    assert found_at > after_at
    assert found_at >= rule.anchor_at
    assert WEEKDAYS[found_at.astimezone(rule.zone_info).weekday()] in (rule.days or EVERY_DAY)
    assert next_after(rule, found_at - TICK) == found_at
    assert next_after(rule, after_at + (found_at - after_at) / 2 - TICK) == found_at
    previous_at, following_at = around(rule, after_at)
    assert following_at == found_at
    assert previous_at is None or rule.anchor_at <= previous_at <= after_at


@given(SCHEDULES, INSTANTS, INSTANTS)
@settings(deadline=None)
def test_asking_later_never_gives_an_earlier_answer(
    rule: Schedule, one_at: datetime, other_at: datetime
) -> None:
    early_at, late_at = sorted((one_at, other_at))
    assert found_or_skip(rule, early_at) <= found_or_skip(rule, late_at)


@given(SCHEDULES, st.integers(0, 400))
@example(schedule("1D", "2026-03-20T12:00", "mon tue wed thu fri"), 300)
@example(schedule("1D", "2026-03-20T01:30"), 400)
@example(schedule("2D", "2026-03-20T22:30", "tue thu sat"), 300)
@settings(deadline=None)
def test_skipping_ahead_meets_the_same_occurrences_as_plain_stepping(rule: Schedule, count: int) -> None:
    occurrences = [at for _, at in zip(range(count + 2), reachable(rule), strict=False)]
    for one_at, next_at in list(pairwise(occurrences))[-3:]:
        if next_at - rule.anchor_at < 50_000 * DAY:
            assert around(rule, one_at) == (one_at, next_at)
            assert around(rule, next_at - TICK) == (one_at, next_at)
    if len(occurrences) > 1:
        assert upcoming(rule, rule.anchor_at - TICK, len(occurrences)) == occurrences


def reachable(rule: Schedule) -> Iterator[datetime]:
    try:
        yield from plain_steps(rule)
    except RecurrenceError:
        return


@given(INSTANTS, st.timedeltas(-DAY, 60 * DAY), REPEATS, DAYS, ZONES)
@settings(deadline=None)
def test_the_next_valid_time_is_the_base_or_reaches_the_first_allowed(
    base_at: datetime, ahead: timedelta, repeat: str, days: frozenset[str], zone: str
) -> None:
    try:
        found_at = next_valid(base_at, base_at + ahead, repeat, days, ZoneInfo(zone))
    except RecurrenceError:
        return
    assert found_at >= max(base_at, base_at + ahead)


@given(st.one_of(st.text(max_size=12), st.text("0123456789smhDWMY +-\n", max_size=12)))
@settings(deadline=None)
def test_any_text_is_a_repeat_or_an_error_of_ours(text: str) -> None:
    try:
        rule = parse_repeat(text)
        found_at = step(utc("2026-01-01T00:00"), text, PARIS)
    except RecurrenceError as error:
        assert str(error).endswith(".")
    else:
        assert rule.span_seconds >= 0
        assert found_at >= utc("2025-12-31T22:00")


@given(
    st.text("0123456789smhDWMY", max_size=8),
    st.frozensets(st.one_of(st.sampled_from(WEEKDAYS), st.text(max_size=3))),
    st.one_of(ZONES, st.text(max_size=12)),
    st.datetimes(timezones=st.just(UTC)),
    st.datetimes(timezones=st.just(UTC)),
)
@settings(deadline=None)
def test_no_schedule_loops_or_fails_in_another_way(
    repeat: str, days: frozenset[str], zone: str, anchor_at: datetime, after_at: datetime
) -> None:
    try:
        rule = Schedule(repeat=repeat, days=days, zone=zone, anchor_at=anchor_at)
        previous_at, found_at = around(rule, after_at)
        if previous_at:
            dst_readings(previous_at, found_at, rule)
    except RecurrenceError:
        return
    assert found_at > after_at
