"""The connections to the cron service: kept, one process apart from another, and cut at a deadline."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool


class Exchange:
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
        self._exchanges: set[Exchange] = set()
        self._earlier = threading.Condition()
        self._wakes_at: float | None = None

    @contextmanager
    def watching(self, exchange: Exchange) -> Iterator[Exchange]:
        self._add(exchange)
        _of_thread.exchange = exchange
        try:
            yield exchange
        finally:
            _of_thread.exchange = None
            with self._earlier:
                self._exchanges.discard(exchange)
            exchange.let_go()

    def _add(self, exchange: Exchange) -> None:
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


class Adapter(HTTPAdapter):
    """The way of requests to one address alone: it knows no environment, no cookies and no redirects."""

    _pool: ConnectionPool | None = None  # the same until it is closed, so it is looked up once

    def __init__(self, kept: int) -> None:
        """`kept` is how many connections may stay open while nothing goes over them."""
        super().__init__(pool_connections=1, pool_maxsize=kept)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        pool = self._pool
        if pool is None:
            pool = self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return pool

    def close(self) -> None:
        self._pool = None
        super().close()

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """With what is asked for here; cookies are never looked at."""
        response = requests.Response()
        response.status_code, response.raw = resp.status, resp
        response.headers = CaseInsensitiveDict(resp.headers)
        return response


class Lines:
    """What belongs to one process: the adapter of all its threads, and the reaper.

    Not one for each thread: of those there may be hundreds, each would keep a connection, and the service
    takes no more than a hundred.
    """

    def __init__(self, kept: int) -> None:
        self.process_id = os.getpid()
        self.kept = kept
        self.adapter = Adapter(kept)
        self.reaper = _Reaper()
