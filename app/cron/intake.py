"""Takes in what waits in the spool, beside the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.checks import Policy
from app.db import Database, reason
from app.spool import Spool

EVERY_SECONDS = 5.0
_WAIT_SECONDS = 1.0  # for others that write; they need not wait for us either

log = logging.getLogger(__name__)


class Intake:
    """A thread that looks every few seconds; cheap while nothing waits."""

    def __init__(self, spool: Spool, database: Database, policy: Callable[[], Policy]) -> None:
        self._spool = spool
        self._database = database.waiting(_WAIT_SECONDS)
        self._policy = policy
        self._stopping = threading.Event()
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Let the report in hand be stored; the others wait for the next start."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._step()

    def _step(self) -> None:
        try:
            if self._spool.is_empty():
                self._told = None
                return
            self._spool.take_in(self._database, self._policy(), lambda: not self._stopping.is_set())
            self._told = None
        except (SQLAlchemyError, OSError) as problem:
            # Once for each fault, not every few seconds.
            if reason(problem) != self._told:
                self._told = reason(problem)
                log.error("what waits in the spool can't be taken in yet: %s", self._told)
