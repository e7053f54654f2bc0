"""Damage of every kind, seeded: reports, repeat rules, the interval file and the proxy's paths.

Nothing but the agreed errors leaves, no input takes a second of work, none takes much memory.
FUZZ_ROUNDS=50 pytest -n0 tests/test_fuzz.py   goes on for longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import interval
from app.cron_client import CronClient, CronServiceUnavailable, safe_path
from app.interval import CronConfig, IntervalFileDamaged, Reader
from app.recurrence import RecurrenceError, Schedule, next_after, upcoming
from app.repeat import parse_repeat
from app.reports import Report, UnusableReport, parse
from tests import fake_cron
from tests.conftest import SAMPLES, SHARED_DATA
from tests.web import Site, site

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
LIMIT_SECONDS = 1
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


class TookTooLongError(BaseException):
    """Not an Exception, so that nothing on the way catches it."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Breaks off whatever works for longer than the limit, waiting for a busy machine not counted."""

    def stop(_number: int, _frame: object) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_the_watch_breaks_off_what_never_ends() -> None:
    with pytest.raises(TookTooLongError), watched():
        while True:
            pass


def reports() -> list[Path]:
    folder = SHARED_DATA / "reports"
    found = sorted(folder.iterdir() if folder.is_dir() else SAMPLES.iterdir())
    return [each for each in found if each.is_file()]


# Damage to bytes

ODD_BYTES = [
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\u0000",
    b"\\ud800",
    b'"',
    b"{",
    b"[",
    b"%",
    b"&",
    b"=",
    b"\\",
]


def flip_bits(noise: random.Random, body: bytes) -> bytes:
    damaged = bytearray(body)
    for _ in range(noise.randrange(1, 20)):
        damaged[noise.randrange(len(damaged))] ^= 1 << noise.randrange(8)
    return bytes(damaged)


def cut(noise: random.Random, body: bytes) -> bytes:
    return body[: noise.randrange(len(body))]


def cut_out(noise: random.Random, body: bytes) -> bytes:
    start = noise.randrange(len(body))
    return body[:start] + body[start + noise.randrange(1, 500) :]


def repeat_a_piece(noise: random.Random, body: bytes) -> bytes:
    start = noise.randrange(len(body))
    piece = body[start : start + noise.randrange(1, 200)]
    return body[:start] + piece * noise.randrange(2, 300) + body[start:]


def insert_odd_bytes(noise: random.Random, body: bytes) -> bytes:
    for _ in range(noise.randrange(1, 10)):
        at = noise.randrange(len(body) + 1)
        body = body[:at] + noise.choice(ODD_BYTES) * noise.choice([1, 1, 1, 2000]) + body[at:]
    return body


def encode_otherwise(noise: random.Random, body: bytes) -> bytes:
    encoding = noise.choice(["utf-16", "utf-16-be", "utf-32", "utf-7", "cp037", "utf-8-sig"])
    return body.decode("utf-8", "replace").encode(encoding, "replace")


# Damage to what the JSON says

ODD_VALUES: list[Callable[[random.Random, Any], Any]] = [
    lambda _noise, _old: None,
    lambda _noise, old: [old],
    lambda _noise, old: {"Value": old},
    lambda _noise, old: str(old),
    lambda _noise, _old: "",
    lambda _noise, _old: True,
    lambda noise, _old: noise.choice([-1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.1, 1e308, -1e308]),
    lambda _noise, _old: float("nan"),
    lambda _noise, _old: float("-inf"),
    lambda noise, old: str(old) + noise.choice(["\0", "\ud800", "\udfff", "\u202e", "\n", "é", "\U0001f600"]),
    lambda _noise, old: str(old)[:20] * 20_000,
    lambda noise, _old: noise.choice(["0001-01-01T00:00:00", "9999-12-31T23:59:59Z", "2026-02-30T25:61:61"]),
    lambda noise, _old: noise.choice(["99999999999.23:59:59", "-1:00:00", "1e5:00", "P1Y2M3DT4H5M6S"]),
    lambda _noise, _old: json.loads("[" * 500 + "]" * 500),
]


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every member and every item of a document, with what holds it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from places(value[key])  # type: ignore[index]


def change_values(noise: random.Random, body: bytes) -> bytes:
    document = json.loads(body)
    found = list(places(document))
    for holder, key in noise.sample(found, min(len(found), noise.randrange(1, 6))):
        holder[key] = noise.choice(ODD_VALUES)(noise, holder[key])
    return json.dumps(document).encode()


