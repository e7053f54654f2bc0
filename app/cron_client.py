"""The way to the cron service: pooled, bounded in time and size, and never off its base address."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from app.cron_line import Adapter, Exchange, Lines

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
        kept_connections: int = 8,
    ) -> None:
        """A GET takes at most read_seconds and a POST write_seconds, from connecting to the last byte.

        `kept_connections` is how many may stay open in each process: as many as work at a time.
        """
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
        self._lines = Lines(kept_connections)

    def get(self, path: str, query: bytes = b"") -> Answer:
        """Raises CronServiceUnavailable, and ValueError for a path that safe_path refuses."""
        request = self._prepared("GET", path, query)
        with self._exchange(self._read_seconds) as exchange:
            return self._exchanged(request, exchange)

    def tell(self, path: str, body: bytes, content_type: str, *, deadline_seconds: float) -> Answer:
        """A post of what does no harm when it arrives twice, so that it may go over a kept connection."""
        request = self._prepared("POST", path, b"", body, content_type)
        with self._exchange(deadline_seconds) as exchange:
            return self._exchanged(request, exchange)

    def _exchanged(self, request: requests.PreparedRequest, exchange: Exchange) -> Answer:
        adapter = self._own_lines().adapter
        try:
            response = self._send(request, exchange, adapter)
        except requests.ConnectionError:
            # The service closed the idle connection as we took it up: a fresh one deserves a try.
            if exchange.expired or not exchange.on_used_connection:
                raise
            adapter.close()
            response = self._send(request, exchange, adapter)
        return self._received(response, exchange)

    def post(
        self,
        path: str,
        query: bytes = b"",
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Answer:
        """As get, within write_seconds; sent once, whatever happens to it."""
        request = self._prepared("POST", path, query, body, content_type)
        with self._exchange(self._write_seconds) as exchange:
            # On a connection of its own: a kept one could be stale.
            adapter = Adapter(kept=1)
            try:
                return self._received(self._send(request, exchange, adapter), exchange)
            finally:
                adapter.close()

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

    def _send(
        self, request: requests.PreparedRequest, exchange: Exchange, adapter: Adapter
    ) -> requests.Response:
        left_seconds = exchange.left_seconds()
        exchange.on_used_connection = True
        # Not through the session, which would look for redirects, cookies and hooks in every answer.
        return adapter.send(
            request, stream=True, timeout=(min(self._connect_seconds, left_seconds), left_seconds)
        )

    def _received(self, response: requests.Response, exchange: Exchange) -> Answer:
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
    def _exchange(self, seconds: float) -> Iterator[Exchange]:
        with self._own_lines().reaper.watching(Exchange(seconds)) as exchange:
            try:
                yield exchange
            except (OSError, ValueError, OverflowError, HTTPError, zlib.error) as error:
                # ValueError and OverflowError: what urllib3 makes of a chunk of negative length.
                is_late = exchange.expired or isinstance(error, requests.Timeout)
                why = f"no whole answer within {seconds:g} s" if is_late else repr(error)
                raise CronServiceUnavailable(why) from error

    def _own_lines(self) -> Lines:
        # A fork copies open connections and the locks of threads that do not run in the child.
        if self._lines.process_id != os.getpid():
            self._lines = Lines(self._lines.kept)
        return self._lines

    def close(self) -> None:
        """Let go of the connections that are kept."""
        self._own_lines().adapter.close()


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
