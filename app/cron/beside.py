"""Runs of tasks too long for the loop, one after the other in a thread beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from app.cron.calls import Busy
from app.cron.runner import DoneElsewhere, HeldElsewhere, Outcome

logger = logging.getLogger(__name__)


class Beside:
    """Whoever asks for a task that is under way joins that run."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._under_way: dict[str, Future[Outcome]] = {}

    def run(self, name: str, work: Callable[[], Outcome]) -> Future[Outcome]:
        under_way = self._under_way.get(name)
        if under_way is None or under_way.done():
            under_way = self._thread.submit(_guarded, name, work)
            self._under_way[name] = under_way
        return under_way

    def stop(self) -> None:
        """Wait for the run under way, which has been told to end; what has not begun is dropped."""
        self._thread.shutdown(cancel_futures=True)


def _guarded(name: str, work: Callable[[], Outcome]) -> Outcome:
    try:
        return work()
    except DoneElsewhere:
        logger.info("%s: another cron service has done it", name)
        return Outcome(True, "Another cron service has done this", 0)
    except HeldElsewhere as held:
        logger.info("%s: left to %s", name, held)
        raise Busy(f"Another cron service ({held}) is doing this; try again in a minute") from None
