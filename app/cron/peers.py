"""Passes the interval on to the cron services of other machines, which may have been down at its save."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from app import clock, interval, interval_exchange, service_health
from app.cron_client import CronClient, CronServiceUnavailable

EVERY_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Peers:
    """A thread, where there are any. Each obeys what it is told if that is newer than what it knows."""

    def __init__(self, path: Path, peers: Sequence[CronClient]) -> None:
        self._path = path
        self._peers = peers
        self._wanted = threading.Event()
        self._is_stopping = False
        self._silent: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    def start(self) -> None:
        if self._peers:
            self._thread.start()

    def pass_on(self) -> None:
        """At once: somebody knew an older interval."""
        self._wanted.set()

    def stop(self, timeout_seconds: float) -> None:
        self._is_stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._is_stopping:
            self._wanted.clear()
            self._tell_all()
            self._wanted.wait(EVERY_SECONDS)

    def _tell_all(self) -> None:
        try:
            body = interval_exchange.to_pass_on(self._path, clock.utcnow())
        except (interval.IntervalFileDamaged, OSError):
            return  # told by the loop
        for each in self._peers:
            if body and not self._is_stopping:
                self._tell(each, body)

    def _tell(self, peer: CronClient, body: bytes) -> None:
        try:
            answer = service_health.tell(peer, body)
        except CronServiceUnavailable as problem:
            self._note(peer, str(problem))
        else:
            self._note(peer, None if answer.status == 200 else f"status {answer.status}")

    def _note(self, peer: CronClient, fault: str | None) -> None:
        # Once for each silence, not every time.
        if fault is None:
            self._silent.discard(peer.base_url)
        elif peer.base_url not in self._silent:
            self._silent.add(peer.base_url)
            logger.warning("%s can't be told of the interval now: %s", peer.base_url, fault)
