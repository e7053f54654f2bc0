"""Lets the interval file of this machine follow one that was saved on another."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app import audit, clock, interval, interval_exchange
from app.cron.calls import ConfigUnusable
from app.db import Database, reason
from app.interval import CronConfig
from app.notify.cleaning import one_line

logger = logging.getLogger(__name__)


class Follower:
    """For the loop's thread alone."""

    def __init__(self, path: Path, database: Database, holder: str) -> None:
        self._path = path
        self._database = database
        self._holder = holder

    def take_over(self, told: CronConfig) -> bool:
        """Write it to our own file; False when that is newer.

        Raises ConfigUnusable when it can't be written.
        """
        try:
            before = interval_exchange.take_over(self._path, told, clock.utcnow())
            is_followed = before is not None or interval_exchange.says(self._path, told)
        except OSError as problem:
            error = f"The interval file {interval.FILE_NAME} can't be written: {problem.strerror}"
            logger.error(error)
            raise ConfigUnusable(error) from None
        if before is not None:
            self._note(before, told)
        return is_followed

    def _note(self, before: CronConfig, told: CronConfig) -> None:
        """Whoever saved it has left a trace of his own; this one tells that it has come here."""
        author = one_line(told.updated_by or "somebody")
        try:
            with self._database.writing() as rows:
                audit.note(
                    rows,
                    actor=interval.VEILLEUR,
                    action="interval taken over",
                    target=f"cron service {self._holder}",
                    before=before.in_words,
                    after=f"{told.in_words}, saved by {author} at {told.updated_at}",
                    now=clock.utcnow(),
                )
        except SQLAlchemyError as problem:
            logger.warning("no trace of the interval taken over could be left: %s", reason(problem))