def take_keys_away(noise: random.Random, body: bytes) -> bytes:
    document = json.loads(body)
    found = [(holder, key) for holder, key in places(document) if isinstance(holder, dict)]
    for holder, key in noise.sample(found, min(len(found), noise.randrange(1, 10))):
        holder.pop(key, None)
    return json.dumps(document).encode()


def rename_keys(noise: random.Random, body: bytes) -> bytes:
    document = json.loads(body)
    found = [(holder, key) for holder, key in places(document) if isinstance(holder, dict)]
    for holder, key in noise.sample(found, min(len(found), noise.randrange(1, 10))):
        other = noise.choice(
            [key.upper(), key + "\0", "", key[::-1], "Data", "Extra", "LogLines", "__class__"]
        )
        holder[other] = holder.pop(key, None)
    return json.dumps(document).encode()


ON_BYTES = [flip_bits, cut, cut_out, repeat_a_piece, insert_odd_bytes, encode_otherwise]
ON_JSON = [change_values, take_keys_away, rename_keys]
KINDS = [None, "application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-16", "\0"]


def mutations(noise: random.Random, body: bytes) -> Iterator[tuple[str, bytes]]:
    ways = ON_BYTES + (ON_JSON if body.lstrip()[:1] == b"{" else [])
    for way in ways:
        with contextlib.suppress(ValueError):
            damaged = way(noise, body)
            yield way.__name__, damaged
            yield f"{way.__name__} and cut", cut(noise, damaged) if damaged else b""


def check_report(body: bytes, content_type: str | None) -> None:
    try:
        report = parse(body, content_type)
    except UnusableReport as refused:
        assert refused.reason.endswith(".")
        return
    assert_storable(report)


def assert_storable(report: Report) -> None:
    """What every database takes: text without NUL and halves, numbers of 64 bits, times of this age."""
    for name in report.__slots__:
        value = getattr(report, name)
        for each in value if isinstance(value, tuple) else [value]:
            if isinstance(each, str):
                assert "\0" not in each, name
                each.encode()
            elif isinstance(each, int):
                assert -(2**63) <= each < 2**63, name
            elif isinstance(each, datetime):
                assert each.utcoffset() == timedelta(0), name


@pytest.mark.parametrize("path", reports(), ids=lambda path: path.name)
def test_a_damaged_report_is_read_or_refused(path: Path) -> None:
    body = path.read_bytes()[:200_000]
    for round_ in range(ROUNDS):
        noise = random.Random(f"{path.name} {round_}")  # noqa: S311  (no secret)
        for way, damaged in mutations(noise, body):
            with watched():
                try:
                    check_report(damaged, noise.choice(KINDS))
                except Exception as problem:
                    problem.add_note(f"after {way}: {damaged[:300]!r}")
                    raise


def test_damaged_reports_take_bounded_memory() -> None:
    noise = random.Random(9)  # noqa: S311  (no secret)
    for path in noise.sample(reports(), 5):
        for way, damaged in mutations(noise, path.read_bytes()):
            tracemalloc.start()
            try:
                check_report(damaged, None)
                _now, peak_bytes = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak_bytes < 4_000_000 + 40 * len(damaged), (path.name, way, len(damaged))


# Repeat rules: what the properties of test_recurrence_properties leave out


@given(
    st.lists(st.tuples(st.integers(0, 10**30), st.sampled_from("smhDWMYXéé \0")), max_size=40),
    st.sampled_from(
        ["UTC", "Europe/Paris", "../../etc/passwd", "/etc/localtime", "", "\0", "a" * 5000, "\ud800"]
    ),
    st.lists(st.sampled_from(["mon", "sun", "MON", "", "\0", "monday"]), max_size=9),
    st.sampled_from([NOON, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]),
    st.sampled_from([NOON, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]),
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_a_hostile_schedule_is_an_answer_or_an_error_of_ours(
    parts: list[tuple[int, str]], zone: str, days: list[str], anchor_at: datetime, after_at: datetime
) -> None:
    repeat = "".join(f"{number}{unit}" for number, unit in parts)
    with watched(), contextlib.suppress(RecurrenceError):
        parse_repeat(repeat)
        schedule = Schedule(repeat=repeat, days=frozenset(days), zone=zone, anchor_at=anchor_at)
        assert next_after(schedule, after_at) > after_at
        assert len(upcoming(schedule, after_at, 20)) <= 20


# The interval file

WHOLE = b'{"interval": "20min", "updatedAt": "2026-11-23T07:00:00Z", "updatedBy": "admin"}\n'
FILES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"\xef\xbb\xbf" + WHOLE,
    WHOLE.decode().encode("utf-16"),
    b'{"interval": ["20min"]}',
    b'{"interval": 20}',
    b'{"interval": "20MIN"}',
    b'{"interval": "20min", "updatedAt": 5, "updatedBy": []}',
    b'{"interval": "20min", "updatedAt": "0000-99-99"}',
    b'{"interval": "20min", "updatedAt": "9999-12-31T23:59:59+23:59"}',
    b"[" * 60_000,
    b'{"a":' * 20_000,
    b'{"interval": ' + b"9" * 60_000 + b"}",
    WHOLE.ljust(200_000),
    bytes(70_000),
]


