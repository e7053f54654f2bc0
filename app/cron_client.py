"""The way to the cron service: pooled, bounded in time and size, and never off its base address."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError

_PATH = re.compile(r"[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*")
_LONE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class CronServiceUnavailable(Exception):
    """No usable answer from the cron service; the text says why and is meant for the log alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str | None


def safe_path(path: str) -> str | None:
    """The path itself when it is plain segments joined by single slashes; None for any other."""
    plain = len(path) <= 200 and _PATH.fullmatch(path)
    return path if plain and not {".", ".."} & set(path.split("/")) else None


class CronClient:
    """Calls the cron service with the shared token; to be shared by all threads, also over a fork."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        connect_seconds: float = 2.0,
        read_seconds: float = 5.0,
        write_seconds: float = 30.0,
        answer_limit_bytes: int = 5 * 1024 * 1024,
    ) -> None:
        """A GET takes at most read_seconds and a POST write_seconds, from connecting to the last byte."""
        self.base_url = base_url.rstrip("/")
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {token}",
            "User-Agent": "Veilleur",
        }
        self._plain_get = requests.Request("GET", self.base_url, headers).prepare()
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._write_seconds = write_seconds
        self._answer_limit_bytes = answer_limit_bytes
        self._lines = _Lines()

    def get(self, path: str, query: bytes = b"") -> Answer:
        """Raises CronServiceUnavailable, and ValueError for a path that safe_path refuses."""
        request = self._prepared("GET", path, query)
        with self._exchange(self._read_seconds) as exchange:
            try:
                response = self._send(request, exchange)
            except requests.ConnectionError:
                # The service closed the idle connection as we took it up: a fresh one deserves a try.
                if exchange.expired or not exchange.on_used_connection:
                    raise
                self._adapter().close()
                response = self._send(request, exchange)
            return self._received(response, exchange)

    def post(
        self,
        path: str,
        query: bytes = b"",
        body: bytes = b"",
        content_type: str | None = None,
        *,
        deadline_seconds: float | None = None,
    ) -> Answer:
        """As get, within write_seconds or the given deadline; sent once, whatever happens to it."""
        request = self._prepared("POST", path, query, body, content_type)
        seconds = self._write_seconds if deadline_seconds is None else deadline_seconds
        with self._exchange(seconds) as exchange:
            # Without an idle connection there is none that could be stale.
            self._adapter().close()
            return self._received(self._send(request, exchange), exchange)

    def _prepared(
        self, method: str, path: str, query: bytes, body: bytes = b"", content_type: str | None = None
    ) -> requests.PreparedRequest:
        if safe_path(path) is None:
            raise ValueError(f"not a path of the cron service: {path!r}")
        request = self._plain_get.copy()
        if method == "POST":
            request.method = method
            request.prepare_body(body or None, None)
        if plain_type := _plain(content_type):
            request.headers["Content-Type"] = plain_type
        # Set afterwards, since preparing would rewrite the query.
        request.url = f"{self.base_url}/{path}" + _query_part(query)
        return request

    def _send(self, request: requests.PreparedRequest, exchange: _Exchange) -> requests.Response:
        left_seconds = exchange.left_seconds()
        exchange.on_used_connection = True
        # Not through the session, which would look for redirects, cookies and hooks in every answer.
        return self._adapter().send(
            request, stream=True, timeout=(min(self._connect_seconds, left_seconds), left_seconds)
        )

    def _received(self, response: requests.Response, exchange: _Exchange) -> Answer:
        with response:
            # Headers, like a body without a length, seem to end where their connection is cut.
            exchange.left_seconds()
            if not 200 <= response.status_code <= 599:
                raise CronServiceUnavailable(f"status {response.status_code}")
            if not _has_an_end(response):
                raise CronServiceUnavailable("an answer that does not say where it ends")
            body = self._body(response)
        exchange.left_seconds()
        return Answer(response.status_code, body, _plain(response.headers.get("Content-Type")))

    def _body(self, response: requests.Response) -> bytes:
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise CronServiceUnavailable("an encoding that was not asked for")
        body = bytearray()
        for chunk in response.raw.stream(64 * 1024, decode_content=False):
            body += chunk
            if len(body) > self._answer_limit_bytes:
                raise CronServiceUnavailable(f"an answer of more than {self._answer_limit_bytes} bytes")
        if not body or encoding in {"", "identity"}:
            return bytes(body)
        return _inflated(bytes(body), self._answer_limit_bytes)

    @contextmanager
    def _exchange(self, seconds: float) -> Iterator[_Exchange]:
        with self._own_lines().reaper.watching(_Exchange(seconds)) as exchange:
            try:
                yield exchange
            except (OSError, ValueError, OverflowError, HTTPError, zlib.error) as error:
                # ValueError and OverflowError: what urllib3 makes of a chunk of negative length.
                is_late = exchange.expired or isinstance(error, requests.Timeout)
                why = f"no whole answer within {seconds:g} s" if is_late else repr(error)
                raise CronServiceUnavailable(why) from error

    def _own_lines(self) -> _Lines:
        # A fork copies open connections and the locks of threads that do not run in the child.
        if self._lines.process_id != os.getpid():
            self._lines = _Lines()
        return self._lines

    def _adapter(self) -> _Adapter:
        return self._own_lines().of_thread.adapter


def _plain(header: str | None) -> str | None:
    return header if header and re.fullmatch(r"[ -~]{1,200}", header) else None


def _has_an_end(response: requests.Response) -> bool:
    # Headers that break off look complete, but then they mostly lack what tells the length of the body.
    announced = any(name in response.headers for name in ("Content-Length", "Transfer-Encoding"))
    old_way = response.raw.version < 11 or response.headers.get("Connection", "").lower() == "close"
    return announced or old_way or response.status_code in (204, 304)


def _query_part(query: bytes) -> str:
    """The query as it came, but with every octet that a request line can't carry written as %XX."""
    return "?" + quote(_LONE_PERCENT.sub(b"%25", query), safe="%/?:@!$&'()*+,;=-._~") if query else ""


