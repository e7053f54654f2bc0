"""Sockets whose every wait ends at one deadline, and plain words for what goes wrong on them."""

from __future__ import annotations

import functools
import math
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import certifi

from app.notify.cleaning import one_line

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class _Call(threading.local):
    ends = math.inf
    seconds = 0.0


_call = _Call()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Everything that this thread sends or reads on our sockets inside the block ends in time.

    A time-out of a socket holds for one read: a peer that sends a byte now and then would never meet it.
    """
    _call.ends, _call.seconds = time.monotonic() + seconds, seconds
    try:
        yield
    finally:
        _call.ends, _call.seconds = math.inf, 0.0


def left_seconds() -> float:
    """What is left of the call; TimeoutError when nothing is."""
    left = _call.ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline")
    return left


def _left_or_none() -> float | None:
    left = left_seconds()
    return None if math.isinf(left) else left


class BoundedSocket(socket.socket):
    """A plain socket under the deadline of the call."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(_left_or_none())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(_left_or_none())
        super().sendall(data, flags)


class BoundedTlsSocket(ssl.SSLSocket):
    """An encrypted socket under the deadline of the call."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(_left_or_none())
        super().do_handshake(block)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(_left_or_none())
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        self.settimeout(_left_or_none())
        return super().send(data, flags)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Trusts the system's authorities (a house's own included) and those that come with requests."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.sslsocket_class = BoundedTlsSocket
    return context


def _addresses(host: str, port: int) -> list[Any]:
    with suppress(OSError, UnicodeError):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return _look_up(host, port)


def _look_up(host: str, port: int) -> list[Any]:
    """In a thread of its own: the system's resolver knows no deadline."""
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=look_up, daemon=True, name="name-lookup").start()
    try:
        found = answer.get(timeout=_left_or_none())
    except queue.Empty:
        raise TimeoutError("deadline") from None
    if isinstance(found, UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from found
    if isinstance(found, Exception):
        raise found
    return found


def dial(host: str, port: int) -> BoundedSocket:
    """A connection to the first address of the host that answers; OSError of the last one otherwise."""
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _name, address in _addresses(host, port):
        connection = BoundedSocket(family, kind, protocol)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_left_or_none())
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, the first cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def plain_reason(error: BaseException) -> str:
    """What happened on the wire, in words that a person can act on; never a stack trace."""
    for cause in reversed(list(causes(error))):
        if isinstance(cause, TimeoutError):
            return f"did not answer within {_call.seconds:g} s" if _call.seconds else "did not answer in time"
        if words := _known_failure(cause):
            return words
    return f"could not be reached: {one_line(str(error)) or type(error).__name__}"


def _known_failure(cause: BaseException) -> str | None:
    match cause:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "name not found: the name service did not answer"
        case socket.gaierror():
            return "name not found"
        case ssl.SSLCertVerificationError(verify_message=words):
            return f"its certificate is not trusted: {words}"
        case ssl.SSLError(reason=words):
            return f"no encrypted connection: {words}; does this port speak TLS?"
        case ConnectionRefusedError():
            return "refused the connection"
        case ConnectionError():
            return "closed the connection without an answer"
        case OSError(errno=int(), strerror=str(words)):
            return f"could not be reached: {words}"
    return None
