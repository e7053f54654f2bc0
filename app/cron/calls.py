"""What other threads ask of the loop, and how it refuses."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Refused(Exception):
    """The service can't do what was asked; the text says why."""


class Busy(Refused):
    """No answer in time, or no time for one: too many callers, or the service is stopping."""


class IntervalDisabled(Refused):
    """A task that follows the configured interval can't be started while that is `disabled`."""


class ConfigUnusable(Refused):
    """The interval file can't be read or is damaged; the schedule stays as it was."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something the loop is to do, and where it puts the answer."""

    obey: Callable[[], Any]
    answer: Future[Any]
    given_at: float = field(default_factory=time.monotonic)


class Calls:
    """The way from other threads to the loop: they leave commands and wait, it takes and answers them."""

    def __init__(self, limit: int, patience_seconds: float) -> None:
        self._limit = limit
        self._patience_seconds = patience_seconds
        # A SimpleQueue, because a signal handler may put into it at any moment; an Event could deadlock.
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._waiting: list[Command] = []
        self._is_over = False
        self._changed = threading.Condition()
        self.count = 0

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def are_waiting(self) -> bool:
        return bool(self._waiting)

    def end(self) -> None:
        """Take no more calls and wake the loop. May be called from a signal handler."""
        self._is_over = True
        self._commands.put(None)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around everything a caller waits for; raises Busy when there is no room or no time for it."""
        with self._changed:
            if self._is_over:
                raise Busy("The cron service is stopping")
            if self.count == self._limit:
                raise Busy("Too many calls are waiting for the cron service")
            self.count += 1
        try:
            yield
        finally:
            with self._changed:
                self.count -= 1
                self._changed.notify_all()

    def command(self, obey: Callable[[], Answer]) -> Future[Answer]:
        """Have the loop do something; its answer comes in the future."""
        answer: Future[Answer] = Future()
        self._commands.put(Command(obey, answer))
        return answer

    def wait(self, answer: Future[Answer]) -> Answer:
        try:
            return answer.result(self._patience_seconds)
        except TimeoutError:
            raise Busy("The cron service is still busy with a task") from None

    def finish(self, timeout_seconds: float) -> None:
        """Once the loop has ended: give callers the time to pass on the answer they got from it."""
        with self._changed:
            if self.count == 0:
                return
            self._changed.wait_for(lambda: self.count == 0, timeout_seconds)
        time.sleep(0.1)  # the server still has to write it

    # For the loop's thread alone

    def next(self, timeout_seconds: float) -> Command | None:
        try:
            return self._commands.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def put_back(self, command: Command) -> None:
        """It can't be done yet; `again` gives it out once more."""
        self._waiting.append(command)

    def again(self) -> list[Command]:
        commands, self._waiting = self._waiting, []
        return commands

    def refuse_the_rest(self) -> None:
        rest: list[Command | None] = list(self.again())
        while not self._commands.empty():
            rest.append(self._commands.get())
        for command in rest:
            if command is not None:
                command.answer.set_exception(Busy("The cron service is stopping"))
