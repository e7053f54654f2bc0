"""The schedule loop: one thread owns the schedule and runs the tasks, all others hand it commands."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

import schedule
from flask import Flask

from app import clock, interval
from app.cron.beside import Beside
from app.cron.calls import Answer, Busy, Calls, Command, ConfigUnusable, IntervalDisabled, Refused
from app.cron.cron_job import CronJob, last_run_until
from app.cron.follower import Follower
from app.cron.heartbeat import Heartbeat
from app.cron.holder import Holder, bury_dead
from app.cron.peers import Peers
from app.cron.resumption import Resumption
from app.cron.runner import DoneElsewhere, HeldElsewhere, Outcome, Runner, past_runs
from app.cron.status import PastRun, Status
from app.cron.tasks import CHECK, SENT, Task
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.interval import CronConfig, IntervalFileDamaged
from app.settings import Settings

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
SETTLE_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0
CALLERS = 6  # that wait for the loop at once; fewer than the server's threads, so that health has one
RETRY_SECONDS = 2.0
MANUAL_WAIT_SECONDS = 20.0  # for a lease that is held by another one; less than a proxied POST may take
CONFIG = "config"  # the key of a damaged interval file among the errors


class CronService:
    """`run` belongs to one thread; trigger, start_task, stop_task, reload and stop to any other."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        tasks: Mapping[str, Task],
        courier: Courier,
        holder: Holder | None = None,
    ) -> None:
        self.tasks = dict(tasks)
        self._holder = holder or Holder(settings.instance_path)
        self.status = Status(settings.watchdog_seconds, self._holder.name)
        self._watchdog_seconds = settings.watchdog_seconds
        self.calls = Calls(CALLERS, settings.watchdog_seconds)
        self._database: Database = app.extensions[EXTENSION]
        self._interval: interval.Reader = app.extensions["interval"]
        self._courier = courier
        self._runner = Runner(app, self._database, settings, courier, self.status, self._holder.name)
        self.heartbeat = Heartbeat(settings.heartbeat_url)
        self._resumption = Resumption(settings.instance_path / interval.FILE_NAME, self._database)
        self._follower = Follower(
            settings.instance_path / interval.FILE_NAME, self._database, self._holder.name
        )
        self._peers = Peers(settings.instance_path / interval.FILE_NAME, app.extensions["cron_peers"])
        self._scheduler = schedule.Scheduler()
        self._config = CronConfig(interval.DEFAULT)
        self._config_stamp: object = object()  # unlike any: the file was never read
        self._stopped_tasks: set[str] = set()
        self._looked_at = clock.utcnow()
        self._triggers: dict[str, Future[Future[Outcome]]] = {}
        self._beside = Beside()
        # What has to wait for a lease that another service holds.
        self._waiting_tasks: dict[str, tuple[str, datetime]] = {}
        self._retry_at = 0.0
        self._triggers_lock = threading.Lock()

    # For every thread

    def trigger(self, name: str) -> Outcome:
        """Run a task now and wait for it; calls that wait for the same run share it.

        What it found is sent beside the loop: this waits some seconds for that, and counts it.
        """
        with self.calls.calling():
            outcome = self.calls.wait(self.calls.wait(self._triggered(name)))
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

    def reload(self, told: CronConfig | None = None) -> None:
        """Put the interval of the file in force, once it holds what another machine told if that is newer;
        raises ConfigUnusable."""
        self._ask(partial(self._reload, told))

    def stop(self) -> None:
        """End the loop after the run in progress. May be called from a signal handler."""
        self.calls.end()

    def _ask(self, obey: Callable[[], Answer]) -> Answer:
        with self.calls.calling():
            return self.calls.wait(self.calls.command(obey))

    def _triggered(self, name: str) -> Future[Future[Outcome]]:
        with self._triggers_lock:
            if name not in self._triggers:
                self._triggers[name] = self.calls.command(partial(self._run_triggered, name))
            return self._triggers[name]

    # For the loop's thread alone

    def run(self) -> None:
        """Run what is due and obey commands until `stop` is called."""
        self._begin()
        while not self.calls.is_over:
            self.status.beat()
            if not self._courier.is_alive():
                raise RuntimeError("deliveries have stopped; a new start takes them up again")
            self._follow_file()
            self._resume()
            self._run_due()
            self._retry()
            self._obey_next(TICK_SECONDS)
        self.calls.refuse_the_rest()
        self._beside.stop()
        self._peers.stop(LAST_WORDS_SECONDS)
        self.heartbeat.stop(LAST_WORDS_SECONDS)

    def _begin(self) -> None:
        self._peers.start()
        self._looked_at = clock.utcnow()
        bury_dead(self._holder, self._database)
        past = {name: run for name, run in past_runs(self._database).items() if name in self.tasks}
        self.status.remember(past)
        self._runner.remember(past)
        self._follow_file()
        for name in self.tasks:
            self._plan(name)
        self._show_plan()
        self._catch_up(past, self._looked_at)

    def _catch_up(self, past: Mapping[str, PastRun], now: datetime) -> None:
        for name in self.tasks:
            due_at = self._due_at(name, now)
            if due_at and (name not in past or past[name].started_at < due_at):
                self._run_when_ours(name, "catch-up", due_at)

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

    def _run_scheduled(self, name: str) -> None:
        expression, now = self._expression(name), clock.utcnow()
        self._run_when_ours(name, "schedule", (expression and last_run_until(expression, now)) or now)

    def _run_when_ours(self, name: str, cause: str, due_at: datetime) -> None:
        """Run a task that is due, unless another service does or has done it; if that does, look again."""
        try:
            self._run_task(name, cause, due_at)
        except HeldElsewhere as held:
            if name not in self._waiting_tasks:
                logger.info("%s (%s) waits for %s", name, cause, held)
            self._waiting_tasks[name] = (cause, due_at)
            return
        except DoneElsewhere as done:
            self.status.ended(name, done.run)
        self._waiting_tasks.pop(name, None)

    def _retry(self) -> None:
        if not (self._waiting_tasks or self.calls.are_waiting) or time.monotonic() < self._retry_at:
            return
        bury_dead(self._holder, self._database)
        for name, (cause, due_at) in list(self._waiting_tasks.items()):
            self._run_when_ours(name, cause, due_at)
        for command in self.calls.again():
            self._obey(command)
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _run_task(self, name: str, cause: str, due_at: datetime | None = None) -> Future[Outcome] | None:
        """None when the service is to stop: what did not begin is caught up at the next start."""
        if self.calls.is_over:
            return None
        task = self.tasks[name]
        if task.beside:
            return self._beside.run(
                name, lambda: self._runner.run(name, task, cause, lambda: not self.calls.is_over, due_at)
            )
        ends_at = time.monotonic() + self._watchdog_seconds / 2
        outcome = self._runner.run(
            name, task, cause, lambda: not self.calls.is_over and time.monotonic() < ends_at, due_at
        )
        if name == CHECK:
            self.heartbeat.tell(outcome.succeeded)
        done: Future[Outcome] = Future()
        done.set_result(outcome)
        return done

    def _run_triggered(self, name: str) -> Future[Outcome]:
        with self._triggers_lock:
            self._triggers.pop(name, None)  # whoever asks from here on wants a run of its own
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
        self._waiting_tasks.pop(name, None)

    def _obey_next(self, timeout_seconds: float) -> None:
        command = self.calls.next(timeout_seconds)
        if command is not None:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        try:
            result = command.obey()
        except HeldElsewhere as held:
            if time.monotonic() < command.given_at + MANUAL_WAIT_SECONDS:
                self.calls.put_back(command)
            else:
                refusal = f"Another cron service ({held}) is doing this; try again in a minute"
                command.answer.set_exception(Busy(refusal))
        except Refused as refusal:
            command.answer.set_exception(refusal)
        else:
            self._show_plan()
            command.answer.set_result(result)

    def _expression(self, name: str) -> str | None:
        fixed = self.tasks[name].cron
        if fixed is not None:
            return fixed
        return self._config.cron_expression if self._config.enabled else None

    def _plan(self, name: str) -> None:
        self._scheduler.clear(name)
        expression = self._expression(name)
        if expression is None:
            self._waiting_tasks.pop(name, None)
        if expression is not None and name not in self._stopped_tasks:
            job = CronJob(expression, self._scheduler, planned_from=self._looked_at)
            job.tag(name).do(self._run_scheduled, name)

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

    def _reload(self, told: CronConfig | None) -> None:
        if told is not None:
            if not self._follower.take_over(told):
                self._peers.pass_on()
            if self._stamp() == self._config_stamp:
                return
        self._load()

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
