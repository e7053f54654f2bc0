"""The schedule loop: one thread owns the schedule and runs the tasks, all others hand it commands."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import schedule
from flask import Flask

from app import clock, interval
from app.cron.cron_job import CronJob, last_run_until
from app.cron.heartbeat import Heartbeat
from app.cron.resumption import Resumption
from app.cron.runner import Outcome, Runner, past_runs
from app.cron.status import PastRun, Status
from app.cron.tasks import CHECK, SENT, Task
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.interval import CronConfig, IntervalFileDamaged
from app.settings import Settings

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

TICK_SECONDS = 0.5
SETTLE_SECONDS = 5.0
LAST_HEARTBEAT_SECONDS = 2.0
CALLERS = 6  # that wait for the loop at once; fewer than the server's threads, so that health has one
CONFIG = "config"  # the key of a damaged interval file among the errors


class Refused(Exception):
    """The service can't do what was asked; the text says why."""


class Busy(Refused):
    """No answer in time, or no time for one: too many callers, or the service is stopping."""


class IntervalDisabled(Refused):
    """A task that follows the configured interval can't be started while that is `disabled`."""


class ConfigUnusable(Refused):
    """The interval file can't be read or is damaged; the schedule stays as it was."""


@dataclass(frozen=True, slots=True)
class _Command:
    obey: Callable[[], Any]
    answer: Future[Any]


