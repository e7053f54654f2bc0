"""What attempts came to, until it is written down: of many in one transaction, and again while it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from app.db import Database, is_out_of_reach, reason
from app.outbox import Claim, Ended, finish

log = logging.getLogger(__name__)

# What was sent is sent again when nobody can know of it: worth trying for long to write it down.
WRITING_SECONDS = 600
_MOST_TOGETHER = 256


class Ledger:
    """Filled by the threads that deliver, written by one dispatcher."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: list[Ended] = []
        self._is_failing = False

    def add(self, ended: Ended) -> None:
        with self._lock:
            self._waiting.append(ended)

    def write(self) -> list[Claim]:
        """Write what waits; returns whatever need not be thought of any longer."""
        with self._lock:
            entries = self._waiting[:_MOST_TOGETHER]
        done = self._settled(entries) if entries else []
        gone = set(done)
        with self._lock:
            self._waiting = [each for each in self._waiting if each not in gone]
        return [each.claim for each in done]

    def _settled(self, entries: Sequence[Ended]) -> list[Ended]:
        try:
            finish(self._database, entries)
        except SQLAlchemyError as problem:
            if is_out_of_reach(problem):
                return self._too_old(entries, problem)
            # Nothing that passes by itself: whatever it is that can't be written, the others can.
            if len(entries) > 1:
                return [done for each in entries for done in self._settled([each])]
            self._tell(entries[0], problem)
        self._is_failing = False
        return list(entries)

    def _too_old(self, entries: Sequence[Ended], problem: SQLAlchemyError) -> list[Ended]:
        """A locked, full or damaged database is worth another try, but not for ever."""
        if not self._is_failing:
            self._is_failing = True
            self._tell(entries[0], problem)
        latest = time.monotonic() - WRITING_SECONDS
        too_old = [each for each in entries if each.ended < latest]
        for each in too_old:
            self._tell(each, problem)
        return too_old

    def _tell(self, ended: Ended, problem: SQLAlchemyError) -> None:
        log.error("the outcome of delivery %s can't be written: %s", ended.claim.delivery_id, reason(problem))
