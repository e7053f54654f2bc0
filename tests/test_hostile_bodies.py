"""Bodies made to hurt, sent to the real server: documented answers, others served, memory bounded."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests import databases
from tests.meanwhile import again_and_again
from tests.memory import MEGABYTE, growth_of_children
from tests.processes import PASSWORD, Process, Veilleur
from tests.stage import backup_body

ENDED = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIMIT = 64 * MEGABYTE
# A whole body, its text and the parts of that; one rare character takes as much room as four in both.
GROWTH = {"one rare character": 11}
USUAL_GROWTH = 6
PATIENCE_SECONDS = 120


@dataclass
class Others:
    """Somebody else who asks all the time, and what they were answered."""

    url: str
    answers: list[int] = field(default_factory=list)

    def asking(self) -> AbstractContextManager[None]:
        return again_and_again(self._ask, 0.05)

    def _ask(self) -> None:
        self.answers.append(requests.get(f"{self.url}/api/csrf", timeout=PATIENCE_SECONDS).status_code)


@dataclass
class Target:
    veilleur: Veilleur
    web: Process
    key: str

    def upload(self, body: bytes | Iterator[bytes], **headers: str) -> requests.Response:
        url = f"{self.veilleur.url}/api/upload"
        query = {"api_key": self.key}
        return requests.post(url, data=body, params=query, headers=headers, timeout=PATIENCE_SECONDS)

    def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes."""
        with socket.create_connection(("127.0.0.1", self.veilleur.port), PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    veilleur = Veilleur(tmp_path_factory.mktemp("hostile"))
    with veilleur.web() as web:
        yield Target(veilleur, web, veilleur.upload_key())
        assert "Traceback" not in web.output
        assert "database failed" not in web.output


def a_report(name: str, **top: object) -> bytes:
    return json.dumps(json.loads(backup_body(ENDED, name=name)) | top).encode()


def padded(report: bytes, part: bytes, size: int) -> bytes:
    """A good report of the size given: one more member holds the part again and again."""
    start = b'{"Strange":['
    count = (size - len(report) - len(start) - 3) // (len(part) + 1)
    body = start + b",".join([part] * count) + b"]," + report[1:]
    return body.ljust(size)


def chunks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + MEGABYTE] for start in range(0, len(body), MEGABYTE))


LINE = json.dumps("2026-11-20 01:02:03 +00 - [Information-X]: " + "x" * 150).encode()
# What is in a body of the largest size, and what it is answered.
LARGE: dict[str, tuple[bytes, int]] = {
    "log lines": (LINE, 200),
    "one rare character": (b'"' + b"x" * 150 + "\U0001f600".encode() + b'"', 200),
    "empty objects": (b"{}", 400),
    "numbers": (b"1e9", 400),
}


@pytest.mark.parametrize("content", LARGE)
def test_a_body_just_within_the_limit_takes_bounded_memory(target: Target, content: str) -> None:
    part, status = LARGE[content]
    body = padded(a_report(content), part, LIMIT)
    others = Others(target.veilleur.url)
    with growth_of_children(target.web.child.pid) as growth, others.asking():
        answer = target.upload(body)
    assert (answer.status_code, len(body)) == (status, LIMIT), answer.text
    most = GROWTH.get(content, USUAL_GROWTH)
    assert growth.peak_bytes < most * LIMIT, f"{growth.peak_bytes / LIMIT:.1f} times the body"
    assert set(others.answers) == {200}


def test_a_large_report_takes_three_times_its_size_at_most(target: Target) -> None:
    """One of long lines, as the log of a verbose client has them; what is kept for others comes first."""
    assert target.upload(a_report("small")).status_code == 200
    body = padded(a_report("verbose"), LINE, 20 * MEGABYTE)
    with growth_of_children(target.web.child.pid) as growth:
        answer = target.upload(body)
    assert answer.status_code == 200, answer.text
    assert growth.peak_bytes < 3 * len(body), f"{growth.peak_bytes / len(body):.1f} times the body"


def test_the_limit_is_the_same_without_a_length(target: Target) -> None:
    with growth_of_children(target.web.child.pid) as growth:
        within = target.upload(chunks(padded(a_report("chunked"), LINE, LIMIT)))
        beyond = target.upload(chunks(padded(a_report("too long"), LINE, LIMIT + 1)))
    assert (within.status_code, within.json()) == (200, {"success": True})
    assert (beyond.status_code, beyond.json()["error"]) == (413, "Too large")
    assert growth.peak_bytes < 2 * USUAL_GROWTH * LIMIT


def test_a_body_just_beyond_the_limit_is_refused_unread(target: Target) -> None:
    head = f"POST /api/upload?api_key={target.key} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 2}\r\n\r\n"
    with growth_of_children(target.web.child.pid) as growth:
        answer = target.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"Too large"' in answer
    assert growth.peak_bytes < 16 * MEGABYTE


