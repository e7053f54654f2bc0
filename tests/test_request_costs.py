"""What every request pays for, counted: queries, commits, writes to the disk, packets and threads."""

from __future__ import annotations

import math
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import event

from app import accounts, web_server
from app.clock import utcnow
from app.web_server import PatientSocket, TooSlow
from tests.fake_cron import FakeCron
from tests.processes import Veilleur
from tests.statements import noted
from tests.web import Site, site

HEAD, BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"body"
KEPT_CONNECTIONS = 60  # more than threads stay with, in both workers


@pytest.fixture
def cron() -> Iterator[FakeCron]:
    service = FakeCron()
    yield service
    service.stop()


@pytest.fixture
def here(tmp_path: Path, cron: FakeCron) -> Iterator[Site]:
    with site(tmp_path, CRON_SERVICE_URL=cron.url) as made:
        yield made


@contextmanager
def counted(here: Site, what: str) -> Iterator[list[str]]:
    """One entry for each event of the engine."""
    seen: list[str] = []

    def note(*given: object) -> None:
        seen.append(str(given[2]) if what == "before_cursor_execute" else what)

    event.listen(here.database.engine, what, note)
    try:
        yield seen
    finally:
        event.remove(here.database.engine, what, note)


@pytest.mark.parametrize("path", ["/api/cron-config", "/api/ping", "/api/cron/echo"])
def test_a_public_read_asks_the_database_nothing(here: Site, path: str) -> None:
    stranger = here.stranger()
    with counted(here, "before_cursor_execute") as statements:
        for headers in ({}, {"Cookie": "veilleur_session=somebody"}):
            assert stranger.get(path, headers=headers).status_code == 200
    assert statements == []


def test_a_save_is_two_writes_to_the_disk_and_one_commit(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, synced, fsync = here.administrator(), [], os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    with counted(here, "commit") as commits:
        assert admin.post("/api/cron-config", json={"interval": "5min"}).json == {"success": True}
    assert len(commits) == 1
    folder = here.interval_file.parent
    content, name = synced
    assert content.parent == folder
    assert name == folder, "the new name is on the disk last"


def test_saves_go_on_to_the_cron_service_on_one_connection(here: Site, cron: FakeCron) -> None:
    admin = here.administrator()
    for value in ("5min", "1hour", "20min"):
        assert admin.post("/api/cron-config", json={"interval": value}).json == {"success": True}
    assert [each.target for each in cron.arrived] == ["/reload-config"] * 3
    assert cron.connections == 1


def test_who_is_logged_in_is_one_query(here: Site) -> None:
    now = utcnow()
    with here.database.writing() as rows:
        user = accounts.add_user(rows, "another", "correct horse battery", "viewer", now)
        rows.flush()
        token = accounts.open_session(rows, user, address="", now=now, hours=1)
    with noted(here.database) as statements, here.database.asking() as rows:
        identity, _old = accounts.identify(rows, token, now)
    assert identity is not None
    assert identity.username == "another"
    assert len([each for each in statements if each.startswith("SELECT")]) == 1


def test_proxied_reads_begin_no_thread_each(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger, begun, start = here.stranger(), [], threading.Thread.start
    stranger.get("/api/cron/echo")

    def note(thread: threading.Thread) -> None:
        if thread.name == "cron-client-deadlines":
            begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    for _ in range(20):
        assert stranger.get("/api/cron/echo").status_code == 200
    assert len(begun) <= 4  # one lives for seconds


@pytest.fixture
def ends() -> Iterator[tuple[PatientSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with PatientSocket.of(ours) as patient, theirs:
        theirs.setblocking(False)
        yield patient, theirs


def test_the_head_of_an_answer_leaves_with_its_body(ends: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = ends
    for _request in range(2):
        patient.begin()
        patient.sendall(HEAD)
        with pytest.raises(BlockingIOError):
            client.recv(1000)
        patient.sendall(BODY)
        assert client.recv(1000) == HEAD + BODY
        patient.sendall(b"more")
        assert client.recv(1000) == b"more"
        patient.send_head()
        with pytest.raises(BlockingIOError):
            client.recv(1000)


def test_a_head_without_a_body_leaves_when_it_is_told_to(ends: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = ends
    patient.sendall(HEAD)
    patient.send_head()
    assert client.recv(1000) == HEAD


def test_a_head_leaves_before_a_file(ends: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = ends
    patient.sendall(HEAD)
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        file.seek(0)
        patient.sendfile(file)
    assert client.recv(1000) == HEAD + BODY


def test_what_has_arrived_is_taken_however_late(ends: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = ends
    client.send(b"late")
    patient._left_seconds = 0.0
    assert patient.recv(1000) == b"late"
    patient._left_seconds = 0.0
    with pytest.raises(TooSlow):
        patient.recv(1000)


def test_only_the_time_in_which_a_request_is_waited_for_counts(
    ends: tuple[PatientSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(web_server, "time", clock)
    patient, client = ends
    patient.begin()
    ahead[0] = 2 * patient.request_seconds  # as for a turn, or for large bodies of others to be done
    later = threading.Timer(0.05, client.send, (b"x",))
    later.start()
    assert patient.recv(1000) == b"x"
    later.join()
    assert 0 < patient._left_seconds < patient.request_seconds
    patient._left_seconds = 0.3
    with pytest.raises(TooSlow):
        patient.recv(1000)


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "SEND_SECONDS", 1)
    ours, theirs = socket.socketpair()
    with PatientSocket.of(ours) as patient, theirs, tempfile.TemporaryFile() as file:
        patient.sendall(HEAD)
        with pytest.raises(TooSlow):
            patient.sendall(bytes(4_000_000))
        file.truncate(4_000_000)
        with pytest.raises(TooSlow):
            patient.sendfile(file)


def test_a_time_out_that_is_set_holds(ends: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = ends
    patient._ends_at = math.inf
    for seconds in (0.0, 0.01):
        patient.settimeout(seconds)
        assert patient.gettimeout() == seconds
        with pytest.raises(TooSlow):
            patient.recv(1000)
    client.close()
    assert patient.recv(1000) == b""


def test_more_kept_connections_than_threads_stay_with_are_all_answered(tmp_path: Path) -> None:
    request = b"GET /api/ping HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        veilleur = Veilleur(tmp_path)
        stack.enter_context(veilleur.web())
        address = ("127.0.0.1", veilleur.port)
        kept = [
            stack.enter_context(closing(socket.create_connection(address, 30)))
            for _ in range(KEPT_CONNECTIONS)
        ]
        for _round in range(5):
            for each in kept:
                each.sendall(request)
            for each in kept:
                assert each.recv(65536).startswith(b"HTTP/1.1 200 ")
        kept[0].sendall(request.replace(b"GET", b"HEAD"))
        assert kept[0].recv(65536).endswith(b"\r\n\r\n")
        # Two at once on one connection, and one that is cut in the middle.
        kept[0].sendall(request * 2)
        said = b""
        while said.count(b"HTTP/1.1 200 ") < 2:
            said += kept[0].recv(65536)
        kept[1].sendall(request[:20])
        kept[2].sendall(request)
        assert kept[2].recv(65536).startswith(b"HTTP/1.1 200 ")
        kept[1].sendall(request[20:])
        assert kept[1].recv(65536).startswith(b"HTTP/1.1 200 ")
