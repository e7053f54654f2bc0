"""Tells somebody outside that checks are being made, so that a dead Veilleur is noticed there."""

from __future__ import annotations

import logging
import re
import threading
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app import clock
from app.notify import http
from app.notify.channel import DeliveryError
from app.notify.cleaning import MASK, mask

logger = logging.getLogger(__name__)

CALL_SECONDS = 10.0
PAUSE_SECONDS = 2.0  # before the one retry
_FAIL = "/fail"


class Heartbeat:
    """Calls the address after each completed check, on a thread of its own; at most one call waits.

    Nothing of the address but its host is ever logged or shown: who knows it could answer in our place.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._news = threading.Condition()
        self._waiting: bool | None = None  # how the newest check ended, until it is told
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._last_at: datetime | None = None
        self._is_ok: bool | None = None
        self._detail = ""

    def tell(self, succeeded: bool) -> None:
        """Have the end of a check told soon, in place of an older one that still waits; returns at once."""
        if not self._url:
            return
        with self._news:
            self._waiting = succeeded
            self._news.notify()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Give what is being told, or waits to be, this much time; then leave it."""
        with self._news:
            self._is_stopping = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def shown(self) -> dict[str, Any] | None:
        """Its last outcome for people; None when there is no address to call."""
        if not self._url:
            return None
        with self._news:
            return {"lastAt": clock.iso(self._last_at), "ok": self._is_ok, "detail": self._detail}

    def _run(self) -> None:
        while (succeeded := self._next()) is not None:
            detail = self._call(succeeded)
            if detail is not None and not self._has_news(PAUSE_SECONDS):
                detail = self._call(succeeded)
            self._note(succeeded, detail)

    def _next(self) -> bool | None:
        with self._news:
            self._news.wait_for(self._is_wanted)
            succeeded, self._waiting = self._waiting, None
            return succeeded

    def _is_wanted(self) -> bool:
        return self._waiting is not None or self._is_stopping

    def _has_news(self, timeout_seconds: float) -> bool:
        with self._news:
            return self._news.wait_for(self._is_wanted, timeout_seconds)

    def _call(self, succeeded: bool) -> str | None:
        """Why it failed; None when it did not."""
        try:
            http.deliver("GET", self._url if succeeded else fail_url(self._url), b"", {}, CALL_SECONDS)
        except DeliveryError as problem:
            # The receiver's own words may repeat the address.
            status = re.match(r"answered \d+", str(problem))
            return status[0] if status else self._without_secrets(str(problem))
        return None

    def _without_secrets(self, text: str) -> str:
        parts = urlsplit(self._url)
        for secret in (self._url, parts.path.strip("/"), parts.query):
            text = text.replace(secret, MASK) if secret else text
        return mask(text)

    def _note(self, succeeded: bool, problem: str | None) -> None:
        was_ok = self._is_ok
        with self._news:
            self._last_at, self._is_ok = clock.utcnow(), problem is None
            self._detail = problem or ("check completed" if succeeded else "failed check reported")
        if problem is not None and was_ok is not False:
            logger.warning("the heartbeat to %s failed: %s", urlsplit(self._url).hostname, problem)
        elif problem is None and was_ok is False:
            logger.info("the heartbeat to %s works again", urlsplit(self._url).hostname)


def fail_url(url: str) -> str:
    """The address with /fail added to its path; what follows the path stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _FAIL))
