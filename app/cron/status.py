"""What the cron service knows about itself, written by its loop and read by everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import clock


@dataclass(frozen=True, slots=True)
class PastRun:
    """A finished run of a task; `error` is None when it succeeded."""

    started_at: datetime
    error: str | None
    row_id: int = 0


class Status:
    """Safe to use from all threads; no call waits for a task."""

    def __init__(self, watchdog_seconds: float, holder: str = "") -> None:
        self._watchdog_seconds = watchdog_seconds
        self._holder = holder
        self._lock = threading.Lock()
        self._started_at = clock.utcnow()
        self._last_runs: dict[str, datetime] = {}
        self._errors: dict[str, str] = {}
        self._plan: dict[str, datetime | None] = {}
        self._interval: str | None = None
        self._running_tasks: list[str] = []
        self._heartbeat = time.monotonic()

    def beat(self) -> None:
        """The loop is alive; counted on a clock that nobody sets and that stands still in a suspend."""
        self._heartbeat = time.monotonic()

    def silent_seconds(self) -> float:
        return time.monotonic() - self._heartbeat

    def began(self, task: str) -> None:
        with self._lock:
            self._running_tasks.append(task)

    def ended(self, task: str, run: PastRun) -> None:
        with self._lock:
            if task in self._running_tasks:
                self._running_tasks.remove(task)
            self._last_runs[task] = run.started_at
        self.note(task, run.error)

    def cut_off(self, task: str) -> None:
        """The task did not come to its end here; another service goes on with it."""
        with self._lock:
            if task in self._running_tasks:
                self._running_tasks.remove(task)

    def remember(self, runs: Mapping[str, PastRun]) -> None:
        """Take over what the database says of runs before this start."""
        for task, run in runs.items():
            self.ended(task, run)

    def note(self, key: str, error: str | None) -> None:
        """Show an error under a key until it is None again."""
        with self._lock:
            self._errors.pop(key, None)
            if error is not None:
                self._errors[key] = error

    def plan(self, interval: str, next_runs: Mapping[str, datetime | None]) -> None:
        with self._lock:
            self._interval = interval
            self._plan = dict(next_runs)

    def health(self) -> dict[str, Any]:
        """The body of GET /health; `isRunning` is false when the loop has been silent for too long."""
        with self._lock:
            return {
                "isRunning": self.silent_seconds() <= self._watchdog_seconds,
                "activeTasks": list(self._plan),
                "lastRunTimes": _spelled(self._last_runs),
                "errors": dict(self._errors),
                "nextRunTimes": _spelled(self._plan),
                "interval": self._interval,
                "startedAt": clock.iso(self._started_at),
                "runningTask": self._running_tasks[-1] if self._running_tasks else None,
                "holder": self._holder,
            }


def _spelled(moments: Mapping[str, datetime | None]) -> dict[str, str | None]:
    return {name: clock.iso(moment) for name, moment in moments.items() if moment is not None}
