"""One careful HTTP call: no redirects, no cookies, no proxy variables, a bounded time and answer."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import functools
import http.client
import http.cookiejar
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from flask_babel import lazy_gettext as _
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from app.notify import wire
from app.notify.channel import ConfigError, DeliveryError, Receipt, shortened
from app.notify.cleaning import mask, one_line

LARGEST_ANSWER_BYTES = 64 * 1024
LONGEST_QUOTE = 200
LONGEST_PAUSE_SECONDS = 24 * 3600
# Its debug records carry whole paths, and the token of many a web hook is a path.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

_FAULTS = (OSError, UnicodeError, http.client.HTTPException, urllib3.exceptions.HTTPError)
# A wait may help for these although they are 4xx.
_PASSING = {408, 421, 425, 429}


class _Honest:
    """Where a receiver resets the connection during the request, urllib3 is left without a socket to read."""

    def getresponse(self) -> Any:
        if self.sock is None:  # type: ignore[attr-defined]
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return super().getresponse()  # type: ignore[misc]


class _Connection(_Honest, HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return wire.dial(self._dns_host, self.port or 80)


class _TlsConnection(_Honest, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return wire.dial(self._dns_host, self.port or 443)


class _KeptForARow:
    """Keeps a connection only within a row of messages, where the next one follows at once: later the
    receiver may just be dropping it."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        _local.is_used_again = conn.sock is not None
        return conn

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and not _local.is_in_a_row:
            conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _Pool(_KeptForARow, HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(_KeptForARow, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def __init__(self, *given: Any, **options: Any) -> None:
        # Not before there is one to call over TLS: the authorities take 3 MB.
        super().__init__(*given, **{**options, "ssl_context": wire.tls_context()})


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context already knows its authorities; loading them for each connection costs 10 ms."""


class _Sessions(threading.local):
    def __init__(self) -> None:
        self.is_in_a_row = False
        self.is_used_again = False
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self.session.mount("http://", _Adapter())
        self.session.mount("https://", _Adapter())


_local = _Sessions()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `words` is a short, masked quotation of the body, empty when there was none."""

    status: int
    reason: str
    content_type: str
    words: str


def checked_url(field: str, text: str) -> str:
    """An absolute http(s) URL that can be called; ConfigError otherwise."""
    if not _can_be_called(text):
        raise ConfigError(field, _("an address such as https://host/path"))
    return text


@functools.lru_cache(256)
def _can_be_called(url: str) -> bool:
    if not re.fullmatch(r"(?i)https?://[^\s\\]+", url):
        return False
    try:
        parts = urllib3.util.parse_url(_prepared("POST", url).url or "")
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError):
        return False
    return bool(parts.host) and parts.port != 0


def deliver(
    method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
) -> tuple[Receipt, Answer]:
    """Send once; DeliveryError unless the answer is 2xx."""
    with wire.within(timeout_seconds):
        try:
            answer, passed_on = _call_fresh_if_dropped(method, url, body, headers)
        except _FAULTS as error:
            raise DeliveryError(_words_of(error)) from error
    if 200 <= answer.status < 300:
        return Receipt(_status_line(answer)), answer
    raise _refusal(answer, passed_on)


@contextlib.contextmanager
def in_a_row() -> Iterator[None]:
    """What this thread sends inside the block follows closely: receivers get it on one connection each."""
    _local.is_in_a_row = True
    try:
        yield
    finally:
        _local.is_in_a_row = False
        _local.session.close()


def _call_fresh_if_dropped(
    method: str, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[Answer, Mapping[str, str]]:
    """A connection that is used again may have been dropped meanwhile, which says nothing of the receiver."""
    try:
        return _call(method, url, body, headers)
    except _FAULTS as error:
        is_dropped = any(isinstance(each, ConnectionError) for each in wire.causes(error))
        if not (is_dropped and _local.is_used_again):
            raise
    return _call(method, url, body, headers)


@functools.lru_cache(256)
def _prepared(method: str, url: str) -> requests.PreparedRequest:
    """Taken apart and checked once, since many messages go to the same few addresses. To be copied."""
    return requests.Request(method, url).prepare()


def _call(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, Mapping[str, str]]:
    request = _prepared(method, url).copy()
    request.headers.update({"User-Agent": "Veilleur", "Accept": "*/*", "Accept-Encoding": "identity"})
    if not _local.is_in_a_row:
        request.headers["Connection"] = "close"
    request.headers.update(headers)
    request.prepare_body(body, None)
    response = _local.session.send(request, allow_redirects=False, stream=True, timeout=None, proxies={})
    with response:
        words = _quotation(response)
        answer = Answer(
            response.status_code,
            shortened(one_line(response.reason or ""), 60),
            response.headers.get("Content-Type", "").lower(),
            words,
        )
        return answer, response.headers


def _quotation(response: requests.Response) -> str:
    """The status has arrived, so a body that breaks off or drips changes nothing about the outcome."""
    try:
        raw = response.raw.read(LARGEST_ANSWER_BYTES, decode_content=False)
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError):
        return ""
    text = re.sub(r"(?s)<(style|script)\b.*?</\1>|<[^>]*>", " ", raw.decode("utf-8", "replace"))
    return shortened(mask(one_line(text)), LONGEST_QUOTE)


def _words_of(error: Exception) -> str:
    for cause in wire.causes(error):
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, ConnectionError):
            return "did not answer as a web server does"
    return wire.plain_reason(error)


def _status_line(answer: Answer) -> str:
    return f"{answer.status} {answer.reason}".strip()


def _refusal(answer: Answer, headers: Mapping[str, str]) -> DeliveryError:
    if 300 <= answer.status < 400:
        target = mask(one_line(headers.get("Location", "")))
        to = f" to {target}" if target else ""
        return DeliveryError(
            f"answered {answer.status}: a redirect{to}, which is not followed; enter the final address",
            permanent=True,
        )
    words = answer.words or answer.reason
    return DeliveryError(
        f"answered {answer.status}: {words}" if words else f"answered {answer.status}",
        permanent=400 <= answer.status < 500 and answer.status not in _PASSING,
        retry_after_seconds=_pause_seconds(headers),
    )


def _pause_seconds(headers: Mapping[str, str]) -> int | None:
    """Retry-After in seconds; a date is measured against the receiver's own clock."""
    wish = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", wish):
        return min(int(wish), LONGEST_PAUSE_SECONDS)
    try:
        until = email.utils.parsedate_to_datetime(wish)
        told = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        seconds = int((until - told).total_seconds())
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0), LONGEST_PAUSE_SECONDS)
