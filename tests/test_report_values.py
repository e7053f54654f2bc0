"""Dates in many locales, durations, numbers and words."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reports import values


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


DATES = st.datetimes(utc(2000, 1, 2).replace(tzinfo=None), utc(2199, 12, 30).replace(tzinfo=None))


@pytest.mark.parametrize(
    "written",
    [
        "11/23/2026 7:14:46 AM (1795418086)",
        "23.11.2026 07:14:46 (1795418086)",
        "23/11/2026 07:14:46 (1795418086)",
        "23.11.2026 7:14:46 (1795418086)",
        "23. 11. 2026 7:14:46 (1795418086)",
        "23-11-2026 07:14:46 (1795418086)",
        "2026/11/23 7:14:46 (1795418086)",
        "2026-11-23 07:14:46 (1795418086)",
        "2026. 11. 23. 오전 7:14:46 (1795418086)",
        "11/23/2026 02:14:46 (1795418086)",
        "23/11/2569 7:14:46 (1795418086)",
        "23.11.26 klo 7.14.46 (1795418086)",
        "11/23/2026 7:14:46\u202fAM (1795418086)",
    ],
)
def test_unix_seconds_in_brackets_win_over_any_locale(written: str) -> None:
    assert values.moment(written) == utc(2026, 11, 23, 7, 14, 46)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1/8/2018 10:09:16 PM", utc(2018, 1, 8, 22, 9, 16)),
        ("12/8/2018 12:09:16 AM", utc(2018, 12, 8, 0, 9, 16)),
        ("12/8/2018 12:09:16 p.m.", utc(2018, 12, 8, 12, 9, 16)),
        ("13/8/2018 10:09:16", utc(2018, 8, 13, 10, 9, 16)),
        ("8/13/2018 10:09", utc(2018, 8, 13, 10, 9)),
        ("1.8.2018 10:09:16", utc(2018, 8, 1, 10, 9, 16)),
        ("1. 8. 2018 10.09.16", utc(2018, 8, 1, 10, 9, 16)),
        ("01-08-2018 10:09:16", utc(2018, 8, 1, 10, 9, 16)),
        ("2018/08/01 10:09:16", utc(2018, 8, 1, 10, 9, 16)),
        ("2018. 08. 01. 10:09:16", utc(2018, 8, 1, 10, 9, 16)),
        ("1/8/2018 10:09:16\u202fPM", utc(2018, 1, 8, 22, 9, 16)),
    ],
)
def test_a_date_without_zone_is_read_by_the_clear_cases_as_utc(written: str, expected: datetime) -> None:
    assert values.moment(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-23T07:10:21Z", utc(2026, 11, 23, 7, 10, 21)),
        ("2026-11-23T07:10:21.5Z", utc(2026, 11, 23, 7, 10, 21, 500000)),
        ("2026-11-23T07:10:21.0601729Z", utc(2026, 11, 23, 7, 10, 21, 60172)),
        ("2026-11-23T07:10:21.0601729", utc(2026, 11, 23, 7, 10, 21, 60172)),
        ("2026-11-23T08:10:21+01:00", utc(2026, 11, 23, 7, 10, 21)),
        ("2026-11-23T01:40:21.25-0530", utc(2026, 11, 23, 7, 10, 21, 250000)),
        ("2026-11-23 08:10:21 +01", utc(2026, 11, 23, 7, 10, 21)),
        ("2026-11-23T07: 10: 21.1Z", utc(2026, 11, 23, 7, 10, 21, 100000)),
        ("20261123T071021Z", utc(2026, 11, 23, 7, 10, 21)),
        (1795417821, utc(2026, 11, 23, 7, 10, 21)),
        (["2/10/2022 2:00:00 AM ", "1644458400)"], utc(2022, 2, 10, 2)),
    ],
)
def test_an_exact_date_is_read_to_the_microsecond(written: object, expected: datetime) -> None:
    assert values.moment(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        " ",
        "None",
        "null",
        0,
        "0001-01-01T00:00:00",
        "0001-01-01T00: 00: 00",
        "01/01/0001 00:00:00 (-62135596800)",
        "1/1/0001 12:00:00 AM",
        "1999-12-31T23:59:59Z",
        "1/1/1970 00:00:00 (0)",
        "00010101T000000Z",
    ],
)
def test_a_date_before_2000_means_none(written: object) -> None:
    assert values.moment(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "2026-13-23T07:10:21Z",
        "2026-02-30T07:10:21Z",
        "2026-11-23T25:10:21Z",
        "9999-12-31T23:59:59-14:00",
        "2026-11-23T07:10:21+99:99",
        "13/13/2026 07:10:21",
        "23.11.26 07:10:21",
        "(99999999999999)",
        "2026-11-23T07:10:21Z" + " " * 200,
        True,
        float("nan"),
        float("inf"),
        10**20,
        {"$date": "2026-11-23T07:10:21Z"},
        [],
        [[]],
    ],
)
def test_a_date_that_cannot_be_read_is_an_error_or_nothing(written: object) -> None:
    try:
        assert values.moment(written) is None
        assert written in ([], [[]])
    except ValueError:
        assert written


@given(DATES, st.integers(0, 7), st.integers(-840, 840))
def test_what_dotnet_writes_comes_back(moment: datetime, digits: int, offset_minutes: int) -> None:
    fraction = f"{moment.microsecond:06d}0"[:digits]
    sign = "-" if offset_minutes < 0 else "+"
    zone = f"{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
    written = f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}{zone}"
    kept = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")), tzinfo=UTC)
    assert values.moment(written) == kept - timedelta(minutes=offset_minutes)


@given(st.text(max_size=120) | st.from_regex(r"[\d./ :TZ+APM()-]{0,60}", fullmatch=True))
def test_any_text_is_a_date_or_nothing_or_a_value_error(written: str) -> None:
    try:
        found = values.moment(written)
    except ValueError:
        return
    assert found is None or (found.utcoffset() == timedelta(0) and 1999 < found.year < 2201)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("00:14:05.1234567", 845.1234567),
        ("00:00:00", 0),
        ("1.02:03:04", 93784),
        ("1.03:03:03.6809590", 97383.680959),
        ("11.01:30:15.0442060", 955815.044206),
        ("-01:00:00.0076960", -3600.007696),
        ("00: 00: 01.0142500", 1.01425),
        (["00", "12", "07.8836510"], 727.883651),
        ("1h30m", 5400),
        ("2d 1h", 176400),
        ("45s", 45),
        ("PT1H30M", 5400),
    ],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert values.duration(written) == pytest.approx(seconds, abs=1e-7)


@pytest.mark.parametrize(
    "written", [None, "", "P", "soon", "1:2", 12, True, "9" * 90 + ".00:00:00", {"a": 1}, "00:00:00:00", []]
)
def test_a_duration_that_cannot_be_read_is_none(written: object) -> None:
    assert values.duration(written) is None


@given(st.timedeltas(timedelta(days=-3000), timedelta(days=3000)))
def test_a_dotnet_duration_comes_back(span: timedelta) -> None:
    total = abs(span) // timedelta(microseconds=1)
    seconds, fraction = divmod(total, 10**6)
    days, seconds = divmod(seconds, 86400)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}0"
    written = ("-" if span < timedelta(0) else "") + (f"{days}." if days else "") + clock
    assert values.duration(written) == pytest.approx(span.total_seconds(), abs=1e-6)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (5, 5),
        ("5", 5),
        (" 167832 ", 167832),
        (5.0, 5),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-1, None),
        (2**63, None),
        ("9" * 19, None),
        ("9" * 5000, None),
        (5.5, None),
        (float("nan"), None),
        (float("-inf"), None),
        (1e300, None),
        (True, None),
        ("True", None),
        ("", None),
        ("1e3", None),
        ("٣", None),
        (None, None),
        ([5], None),
        ({}, None),
    ],
)
def test_a_count_is_a_whole_number_of_64_bits_or_none(written: object, number: int | None) -> None:
    assert values.count(written) == number


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (True, True),
        ("True", True),
        ("true ", True),
        (False, False),
        ("False", False),
        (None, False),
        (1, False),
    ],
)
def test_a_flag_is_set_only_by_true(written: object, expected: bool) -> None:
    assert values.flag(written) is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  Photos\t", "Photos"),
        ("a\0b", "ab"),
        ("\0", None),
        ("a\r\nb", "a  b"),
        ("lone \ud800", "lone ?"),
        ("Ünïcode – 写真", "Ünïcode – 写真"),
        ("x" * 1000, "x" * 300),
        (7, "7"),
        (True, None),
        ({}, None),
        ("None", "None"),
    ],
)
def test_a_label_is_one_clean_line(written: object, expected: str | None) -> None:
    assert values.label(written) == expected


def test_an_integer_beyond_64_bits_is_neither_a_count_nor_a_label() -> None:
    assert values.count(10**5000) is None
    assert values.label(10**5000) is None


def test_an_identifier_may_be_written_as_none_but_a_name_may_be_none() -> None:
    assert values.identifier("None") is None
    assert values.identifier("null") is None
    assert values.identifier("nonesuch") == "nonesuch"


@given(st.text(st.characters(), max_size=400), st.integers(1, 400))
def test_plain_text_can_always_be_stored(text: str, limit: int) -> None:
    kept = values.plain(text, limit)
    assert len(kept) <= limit
    assert "\0" not in kept
    kept.encode("utf-8")
