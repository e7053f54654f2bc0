"""gunicorn's worker with threads, made patient: slow clients take neither its turns nor its memory."""

from __future__ import annotations

import contextlib
import errno
import io
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException
from gunicorn.workers import gthread
from werkzeug.exceptions import BadRequest, RequestTimeout

if TYPE_CHECKING:
    from socket import _SendableFile
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Threads that may wait for their clients, beside those that work. They cost little but their number.
PATIENT_THREADS = 192
SLOWEST_BYTES_PER_SECOND = 16 * 1024
LARGE_BYTES = 1024 * 1024
LARGE_AT_ONCE = 2
_CUT_OFF = "The body is cut off or not well formed."
_FIRST_DATA_SECONDS = 0.1
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024
SEND_SECONDS = 30  # for so long may a client take nothing of what it is sent
# Whoever was answered often asks again at once: for so long his thread waits for it, and so many do.
_STAY_SECONDS = 0.05
_MOST_STAYING = 16
_COURTESY_SECONDS = 0.0001  # in which an idle worker wakes up and takes the connection
_LARGEST_HEAD_BYTES = 16 * 1024
_AT_ONCE = int(socket.MSG_DONTWAIT)  # a number: joining flags as such takes longer than the call


class TooSlow(TimeoutError):
    """The client takes too long to send its request, or to take the answer."""

    def __init__(self) -> None:
        # With this number gunicorn treats it as it does a client that went away.
        super().__init__(errno.ECONNRESET, "the client takes too long")


class PatientSocket(socket.socket):
    """A connection whose requests have a time to arrive in, longer the more of them is there.

    Only the time counts in which they are waited for here: a client that waits for us is not slow.
    To the kernel it blocks, always: telling it otherwise before and after each request, as gunicorn does,
    is most of what a small request costs there.
    """

    request_seconds = 30.0
    _given: float | None = None

    @classmethod
    def of(cls, plain: socket.socket) -> PatientSocket:
        made = cls(fileno=plain.detach())
        socket.socket.settimeout(made, None)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        made.begin()
        return made

    def begin(self) -> None:
        """A new request, with all its time."""
        self._left_seconds = self.request_seconds
        self._head = b""
        self._is_answered = False

    def settimeout(self, seconds: float | None) -> None:
        self._given = seconds

    def gettimeout(self) -> float | None:
        return self._given

    def setblocking(self, blocking: bool) -> None:
        self._given = None if blocking else 0.0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As ever, within the time-out that is set and the time that is left."""
        try:
            data = super().recv(size, flags | _AT_ONCE)
        except BlockingIOError:
            self._wait()
            data = super().recv(size, flags)
        self._left_seconds += len(data) / SLOWEST_BYTES_PER_SECOND
        return data

    def _wait(self) -> None:
        seconds = self._left_seconds if self._given is None else min(self._left_seconds, self._given)
        began = time.monotonic()
        if not self.is_readable_within(seconds):
            raise TooSlow
        self._left_seconds = max(0.0, self._left_seconds - (time.monotonic() - began))

    def is_readable_within(self, seconds: float) -> bool:
        """Whether there is something to receive, or the end of it all."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]  # gunicorn sends bytes
        """The head of an answer leaves together with what comes first of its body."""
        if not self._is_answered and len(data) <= _LARGEST_HEAD_BYTES:
            self._head = data
        else:
            self._send_all(self._head + data if self._head else data, flags)
            self._head = b""
        self._is_answered = True

    def _send_all(self, data: bytes, flags: int) -> None:
        try:
            super().sendall(data, flags)
        except BlockingIOError:
            raise TooSlow from None

    def send_head(self) -> None:
        """Of an answer without a body."""
        if self._head:
            self.sendall(b"")

    def sendfile(self, file: _SendableFile, offset: int = 0, count: int | None = None) -> int:
        self.send_head()
        given, self._given = self._given, SEND_SECONDS
        try:
            return super().sendfile(file, offset, count)
        except TimeoutError:
            raise TooSlow from None
        finally:
            self._given = given

    def linger(self) -> None:
        """Say that nothing more comes, and wait a little for the client to have read it."""
        self._left_seconds = _LINGER_SECONDS
        drained = 0
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_WR)
            while drained < _LINGER_BYTES and (data := self.recv(4096)):
                drained += len(data)
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


