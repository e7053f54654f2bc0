"""A stand-in for the cron service that misbehaves as its path asks, one raw socket a connection."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True)
class Arrived:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class FakeCron:
    """Answers on 127.0.0.1; `arrived` and `connections` tell what reached it.

    After `patience` requests a connection is closed at the next one, without an answer.
    """

    port: int = 0
    patience: int = 1_000_000
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def stop(self) -> None:
        """Close everything, as the death of the process would."""
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        for thread in self._threads:
            thread.join(60)
        self._threads.clear()

    def drop_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as incoming:
            requests = 0
            while (arrived := _read(incoming)) is not None:
                self.arrived.append(arrived)
                requests += 1
                if requests > self.patience:
                    break
                name = arrived.target.strip("/").split("?")[0].replace("-", "_")
                answer = FAULTS.get(name, echo)
                if not answer(self, connection, arrived):
                    break
        with self._lock:
            self._open.discard(connection)


def _read(incoming: BinaryIO) -> Arrived | None:
    line = incoming.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = []
    while (header := incoming.readline().decode("latin-1").rstrip("\r\n")) != "":
        key, _colon, value = header.partition(":")
        headers.append((key, value.strip()))
    length = next((int(value) for key, value in headers if key.lower() == "content-length"), 0)
    return Arrived(line[0], line[1], headers, incoming.read(length))


@contextmanager
def running() -> Iterator[FakeCron]:
    service = FakeCron()
    try:
        yield service
    finally:
        service.stop()


def send(connection: socket.socket, body: bytes, *headers: str, status: str = "200 OK") -> bool:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode("latin-1") + body)
    return True


def echo(service: FakeCron, connection: socket.socket, arrived: Arrived) -> bool:
    seen = {"method": arrived.method, "target": arrived.target, "headers": arrived.headers}
    body = json.dumps({**seen, "body": arrived.body.decode("latin-1")}).encode()
    return send(connection, body, "Content-Type: application/json")


def _raw(answer: bytes, *, keep: bool = False) -> Callable[[FakeCron, socket.socket, Arrived], bool]:
    def fault(service: FakeCron, connection: socket.socket, arrived: Arrived) -> bool:
        connection.sendall(answer)
        return keep

    return fault


def _drip(start: bytes, drop: bytes) -> Callable[[FakeCron, socket.socket, Arrived], bool]:
    def fault(service: FakeCron, connection: socket.socket, arrived: Arrived) -> bool:
        connection.sendall(start)
        while not service.stopping.wait(0.05):
            connection.sendall(drop)
        return False

    return fault


def _hang(service: FakeCron, connection: socket.socket, arrived: Arrived) -> bool:
    service.stopping.wait(20)
    return False


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
_TEXT = gzip.compress(b"plain words")
_BOMB = gzip.compress(bytes(300 * 1024 * 1024), compresslevel=1)

# Every way for an answer to be unusable: each must come out as "not running".
BROKEN: dict[str, Callable[[FakeCron, socket.socket, Arrived], bool]] = {
    "dies_before_answering": _raw(b""),
    "dies_in_status_line": _raw(b"HTTP/1.1 20"),
    "dies_in_headers": _raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "dies_between_headers": _raw(b"HTTP/1.1 200 OK\r\nServer: x\r\n"),
    "dies_in_body": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123"),
    "dies_in_chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123"),
    "bad_chunk_length": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n0123"),
    "negative_chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n0123"),
    "hugely_negative_chunk": _raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-%s\r\n01" % (b"9" * 30)
    ),
    "not_http": _raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "ancient_http": _raw(b"<html>no headers at all</html>"),
    "bad_status": _raw(b"HTTP/1.1 abc Fine\r\n\r\n"),
    "switching_protocols": _raw(b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n"),
    "status_999": _raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "two_lengths": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\n01234"),
    "endless_header": _raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
    "many_headers": _raw(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 500 + b"\r\n"),
    "ten_megabytes": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n" + bytes(10_485_760)),
    "ten_megabytes_chunked": _raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(bytes(10_485_760))
    ),
    "gzip_bomb": _raw(_GZIP + b"Content-Length: %d\r\n\r\n" % len(_BOMB) + _BOMB),
    "gzip_bomb_chunked": _raw(_GZIP + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(_BOMB)),
    "gzip_cut": _raw(_GZIP + b"Content-Length: 15\r\n\r\n" + _TEXT[:15]),
    "gzip_false": _raw(_GZIP + b"Content-Length: 11\r\n\r\nplain words"),
    "brotli": _raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"),
    "big_redirect": _raw(
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 10485760\r\n\r\n" + bytes(10_485_760)
    ),
}

# Every way for an answer never to end; a read time-out alone stops only the first.
ENDLESS: dict[str, Callable[[FakeCron, socket.socket, Arrived], bool]] = {
    "hangs": _hang,
    "drips_status": _drip(b"HTTP/1.1 ", b"2"),
    "drips_header": _drip(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "drips_interim": _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips_body": _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"a"),
    "drips_open_body": _drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"a"),
    "drips_chunks": _drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
}

FINE: dict[str, Callable[[FakeCron, socket.socket, Arrived], bool]] = {
    "error_500": lambda _s, c, _a: send(
        c, b'{"error": "x"}', "Content-Type: application/json", status="500 X"
    ),
    "no_content": _raw(b"HTTP/1.1 204 No Content\r\n\r\n", keep=True),
    "html": lambda _s, c, _a: send(c, b"<script>1</script>", "Content-Type: text/html; charset=utf-8"),
    "untyped": lambda _s, c, _a: send(c, b"?"),
    "odd_type": lambda _s, c, _a: send(c, b"?", "Content-Type: text/\x01plain"),
    "long_type": lambda _s, c, _a: send(c, b"?", "Content-Type: text/" + "a" * 300),
    "open_body": _raw(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold but whole"),
    "folded_type": lambda _s, c, _a: send(c, b"?", "Content-Type: text/plain\r\n X-Injected: 1"),
    "gzipped": _raw(_GZIP + b"Content-Length: %d\r\n\r\n" % len(_TEXT) + _TEXT, keep=True),
    "gzipped_chunked": _raw(_GZIP + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(_TEXT), keep=True),
    "redirect": lambda _s, c, _a: send(c, b"moved", "Location: /elsewhere", status="302 Found"),
    "cookie": lambda _s, c, _a: send(c, b"{}", "Set-Cookie: evil=1; Path=/", "X-Secret: 1"),
}

FAULTS = BROKEN | ENDLESS | FINE
