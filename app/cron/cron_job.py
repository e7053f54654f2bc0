"""A `schedule` job whose runs come from a cron expression in UTC, exact whatever the clock does."""

from __future__ import annotations

from datetime import datetime, timedelta

import schedule
from cronsim import CronSim, CronSimError

from app import clock

# A clock set back by less is being corrected; by more, the plan made before no longer means anything.
CORRECTION = timedelta(minutes=1)


class CronExpressionError(ValueError):
    """The text is no cron expression of five fields."""


def next_run_after(expression: str, moment: datetime) -> datetime | None:
    """The first scheduled moment later than `moment`; None for an expression that never fires."""
    return _first(expression, moment, reverse=False)


def last_run_until(expression: str, moment: datetime) -> datetime | None:
    """The latest scheduled moment that is not later than `moment`; None when there was none."""
    return _first(expression, moment + timedelta(microseconds=1), reverse=True)


def _first(expression: str, moment: datetime, *, reverse: bool) -> datetime | None:
    if len(expression.split()) != 5:
        raise CronExpressionError(f"{expression!r} does not have five fields")
    try:
        return next(CronSim(expression, moment, reverse))
    except CronSimError as problem:
        raise CronExpressionError(f"{expression!r}: {problem}") from None
    except StopIteration:
        return None


class CronJob(schedule.Job):
    """Runs once for every scheduled moment; once in all for those that a suspend or a long run covered."""

    def __init__(
        self, expression: str, scheduler: schedule.Scheduler, planned_from: datetime | None = None
    ) -> None:
        """Nothing scheduled after `planned_from` (now, if left out) is passed over."""
        super().__init__(1, scheduler)
        now = clock.utcnow()
        self._expression = expression
        self._seen_at = min(planned_from or now, now)

    @property
    def should_run(self) -> bool:
        now = clock.utcnow()
        if self._was_set_back(now):
            self._plan_after(now)
        self._seen_at = max(self._seen_at, now)
        return self.next_run is not None and now >= self.next_run

    def _schedule_next_run(self) -> None:
        if self.next_run is None:
            self._plan_after(self._seen_at)  # the first plan
            return
        now = clock.utcnow()
        # Never planned from before the run just made: a corrected clock would repeat it.
        self._plan_after(now if self._was_set_back(now) else max(now, self._seen_at))

    def _was_set_back(self, now: datetime) -> bool:
        return self._seen_at - now > CORRECTION

    def _plan_after(self, moment: datetime) -> None:
        self._seen_at = moment
        self.next_run = next_run_after(self._expression, moment)