@pytest.mark.parametrize("path", ["/api/upload", "/api/upload?api_key=vk_wrong"])
def test_a_stranger_is_refused_before_his_body_is_read(target: Target, path: str) -> None:
    """So he can't fill memory, disk or quarantine either."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", target.veilleur.port), PATIENCE_SECONDS) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/login", "/logout", "/api/auth/login", "/api/cron-config", "/api/cron/x"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_where_no_report_belongs_nobody_sends_more_than_a_form(target: Target, path: str, kind: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = (part if "multipart" in kind else b"a=") + b"x" * (2 * MEGABYTE)
    headers = {"Content-Type": kind}
    with growth_of_children(target.web.child.pid) as growth:
        answer = requests.post(
            target.veilleur.url + path, data=body, headers=headers, timeout=60, allow_redirects=False
        )
    assert answer.status_code in (302, 401, 413, 415)
    assert growth.peak_bytes < 24 * MEGABYTE


DEEP = 100_000
SHAPES: dict[str, Callable[[], bytes]] = {
    "deep lists": lambda: b"[" * DEEP + b"]" * DEEP,
    "deep objects": lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep data": lambda: b'{"Data":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a million keys": lambda: json.dumps({"Data": {f"key{each}": 1 for each in range(1_000_000)}}).encode(),
    "one key a million times": lambda: b"{" + b",".join([b'"Data":{}'] * 1_000_000) + b"}",
    "a million fields": lambda: b"&".join(b"field%d=1" % each for each in range(1_000_000)),
    "a million empty fields": lambda: b"a=" + b"&" * 1_000_000,
    "half a million escapes": lambda: b"message=" + b"%00" * 500_000,
    "a huge number": lambda: b'{"Data":{"ExaminedFiles":' + b"9" * 1_000_000 + b"}}",
    "quotes": lambda: b'{"a":"' + b'\\"' * 1_000_000,
    "nothing": lambda: b"",
    "zeros": lambda: bytes(1_000_000),
}


@functools.cache
def shaped(shape: str) -> bytes:
    return SHAPES[shape]()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_monstrous_shape_is_refused_in_words(target: Target, shape: str) -> None:
    body = shaped(shape)
    others = Others(target.veilleur.url)
    with growth_of_children(target.web.child.pid) as growth, others.asking():
        answer = target.upload(body, **{"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["missingFields"]
    assert growth.peak_bytes < 256 * MEGABYTE
    assert set(others.answers) == {200}


@pytest.mark.parametrize("shape", ["deep lists", "deep objects", "a million fields"])
@pytest.mark.parametrize("path", ["/api/auth/login", "/api/cron-config", "/login"])
def test_monsters_are_refused_at_every_door(target: Target, path: str, shape: str) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        headers = {"Content-Type": kind}
        body = shaped(shape)[:60_000]
        answer = requests.post(target.veilleur.url + path, data=body, headers=headers, timeout=60)
        assert answer.status_code in (400, 401, 413, 415), (kind, answer.text)


def test_a_compressed_body_is_refused_unopened(target: Target) -> None:
    bomb = gzip.compress(bytes(100 * MEGABYTE), compresslevel=1)
    for encoding in ("gzip", "x-gzip", "deflate", "br", "GZIP", "gzip, gzip", "identity"):
        with growth_of_children(target.web.child.pid) as growth:
            answer = target.upload(bomb, **{"Content-Encoding": encoding})
        assert (answer.status_code, answer.json()["error"]) == (415, "Unsupported media type"), encoding
        assert growth.peak_bytes < 32 * MEGABYTE


KINDS = [
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 5000,
    "application/x-www-form-urlencoded; charset=utf-7",
    "image/png",
    "x" * 5000,
    "é/ü",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_content_type_changes_nothing(target: Target, kind: str) -> None:
    name = f"kind {KINDS.index(kind)}"
    assert target.upload(a_report(name), **{"Content-Type": kind}).json() == {"success": True}
    assert target.upload(b"no report", **{"Content-Type": kind}).status_code == 400


PART = b'Content-Disposition: form-data; name="%s"\r\n'
MULTIPART: dict[str, bytes] = {
    "very many parts": b"".join(b"--b\r\n" + PART % b"username" + b"\r\nx\r\n" for _ in range(2000)),
    "an endless header": b"--b\r\n" + PART % (b"x" * 500_000),
    "very many headers": b"--b\r\n" + b"X-A: b\r\n" * 50_000,
    "no end": b"--b\r\n" + PART % b"username" + b"\r\n" + b"x" * 600_000,
    "a file with a way out": b"--b\r\n" + PART % b'f"; filename="../../x' + b"\r\nx\r\n--b--",
    "another encoding": b"--b\r\n"
    + PART % b"csrf_token"
    + b"Content-Type: a; charset=rot13\r\n\r\nx\r\n--b--",
    "a broken boundary": b"-" * 900_000,
}


@pytest.mark.parametrize("trick", MULTIPART)
def test_tricks_with_parts_lead_nowhere(target: Target, trick: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = requests.post(f"{target.veilleur.url}/login", data=MULTIPART[trick], headers=headers, timeout=60)
    assert answer.status_code in (400, 413), answer.status_code
    assert target.upload(MULTIPART[trick], **headers).status_code == 400


HEAD = b"POST /api/upload?api_key=%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n%s"
MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "a chunk of no number": (b"Transfer-Encoding: chunked", b"xyz\r\nabc\r\n0\r\n\r\n"),
    "a chunk of negative length": (b"Transfer-Encoding: chunked", b"-5\r\nabc\r\n0\r\n\r\n"),
    "a chunk too short": (b"Transfer-Encoding: chunked", b"5\r\nabcdefgh\r\n0\r\n\r\n"),
    "chunks without end": (b"Transfer-Encoding: chunked", b"5\r\nabcde\r\n"),
    "a chunk cut off": (b"Transfer-Encoding: chunked", b"fff\r\nabcde"),
    "a chunk with an endless line": (b"Transfer-Encoding: chunked", b"1;" + b"x" * 20_000),
    "a length and chunks": (b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 3\r\nContent-Length: 4", b"abc"),
    "a length of no number": (b"Content-Length: abc", b"abc"),
    "a negative length": (b"Content-Length: -1", b"abc"),
    "a body cut off": (b"Content-Length: 1000", b'{"Data":{}}'),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_request_that_is_not_well_formed_is_a_bad_request(target: Target, fault: str) -> None:
    header, body = MALFORMED[fault]
    answer = target.raw(HEAD % (target.key.encode(), header, body))
    assert b"missingFields" not in answer, "it was taken for a body"
    assert answer.split(b"\r\n", 1)[0] in (b"HTTP/1.1 400 BAD REQUEST", b"HTTP/1.1 400 Bad Request"), answer


def test_nothing_reaches_the_database_that_another_one_could_not_store(target: Target) -> None:
    """PostgreSQL takes no NUL in a text and no half of a character in any."""
    name = json.dumps("A\0B\ud800C\udfffD\x01\x7f\u202e")
    report = a_report("PLACE", LogLines=["PLACE"], Exception=None).replace(b'"PLACE"', name.encode())
    odd = {f'"{key}"'.encode() for key in ("machine-id", "machine-name", "backup-id")}
    for key in odd:
        assert key in report
    report = report.replace(b'"nas"', name.encode())
    assert target.upload(report).json() == {"success": True}
    raw = report.replace(b"\\u0000", b"\0").replace(b"\\ud800", b"\xed\xa0\x80")
    assert target.upload(raw).status_code in (200, 400)
    failed = a_report("failed", Exception="boom \0 \ud800").replace(b'"Success"', b'"Fat\\u0000al"')
    assert target.upload(failed).status_code == 200
    utf16 = report.decode().encode("utf-16-le", "surrogatepass")
    assert target.upload(utf16, **{"Content-Type": "x"}).status_code == 400
    for username in ("\0", "a\0b", "\ud800", "\udc00" * 50, "x" * 5_000):
        login = json.dumps({"username": username, "password": username})
        answer = requests.post(
            f"{target.veilleur.url}/api/auth/login",
            data=login,
            headers={"Content-Type": "application/json", "User-Agent": "x"},
            timeout=60,
        )
        assert answer.status_code in (401, 429)
    if databases.RUN.postgres is None:
        assert texts_that_only_sqlite_takes(target.veilleur.instance / "veilleur.db") == []


def texts_that_only_sqlite_takes(path: Path) -> list[tuple[str, str, str]]:
    found = []
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        tables = [
            row[0].decode() for row in database.execute("select name from sqlite_master where type='table'")
        ]
        assert {"job", "server", "report", "quarantined_body", "audit_entry", "login_failure"} <= set(tables)
        for table in tables:
            cursor = database.execute(f"select * from {table}")
            columns = [each[0] for each in cursor.description]
            kinds = {
                row[1].decode(): row[2].decode() for row in database.execute(f"pragma table_info({table})")
            }
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes) and kinds.get(column) != "BLOB" and not is_plain(value):
                        found.append((table, column, repr(value[:100])))
    return found


def is_plain(value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    halves = any(f"\\ud{each}" in text.lower() for each in "89abcdef")
    return "\0" not in text and "\\u0000" not in text and not halves


def test_what_a_client_sends_can_be_looked_at_afterwards(target: Target) -> None:
    """The pages show whatever is stored: names, reports, quarantined bodies."""
    session = requests.Session()
    url = target.veilleur.url
    credentials = {"username": "admin", "password": PASSWORD}
    deadline = time.monotonic() + 90
    while session.post(f"{url}/api/auth/login", json=credentials, timeout=60).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(1)
    for path in ("/", "/jobs/1", "/jobs/2", "/jobs/1/reports/1", "/quarantine", "/quarantine/1/raw"):
        assert session.get(url + path, timeout=PATIENCE_SECONDS).status_code == 200, path
