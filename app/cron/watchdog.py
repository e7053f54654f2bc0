"""Ends a service whose loop is stuck or dead, so that whatever started it can start it again."""

from __future__ import annotations

import logging
import os
import threading
from types import TracebackType

from app.cron.status import Status

logger = logging.getLogger(__name__)

STUCK = 70
DEAD = 71
GRACE_SECONDS = 2.0


class Watchdog:
    """Around the loop: a silent one ends the process, one that dies of an error is logged.

    `exit_code` is 0 after a loop that ended by itself, else DEAD.
    """

    def __init__(self, status: Status, watchdog_seconds: float) -> None:
        self._status = status
        self._limit_seconds = watchdog_seconds + GRACE_SECONDS
        self._over = threading.Event()
        self.exit_code = DEAD

    def __enter__(self) -> Watchdog:
        self._status.beat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        self._over.set()
        if error is None:
            self.exit_code = 0
        else:
            logger.critical("the loop of the cron service died", exc_info=error)
        return True

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            silent_seconds = self._status.silent_seconds()
            if silent_seconds > self._limit_seconds:
                logger.critical("the loop has been silent for %.0f s; ending the process", silent_seconds)
                logging.shutdown()
                os._exit(STUCK)
