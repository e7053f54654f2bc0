"""Writes down the end of a disabled time, which is in force whether or not that succeeds."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app import audit, clock, interval
from app.db import Database, reason

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
            with self._database.writing() as rows:
                trace = audit.note(
                    rows,
                    actor=interval.VEILLEUR,
                    action="interval changed",
                    target="check interval",
                    now=now,
                )
                rows.flush()  # fails here, before anything has changed, when no trace can be left
                changed = interval.resume(self._path, now)
                if changed is None:
                    rows.delete(trace)
                else:
                    trace.before, trace.after = (each.in_words for each in changed)
        except (SQLAlchemyError, OSError, interval.IntervalFileDamaged) as problem:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            logger.warning("the end of the disabled time could not be written down: %s", reason(problem))
