"""Real receivers for messages: a mail server and a web server that behave as a test tells them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

DRIP_SECONDS = 0.05


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections for as long as the block lasts."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll until the condition holds; AssertionError when it never does."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"nothing happened within {seconds} s"
        time.sleep(0.01)


@dataclass(frozen=True)
class Request:
    """One HTTP request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client_port: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """Records the request, then does what the receiver was told to do."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        receiver = self.server.receiver
        self._until = receiver.stopping
        receiver.record(Request(self.command, self.path, self.headers, body, self.client_address[1]))
        with contextlib.suppress(OSError):
            receiver.next_behaviour()(self)

    do_GET = do_POST = do_PUT = _take  # noqa: N815 - the names http.server calls

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the time given or until the receiver stops or lets go; True when it does."""
        return self._until.wait(seconds)

    def drip(self, content: bytes) -> None:
        """Send byte after byte, again and again, until one side gives up."""
        self.close_connection = True
        while not self.wait(DRIP_SECONDS):
            self.wfile.write(content[:1])
            content = content[1:] or b"x"

    def log_message(self, *_arguments: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def ok(body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    return status(200, body, headers)


def status(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    return lambda handler: handler.answer(code, body, headers)


def redirect(to: str, code: int = 302) -> Behaviour:
    return status(code, b"", {"Location": to})


def slow(seconds: float) -> Behaviour:
    """Answers 200, but only after a while."""

    def behave(handler: Handler) -> None:
        if not handler.wait(seconds):
            handler.answer(200, b"")

    return behave


def held() -> Behaviour:
    """Answers 200, but only when the receiver lets go."""

    def behave(handler: Handler) -> None:
        handler.wait()
        handler.answer(200, b"")

    return behave


def hang() -> Behaviour:
    """Takes the request and never says a word."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.wait()

    return behave


def reset() -> Behaviour:
    """Ends the connection with a reset instead of an answer."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return behave


def drip_headers() -> Behaviour:
    """A byte now and then, and the headers never end."""
    return lambda handler: handler.drip(b"HTTP/1.1 200 OK\r\nX-Endless: ")


def drip_body(code: int = 200) -> Behaviour:
    """The status at once, then a body that never ends."""

    def behave(handler: Handler) -> None:
        handler.send_response(code)
        handler.end_headers()
        handler.drip(b"")

    return behave


def flood(code: int, content: bytes) -> Behaviour:
    """The status, then the content again and again as fast as it goes."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.send_response(code)
        handler.end_headers()
        while not handler.wait(0):
            handler.wfile.write(content * 1000)

    return behave


def raw(content: bytes) -> Behaviour:
    """These bytes in place of an HTTP answer."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(content)

    return behave


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    receiver: HttpReceiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away, or talks no TLS, is part of the tests."""


class HttpReceiver:
    """A web server on a free port of 127.0.0.1: `with HttpReceiver() as receiver`.

    `behaviour` holds for every request, but for those that `queue` (a list of behaviours) has an entry for.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour or ok()
        self.queue: list[Behaviour] = []
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._tls = tls

    def start(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.receiver = self
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def release(self) -> None:
        """Let go of every request that hangs or drips at this moment."""
        held, self.stopping = self.stopping, threading.Event()
        held.set()

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def next_behaviour(self) -> Behaviour:
        with self._lock:
            return self.queue.pop(0) if self.queue else self.behaviour

    __enter__ = start

    def __exit__(self, *_reason: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Mail:
    """One mail as it arrived: the envelope, the raw bytes and what they say."""

    sender: str
    recipients: list[str]
    raw: bytes
    session_hello: str
    tls: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)  # type: ignore[return-value]

    @property
    def text(self) -> str:
        return str(self.message.get_content())


@dataclass
class SmtpReceiver:
    """A mail server on a free port of 127.0.0.1: `with SmtpReceiver() as receiver`.

    `refused` maps addresses to the answer to their RCPT; `hang_at` and `drip_at` name a stage ("connect",
    "hello", "sender", "recipient" or "data") at which it falls silent, or sends a byte now and then. With
    `drops_after_data` it takes the mail and ends the connection instead of saying so.
    """

    answer_to_data: str = "250 OK queued"
    refused: dict[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    hang_at: str = ""
    drip_at: str = ""
    drops_after_data: bool = False
    mails: list[Mail] = field(default_factory=list)

    def start(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._conversations: list[_Conversation] = []
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(60), "the mail server did not start"
        return self

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        tls = self.tls if self.implicit_tls else None
        server = await self._loop.create_server(self._protocol, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        for conversation in self._conversations:
            conversation.end()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await server.wait_closed()
        # The loop closes an aborted connection in its next round.
        await asyncio.sleep(0)

    def _protocol(self) -> SMTP:
        conversation = _Conversation(
            self,
            hostname="mail.example",
            tls_context=None if self.implicit_tls else self.tls,
            authenticator=self._authenticate if self.login else None,
            auth_require_tls=False,
            loop=self._loop,
        )
        self._conversations.append(conversation)
        return conversation

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        given = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.login, handled=False, auth_data=data)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)

    async def stage(self, name: str, writer: asyncio.StreamWriter | None) -> None:
        """Fall silent or drip when the test asked for it at this stage."""
        if self.hang_at == name:
            await self._stopping.wait()
        while self.drip_at == name and writer:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(DRIP_SECONDS)

    async def handle_EHLO(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, _envelope: Envelope, name: str, answers: list[str]
    ) -> list[str]:
        await self.stage("hello", server._writer)
        session.host_name = name
        return answers

    async def handle_MAIL(  # noqa: N802 - as above
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        await self.stage("sender", server._writer)
        if self.login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - as above
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        await self.stage("recipient", server._writer)
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        await self.stage("data", server._writer)
        self.mails.append(
            Mail(
                sender=envelope.mail_from or "",
                recipients=list(envelope.rcpt_tos),
                raw=bytes(envelope.content or b""),
                session_hello=session.host_name or "",
                tls=bool(session.ssl or self.implicit_tls),
                login=session.auth_data.login.decode() if session.auth_data else None,
            )
        )
        if self.drops_after_data and server.transport:
            server.transport.abort()
        return self.answer_to_data

    __enter__ = start

    def __exit__(self, *_reason: object) -> None:
        self.stop()


class _Conversation(SMTP):
    def end(self) -> None:
        for transport in (self.transport, self._original_transport):
            if transport is not None:
                transport.abort()

    async def _handle_client(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.event_handler.stage("connect", self._writer)
            await super()._handle_client()
