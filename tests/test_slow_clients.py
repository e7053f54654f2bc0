"""Clients that send a byte now and then hold up nobody: plain gunicorn for hundreds, nginx in front of it."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests import nginx
from tests.meanwhile import again_and_again
from tests.processes import Veilleur, until
from tests.stage import NOON, backup_body

SLOW = 150
ANSWER_SECONDS = 25


@dataclass
class Drips:
    """Connections with an unfinished request each; half of them with an unfinished body."""

    port: int
    key: str
    connections: list[socket.socket] = field(default_factory=list)
    answers: dict[socket.socket, bytes] = field(default_factory=dict)

    def open(self) -> None:
        head = b"GET /api/ping HTTP/1.1\r\nHost: x\r\nX-Slow: "
        upload = b"POST /api/upload?api_key=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{"
        chunked = (
            b"POST /api/upload?api_key=%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"
        )
        for number in range(SLOW):
            connection = socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS)
            unfinished = (head, upload % self.key.encode(), chunked % self.key.encode(), b"")[number % 4]
            connection.sendall(unfinished)
            self.connections.append(connection)

    def drip(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.send(b"x")

    def all_ended(self) -> bool:
        """Whether the server has closed every connection that began a request; keeps what it said."""
        begun = [each for number, each in enumerate(self.connections) if number % 4 != 3]
        waiting = [each for each in begun if not self.answers.get(each, b"").endswith(b"END")]
        for connection in select.select(waiting, [], [], 0)[0]:
            try:
                said = connection.recv(65536)
            except OSError:
                said = b""
            self.answers[connection] = self.answers.get(connection, b"") + (said or b"END")
        return not waiting

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


@contextlib.contextmanager
def slow_clients(port: int, key: str) -> Iterator[Drips]:
    drips = Drips(port, key)
    try:
        drips.open()
        with again_and_again(drips.drip, 0.2):
            yield drips
    finally:
        drips.close()


def work(url: str, key: str, name: str) -> None:
    """What everybody else does meanwhile; each within the time a client of ours would wait."""
    query = {"api_key": key}
    for number in range(5):
        assert requests.get(f"{url}/api/ping", timeout=ANSWER_SECONDS).status_code == 200
        body = backup_body(NOON, name=f"{name} {number}")
        answer = requests.post(f"{url}/api/upload", data=body, params=query, timeout=ANSWER_SECONDS)
        assert answer.json() == {"success": True}
        assert requests.get(f"{url}/login", timeout=ANSWER_SECONDS).status_code == 200


def test_slow_clients_hold_up_nobody_on_gunicorn_alone(tmp_path: Path) -> None:
    """Far more of them than there are threads that work, and none is let go for a long time."""
    veilleur = Veilleur(tmp_path, {"VEILLEUR_REQUEST_SECONDS": "600"})
    with veilleur.web(), slow_clients(veilleur.port, veilleur.upload_key()) as drips:
        work(f"http://127.0.0.1:{veilleur.port}", drips.key, "beside slow clients")
        drips.all_ended()
        assert drips.answers == {}, "they were to be slow all the time"


def test_whoever_takes_too_long_is_told_so_and_let_go(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, {"VEILLEUR_REQUEST_SECONDS": "3"})
    with veilleur.web() as web, slow_clients(veilleur.port, veilleur.upload_key()) as drips:
        work(f"http://127.0.0.1:{veilleur.port}", drips.key, "beside slow clients")
        until(drips.all_ended, "the end of every slow request", 60)
        said = list(drips.answers.values())
        too_slow = [each for each in said if each.startswith(b"HTTP/1.1 408 ") and b'{"error":' in each]
        malformed = [each for each in said if each.startswith(b"HTTP/1.1 400 ")]
        assert len(too_slow) >= SLOW // 4
        assert len(too_slow) + len(malformed) + said.count(b"END") == len(said)
        assert "Traceback" not in web.output


def test_a_client_that_is_slow_but_steady_is_waited_for(tmp_path: Path) -> None:
    """Each 16 kB give a second more: a large report over a thin line is taken."""
    veilleur = Veilleur(tmp_path, {"VEILLEUR_REQUEST_SECONDS": "2"})
    body = backup_body(NOON).ljust(512 * 1024)

    def steadily() -> Iterator[bytes]:
        pause = threading.Event()
        for start in range(0, len(body), 64 * 1024):
            yield body[start : start + 64 * 1024]
            pause.wait(0.4)

    with veilleur.web():
        query = {"api_key": veilleur.upload_key()}
        answer = requests.post(f"{veilleur.url}/api/upload", data=steadily(), params=query, timeout=60)
        assert answer.json() == {"success": True}


def test_clients_that_keep_what_they_were_sent_open_hold_up_nobody(tmp_path: Path) -> None:
    """The server closes first, and they do not: it must not wait for them where it accepts others."""
    veilleur = Veilleur(tmp_path)
    with veilleur.web(), contextlib.ExitStack() as stack:
        for _ in range(SLOW):
            address = ("127.0.0.1", veilleur.port)
            connection = stack.enter_context(socket.create_connection(address, ANSWER_SECONDS))
            connection.sendall(b"GET /api/ping HTTP/1.0\r\n\r\n")
        work(f"http://127.0.0.1:{veilleur.port}", veilleur.upload_key(), "beside lingerers")


def test_slow_clients_hold_up_nobody_behind_nginx(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, {"VEILLEUR_TRUSTED_PROXIES": "1"})
    with contextlib.ExitStack() as stack:
        stack.enter_context(veilleur.web())
        front = stack.enter_context(nginx.running(veilleur))
        drips = stack.enter_context(slow_clients(front.http_port, front.upload_key))
        work(f"http://127.0.0.1:{front.http_port}", front.upload_key, "behind nginx")
        drips.all_ended()
        assert drips.answers == {}
        work(veilleur.url, front.upload_key, "beside nginx")


@pytest.mark.parametrize("seed", range(3))
def test_noise_on_the_wire_is_survived(tmp_path: Path, seed: int) -> None:
    noise = random.Random(seed)  # noqa: S311  (no secret)
    veilleur = Veilleur(tmp_path)
    with veilleur.web() as web:
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", veilleur.port), ANSWER_SECONDS) as connection:
                start = noise.choice(
                    [b"", b"GET ", b"POST /api/upload HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\n"]
                )
                with contextlib.suppress(OSError):
                    connection.sendall(start + noise.randbytes(noise.randrange(2000)))
                    if noise.random() < 0.5:
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(65536)
        work(veilleur.url, veilleur.upload_key(), "after noise")
        assert "Traceback" not in web.output