class CronService:
    """`run` belongs to one thread; trigger, start_task, stop_task, reload and stop to any other."""

    def __init__(self, app: Flask, settings: Settings, tasks: Mapping[str, Task], courier: Courier) -> None:
        self.tasks = dict(tasks)
        self.status = Status(settings.watchdog_seconds)
        self._watchdog_seconds = settings.watchdog_seconds
        self._database: Database = app.extensions[EXTENSION]
        self._interval: interval.Reader = app.extensions["interval"]
        self._courier = courier
        self._runner = Runner(app, self._database, settings, courier, self.status)
        self.heartbeat = Heartbeat(settings.heartbeat_url)
        self._resumption = Resumption(settings.instance_path / interval.FILE_NAME, self._database)
        self._scheduler = schedule.Scheduler()
        self._config = CronConfig(interval.DEFAULT)
        self._config_stamp: object = object()  # unlike any: the file was never read
        self._stopped_tasks: set[str] = set()
        self._looked_at = clock.utcnow()
        # A SimpleQueue, because a signal handler may put into it at any moment; an Event could deadlock.
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._stop_asked = False
        self._triggers: dict[str, Future[Future[Outcome]]] = {}
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._under_way: dict[str, Future[Outcome]] = {}
        self._triggers_lock = threading.Lock()
        self._callers = 0
        self._callers_left = threading.Condition()

    # For every thread

    def trigger(self, name: str) -> Outcome:
        """Run a task now and wait for it; calls that wait for the same run share it.

        What it found is sent beside the loop: this waits some seconds for that, and counts it.
        """
        with self._calling():
            outcome = self._wait(self._wait(self._triggered(name)))
            if not outcome.succeeded or SENT not in outcome.statistics:
                return outcome
            self._courier.settle(SETTLE_SECONDS)
            sent = self._courier.sent_count - outcome.sent_before
            return replace(outcome, statistics={**outcome.statistics, SENT: sent})

    def start_task(self, name: str) -> None:
        """Put a task on the schedule again; raises IntervalDisabled when it would not run all the same."""
        self._ask(partial(self._start_task, name))

    def stop_task(self, name: str) -> None:
        """Take a task off the schedule until it is started, or the service is."""
        self._ask(partial(self._stop_task, name))

    def reload(self) -> None:
        """Put the interval of the file in force; raises ConfigUnusable."""
        self._ask(self._load)

    def stop(self) -> None:
        """End the loop after the run in progress. May be called from a signal handler."""
        self._stop_asked = True
        self._commands.put(None)

    def _ask(self, obey: Callable[[], Answer]) -> Answer:
        with self._calling():
            return self._wait(self._command(obey))

    def _command(self, obey: Callable[[], Answer]) -> Future[Answer]:
        answer: Future[Answer] = Future()
        self._commands.put(_Command(obey, answer))
        return answer

    def _triggered(self, name: str) -> Future[Future[Outcome]]:
        with self._triggers_lock:
            if name not in self._triggers:
                self._triggers[name] = self._command(partial(self._run_triggered, name))
            return self._triggers[name]

    @contextmanager
    def _calling(self) -> Iterator[None]:
        with self._callers_left:
            if self._stop_asked:
                raise Busy("The cron service is stopping")
            if self._callers == CALLERS:
                raise Busy("Too many calls are waiting for the cron service")
            self._callers += 1
        try:
            yield
        finally:
            with self._callers_left:
                self._callers -= 1
                self._callers_left.notify_all()

    def _wait(self, answer: Future[Answer]) -> Answer:
        try:
            return answer.result(self._watchdog_seconds)
        except TimeoutError:
            raise Busy("The cron service is still busy with a task") from None

    def finish_calls(self, timeout_seconds: float) -> None:
        """Once the loop has ended: give callers the time to pass on the answer they got from it."""
        with self._callers_left:
            if self._callers == 0:
                return
            self._callers_left.wait_for(lambda: self._callers == 0, timeout_seconds)
        time.sleep(0.1)  # the server still has to write it

    # For the loop's thread alone

    def run(self) -> None:
        """Run what is due and obey commands until `stop` is called."""
        self._begin()
        while not self._stop_asked:
            self.status.beat()
            if not self._courier.is_alive():
                raise RuntimeError("deliveries have stopped; a new start takes them up again")
            self._follow_file()
            self._resume()
            self._run_due()
            self._obey_next(TICK_SECONDS)
        self._refuse_the_rest()
        self._beside.shutdown(cancel_futures=True)
        self.heartbeat.stop(LAST_HEARTBEAT_SECONDS)

    def _begin(self) -> None:
        self._looked_at = clock.utcnow()
        past = {name: run for name, run in past_runs(self._database).items() if name in self.tasks}
        self.status.remember(past)
        self._follow_file()
        for name in self.tasks:
            self._plan(name)
        self._show_plan()
        self._catch_up(past, self._looked_at)

    def _catch_up(self, past: Mapping[str, PastRun], now: datetime) -> None:
        for name in self.tasks:
            due_at = self._due_at(name, now)
            if due_at and (name not in past or past[name].started_at < due_at):
                self._run_task(name, "catch-up")

    def _due_at(self, name: str, now: datetime) -> datetime | None:
        """When its last run was due; a disabled time ends with a run."""
        expression = self._expression(name)
        if expression is None or name in self._stopped_tasks:
            return None
        due_at = last_run_until(expression, now)
        ended_at = self._config.disabled_until if self._config.has_resumed else None
        return max(due_at, ended_at) if due_at and ended_at and self.tasks[name].cron is None else due_at

    def _resume(self) -> None:
        if self._config.has_resumed and self._resumption.is_due():
            self._catch_up(past_runs(self._database), clock.utcnow())
            self._resumption.write_down()

    def _run_due(self) -> None:
        looked_at = clock.utcnow()
        self._scheduler.run_pending()
        self._looked_at = looked_at
        self._show_plan()

    def _run_task(self, name: str, cause: str) -> Future[Outcome] | None:
        """None when the service is to stop: what did not begin is caught up at the next start."""
        if self._stop_asked:
            return None
        if self.tasks[name].beside:
            return self._run_beside(name, cause)
        ends_at = time.monotonic() + self._watchdog_seconds / 2
        outcome = self._runner.run(
            name, self.tasks[name], cause, lambda: not self._stop_asked and time.monotonic() < ends_at
        )
        if name == CHECK:
            self.heartbeat.tell(outcome.succeeded)
        done: Future[Outcome] = Future()
        done.set_result(outcome)
        return done

    def _run_beside(self, name: str, cause: str) -> Future[Outcome]:
        """The run of the task that is under way, else a new one."""
        under_way = self._under_way.get(name)
        if under_way is None or under_way.done():
            under_way = self._beside.submit(
                self._runner.run, name, self.tasks[name], cause, lambda: not self._stop_asked
            )
            self._under_way[name] = under_way
        return under_way

    def _run_triggered(self, name: str) -> Future[Outcome]:
        with self._triggers_lock:
            del self._triggers[name]  # whoever asks from here on wants a run of its own
        outcome = self._run_task(name, "manual")
        if outcome is None:
            raise Busy("The cron service is stopping")
        return outcome

    def _start_task(self, name: str) -> None:
        self._stopped_tasks.discard(name)
        if self._expression(name) is None:
            raise IntervalDisabled(f"{name} can't be started: the interval is disabled")
        if not self._scheduler.get_jobs(name):
            self._plan(name)

    def _stop_task(self, name: str) -> None:
        self._stopped_tasks.add(name)
        self._scheduler.clear(name)

    def _obey_next(self, timeout_seconds: float) -> None:
        try:
            command = self._commands.get(timeout=timeout_seconds)
        except queue.Empty:
            return
        if command is None:
            return
        try:
            result = command.obey()
        except Refused as refusal:
            command.answer.set_exception(refusal)
        else:
            self._show_plan()
            command.answer.set_result(result)

    def _refuse_the_rest(self) -> None:
        while not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command.answer.set_exception(Busy("The cron service is stopping"))

    def _expression(self, name: str) -> str | None:
        fixed = self.tasks[name].cron
        if fixed is not None:
            return fixed
        return self._config.cron_expression if self._config.enabled else None

    def _plan(self, name: str) -> None:
        self._scheduler.clear(name)
        expression = self._expression(name)
        if expression is not None and name not in self._stopped_tasks:
            job = CronJob(expression, self._scheduler, planned_from=self._looked_at)
            job.tag(name).do(self._run_task, name, "schedule")

    def _show_plan(self) -> None:
        planned = {name: job.next_run for name in self.tasks for job in self._scheduler.get_jobs(name)}
        self.status.plan(self._config.interval, planned)

    def _follow_file(self) -> None:
        if self._stamp() != self._config_stamp:
            with suppress(ConfigUnusable):  # told by _load
                self._load()
        in_force = self._config.in_force(clock.utcnow())
        if in_force is not self._config:
            self._adopt(in_force)

    def _load(self) -> None:
        stamp_before, self._config_stamp = self._config_stamp, self._stamp()
        try:
            config = self._interval.read()
        except (IntervalFileDamaged, OSError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else problem
            error = f"The interval file {interval.FILE_NAME} can't be used: {why}"
            self.status.note(CONFIG, error)
            if self._config_stamp != stamp_before:
                logger.error("%s; the interval stays %s", error, self._config.interval)
            raise ConfigUnusable(error) from None
        self.status.note(CONFIG, None)
        self._adopt(config)

    def _adopt(self, config: CronConfig) -> None:
        logger.log(logging.INFO if config.enabled else logging.WARNING, "the interval is %s", config.in_words)
        self._config = config
        if config.has_resumed:
            self._looked_at = clock.utcnow()  # what was due until now is one catch-up run
        for name, task in self.tasks.items():
            if task.cron is None:
                self._plan(name)

    def _stamp(self) -> object:
        try:
            return self._interval.stamp()
        except OSError as problem:
            return problem.errno