def _inflated(body: bytes, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    plain = inflater.decompress(body, limit_bytes + 1)
    if len(plain) > limit_bytes:
        raise CronServiceUnavailable(f"an answer of more than {limit_bytes} bytes")
    if not inflater.eof:
        raise CronServiceUnavailable("a compressed answer that is cut off")
    return plain


class _Exchange:
    """One request and its answer, with a handle by which its connection can be cut at the deadline."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds
        self.expired = False
        self.on_used_connection = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    def left_seconds(self) -> float:
        left = self.ends_at - time.monotonic()
        if self.expired or left <= 0:
            raise requests.Timeout
        return left

    def hold(self, connection: socket.socket) -> None:
        self.let_go()
        # A duplicate, because the number of a socket closed meanwhile may belong to another file.
        handle = socket.socket(
            connection.family, connection.type, connection.proto, fileno=os.dup(connection.fileno())
        )
        with self._lock:
            self._handle = handle
        if self.expired:
            self.cut()

    def cut(self) -> None:
        with self._lock, suppress(OSError):
            self.expired = True
            if self._handle:
                self._handle.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        with self._lock:
            if self._handle:
                self._handle.close()
            self._handle = None


class _Reaper:
    """Cuts exchanges at their deadline, on a thread that lives only while there is something to watch.

    A read time-out counts anew with every octet, so it never ends an answer that trickles in.
    """

    def __init__(self) -> None:
        self._exchanges: set[_Exchange] = set()
        self._earlier = threading.Condition()
        self._wakes_at: float | None = None

    @contextmanager
    def watching(self, exchange: _Exchange) -> Iterator[_Exchange]:
        self._add(exchange)
        _of_thread.exchange = exchange
        try:
            yield exchange
        finally:
            _of_thread.exchange = None
            with self._earlier:
                self._exchanges.discard(exchange)
            exchange.let_go()

    def _add(self, exchange: _Exchange) -> None:
        with self._earlier:
            self._exchanges.add(exchange)
            if self._wakes_at is None:
                threading.Thread(target=self._watch, name="cron-client-deadlines", daemon=True).start()
                self._wakes_at = exchange.ends_at
            elif exchange.ends_at < self._wakes_at:
                self._earlier.notify()

    def _watch(self) -> None:
        with self._earlier:
            while self._exchanges:
                self._wakes_at = min(exchange.ends_at for exchange in self._exchanges)
                self._earlier.wait(max(0.0, self._wakes_at - time.monotonic()))
                now = time.monotonic()
                for exchange in [each for each in self._exchanges if each.ends_at <= now]:
                    self._exchanges.discard(exchange)
                    exchange.cut()
            self._wakes_at = None


_of_thread = threading.local()


class _Connection(HTTPConnection):
    """Tells the thread's exchange which socket it uses."""

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _of_thread.exchange.on_used_connection = False
        _of_thread.exchange.hold(connection)
        return connection

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _of_thread.exchange.hold(self.sock)
        super().putrequest(*args, **kwargs)


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    """The way of requests to one address alone: it knows no environment, no cookies and no redirects."""

    _pool: ConnectionPool | None = None  # always the same, so it is looked up once

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        self._pool = self._pool or super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def close(self) -> None:
        self._pool = None
        super().close()

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """With what is asked for here; cookies are never looked at."""
        response = requests.Response()
        response.status_code, response.raw = resp.status, resp
        response.headers = CaseInsensitiveDict(resp.headers)
        return response


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.adapter = _Adapter(pool_connections=1, pool_maxsize=1)


class _Lines:
    """What belongs to one process: an adapter for each thread, and the reaper."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self.of_thread = _OfThread()
        self.reaper = _Reaper()