class Turns:
    """Lets so many requests work at a time. Whoever waits for the body of his request gives his turn away."""

    def __init__(self, app: WSGIApplication, working: int) -> None:
        self._app = app
        self._turns = threading.BoundedSemaphore(working)
        self._large = threading.BoundedSemaphore(LARGE_AT_ONCE)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = _Body(environ["wsgi.input"], self, int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = body
        try:
            with self._turns:
                return self._app(environ, start_response)
        finally:
            if body.is_large:
                self._large.release()

    @contextlib.contextmanager
    def given_away(self) -> Iterator[None]:
        self._turns.release()
        try:
            yield
        finally:
            self._turns.acquire()

    def admit_large(self) -> None:
        """Wait until few enough large bodies are in memory."""
        self._large.acquire()


class _Body(io.RawIOBase):
    """The body of a request as the application reads it."""

    def __init__(self, stream: Any, turns: Turns, announced: int) -> None:
        self._stream = stream
        self._turns = turns
        self._announced = announced
        self._received = 0
        self.is_large = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._turns.given_away():
            if self._received > LARGE_BYTES and not self.is_large:
                self._turns.admit_large()
                self.is_large = True
            data = self._read(len(buffer))
        if not data and self._received < self._announced:
            raise BadRequest(_CUT_OFF)  # gunicorn would pass it for whole
        self._received += len(data)
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except TooSlow:
            raise RequestTimeout("The body took too long to arrive.") from None
        except (OSError, ParseException):
            raise BadRequest(_CUT_OFF) from None
        return data


class PatientWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """Reads requests on threads of which there are many, and works on as many at a time as are set."""

    wsgi: WSGIApplication

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._staying = threading.BoundedSemaphore(_MOST_STAYING)

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.cfg.threads + PATIENT_THREADS, thread_name_prefix="request")

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = Turns(self.wsgi, self.cfg.threads)

    def accept(self, listener: socket.socket) -> None:
        # Of connections that come together and stay, one worker would often get all.
        if self.nr_conns:
            time.sleep(_COURTESY_SECONDS)
        super().accept(listener)

    def handle(self, conn: gthread.TConn) -> object:
        if not isinstance(conn.sock, PatientSocket):
            conn.sock = PatientSocket.of(conn.sock)
        # A connection that brings nothing yet waits where it costs no thread. Who comes in the moment of
        # stopping has no such place and is waited for here.
        seconds = _FIRST_DATA_SECONDS if self.alive else _LINGER_SECONDS
        if not conn.initialized and not conn.data_ready:
            conn.data_ready = conn.sock.is_readable_within(seconds)
            if not conn.data_ready:
                return gthread._DEFER
        goes_on = self._answer(conn)
        while goes_on and self._asks_again(conn):
            goes_on = self._answer(conn)
        if not goes_on:
            # Here rather than where gunicorn does it: its loop would accept nobody for as long.
            conn.sock.linger()
        return goes_on

    def _answer(self, conn: gthread.TConn) -> bool:
        conn.sock.begin()
        goes_on = super().handle(conn)
        try:
            conn.sock.send_head()
        except OSError:
            return False
        return bool(goes_on)

    def _asks_again(self, conn: gthread.TConn) -> bool:
        """Whether the next request comes so soon that going back to gunicorn's loop would cost more."""
        if not self.alive or conn.parser.unreader.buf.getvalue() or not self._staying.acquire(blocking=False):
            return False
        try:
            asks: bool = conn.sock.is_readable_within(_STAY_SECONDS)
        finally:
            self._staying.release()
        return asks

    def _cap_keepalive(self, deadline: float) -> None:
        """What never brought anything (browsers connect ahead) holds up a stop no longer than others do."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)
