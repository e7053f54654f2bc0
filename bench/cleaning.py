"""How long an upload waits at most while very many old reports are deleted."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import select

from app.models import TaskRun
from bench import processes, web
from bench.checking import SETTLE_SECONDS
from bench.ground import TOKEN, Ground, Installed, moments, say
from bench.load import Call, Load, Moments, run
from bench.table import Row
from tests import crowd
from tests.processes import until

TASK = "retention-cleanup"
KEPT_DAYS = 60
CLIENTS = 4
PAUSE_MS = (
    50  # of each client: uploads come one after the other, so that a long one has waited and not queued
)
WINDOW_SECONDS = 5.0
WINDOWS_BEFORE = 6
LONGEST_SECONDS = 600.0
MOST_BLOCKED_MS = 100


@dataclass
class _Cleaning:
    """The task, asked for in a thread of its own."""

    place: Installed
    failed: list[Exception] = field(default_factory=list)

    def __enter__(self) -> _Cleaning:
        self._thread = threading.Thread(target=self._trigger)
        self._thread.start()
        return self

    def _trigger(self) -> None:
        # The call is answered 503 when its patience ends; the task goes on.
        try:
            crowd.trigger(self.place.veilleur.cron_port, TOKEN, TASK, LONGEST_SECONDS)
            until(lambda: _is_finished(self.place), TASK, LONGEST_SECONDS)
        except (OSError, AssertionError) as problem:
            self.failed.append(problem)

    @property
    def is_under_way(self) -> bool:
        return self._thread.is_alive()

    def __exit__(self, *_reason: object) -> None:
        self._thread.join()
        if self.failed:
            raise self.failed[0]


def retention(ground: Ground) -> list[Row]:
    """The same uploads without and with the real cron service deleting."""
    place = ground.many()
    veilleur = place.with_settings(VEILLEUR_REPORT_RETENTION_DAYS=str(KEPT_DAYS))
    times = moments()
    call = web.upload_call(veilleur, 3_650, place.upload_key, jobs=place.population.jobs, pause_ms=PAUSE_MS)
    with processes.web(veilleur), processes.cron(veilleur):
        time.sleep(SETTLE_SECONDS)
        _upload(call, times)
        before = [_upload(call, times) for _ in range(WINDOWS_BEFORE)]
        during: list[Load] = []
        with _Cleaning(place) as cleaning:
            while cleaning.is_under_way:
                during.append(_upload(call, times))
    deleted, seconds = _deleted(place)
    say(f"deleted {deleted} reports in {seconds:.0f} s")
    alone, beside = _longest(before), _longest(during)
    # A lone window is as long as each of the others, so that none has more chances to be unlucky.
    usual = statistics.median(each.longest_milliseconds for each in before)
    usual_during = statistics.median(each.longest_milliseconds for each in during)
    failed = bool(sum(each.refused + each.broken for each in [*before, *during]))
    blocked = max(0.0, beside - alone)
    of = f"while {deleted} old reports are deleted"
    return [
        Row(f"upload, the longest {of}", beside, "ms", alone, "without", failed=failed, runs=len(during)),
        Row(
            "the same, beyond the longest without",
            blocked,
            "ms",
            target=f"≤ {MOST_BLOCKED_MS}",
            runs=len(during),
        ),
        Row(f"upload, the longest of 5 s {of}", usual_during, "ms", usual, "without", runs=len(during)),
        Row(
            f"upload, median {of}",
            statistics.median(each.p50_milliseconds for each in during),
            "ms",
            statistics.median(each.p50_milliseconds for each in before),
            "without",
            runs=len(during),
        ),
        Row("old reports deleted", deleted / seconds, "/s"),
    ]


def _upload(call: Call, times: Moments) -> Load:
    return run(call, CLIENTS, WINDOW_SECONDS, times)


def _longest(loads: list[Load]) -> float:
    return max(each.longest_milliseconds for each in loads)


def _run(place: Installed) -> TaskRun | None:
    with place.database() as database, database.reading() as session:
        newest = select(TaskRun).where(TaskRun.task == TASK).order_by(TaskRun.id.desc()).limit(1)
        return session.scalar(newest)


def _is_finished(place: Installed) -> bool:
    found = _run(place)
    return found is not None and found.finished_at is not None


def _deleted(place: Installed) -> tuple[int, float]:
    found = _run(place)
    assert found is not None and found.finished_at is not None
    assert found.succeeded, found.message
    least = place.population.old_reports
    assert found.statistics["reports"] >= least, found.message
    return found.statistics["reports"], (found.finished_at - found.started_at).total_seconds()