def check_file(path: Path) -> None:
    """Both ways to read it agree, and what they find can be asked everything."""
    for read in (lambda: interval.read(path), Reader(path).read):
        with watched(), contextlib.suppress(IntervalFileDamaged):
            config = read()
            assert isinstance(config, CronConfig)
            assert interval.is_interval(config.interval)
            config.has_missed_checks(NOON, NOON)


@pytest.mark.parametrize("content", FILES, ids=lambda content: repr(content[:20]))
def test_a_hostile_interval_file_is_read_or_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / interval.FILE_NAME
    path.write_bytes(content)
    check_file(path)


def test_a_damaged_interval_file_is_read_or_damaged(tmp_path: Path) -> None:
    noise = random.Random(7)  # noqa: S311  (no secret)
    path = tmp_path / interval.FILE_NAME
    for _ in range(40 * ROUNDS):
        for _way, damaged in mutations(noise, WHOLE):
            path.write_bytes(damaged)
            check_file(path)


def test_what_is_no_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / interval.FILE_NAME
    path.mkdir()
    for read in (lambda: interval.read(path), Reader(path).read):
        with pytest.raises(OSError, match="directory"):
            read()


# The proxy's paths

PIECES = [
    *["health", "trigger", "overdue-backup-check", "reload-config", "a", ".", "..", "...", "~", "-", "_"],
    *["/", "//", "\\", "%2e", "%2E%2e", "%252e", "%2f", "%5c", "%00", "%0d%0a", "%", "%zz", "\u3002\u3002"],
    *["?", "#", ";", ":", "@", "http:", "//evil.example/", "127.0.0.1", "[::1]", " ", "\t", "\r\nX: y", "\0"],
    *["é", "\u2024", "\uff0e\uff0e", "\u2215", "\ud800", "a" * 250],
]


@pytest.fixture(scope="module")
def cron() -> Iterator[fake_cron.FakeCron]:
    with fake_cron.running() as service:
        yield service


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, cron: fake_cron.FakeCron) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("fuzz")
    with site(folder, CRON_SERVICE_URL=f"{cron.url}/below", VEILLEUR_CRON_READ_SECONDS="20") as made:
        yield made


def assert_below(target: str) -> None:
    path = target.partition("?")[0]
    assert path.startswith("/below/")
    rest = path.removeprefix("/below/")
    assert safe_path(rest) == rest
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


def test_nothing_but_allowed_paths_reaches_the_cron_service(here: Site, cron: fake_cron.FakeCron) -> None:
    noise = random.Random(5)  # noqa: S311  (no secret)
    client, known = here.stranger(), 0
    for _ in range(400 * ROUNDS):
        path = "".join(noise.choices(PIECES, k=noise.randrange(1, 6)))
        before = len(cron.arrived)
        with watched():
            answer = client.get("/api/cron/" + path.encode("utf-8", "surrogatepass").decode("latin-1"))
        assert answer.status_code in (200, 308, 404, 414), path
        assert len(cron.arrived) - before == (answer.status_code == 200), path
        for arrived in cron.arrived[before:]:
            assert_below(arrived.target)
            known += 1
    assert known > 10, "some were to get through"


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=5).map("".join), st.binary(max_size=60)
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_the_client_asks_below_its_base_or_not_at_all(path: str, query: bytes) -> None:
    with fake_cron_once() as (service, client):
        before = len(service.arrived)
        try:
            client.get(path, query)
        except (ValueError, CronServiceUnavailable):
            assert safe_path(path) is None
            return
        for arrived in service.arrived[before:]:
            assert_below(arrived.target)


_SHARED: list[tuple[fake_cron.FakeCron, CronClient]] = []


@contextlib.contextmanager
def fake_cron_once() -> Iterator[tuple[fake_cron.FakeCron, CronClient]]:
    """One service for all examples."""
    yield _SHARED[0]


@pytest.fixture(scope="module", autouse=True)
def _service() -> Iterator[None]:
    with fake_cron.running() as service:
        client = CronClient(f"{service.url}/below", "token", read_seconds=20)
        _SHARED.append((service, client))
        yield
        client.close()
        _SHARED.clear()
