"""Writes down the end of a disabled time, which is in force whether or not that succeeds."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app import audit, clock, interval
from app.db import Database, reason
from app.interval import CronConfig

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


class Resumption:
    """For the loop's thread alone."""

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        self._database = database
        self._retry_at = 0.0

    def is_due(self) -> bool:
        """Not always, once it has failed: a full disk or a locked database may stay so for long."""
        return time.monotonic() >= self._retry_at

    def write_down(self) -> None:
        """Bring the file up to date, with a trace in the audit log, unless somebody has done so."""
        now = clock.utcnow()
        try:
            # The file before the database, as whoever saves takes them.
            with interval.resuming(self._path, now) as changed:
                if changed is not None:
                    self._leave_trace(*changed, now)
        except (SQLAlchemyError, OSError, interval.IntervalFileDamaged) as problem:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            logger.warning("the end of the disabled time could not be written down: %s", reason(problem))

    def _leave_trace(self, before: CronConfig, after: CronConfig, now: datetime) -> None:
        with self._database.changing() as rows:
            audit.write(
                rows,
                actor=interval.VEILLEUR,
                action="interval changed",
                target="check interval",
                before=before.in_words,
                after=after.in_words,
                now=now,
            )
