"""The web application's sign of life: as long as it is left, reports can be taken in."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from app import clock, downtime
from app.db import Database, reason

log = logging.getLogger(__name__)


class Presence:
    """A thread beside the requests, one in each worker process; begun only after the fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def rehearse(self) -> None:
        """Before a fork: what the first query makes is there once for all, and need not be copied by each."""
        configure_mappers()
        with contextlib.suppress(SQLAlchemyError):
            downtime.last_beat_at(self._database)
        self._database.dispose()

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        silent_seconds = None
        while True:
            began = _uptime_seconds()
            try:
                downtime.beat(self._database, clock.utcnow(), silent_seconds)
            except SQLAlchemyError as problem:
                log.error("no sign of life could be written: %s", reason(problem))
            time.sleep(downtime.BEAT_SECONDS)
            silent_seconds = _uptime_seconds() - began


def _uptime_seconds() -> float:
    """Of the machine, its sleep included; nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
