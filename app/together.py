"""Work that is as quickly done for many as for one: those that come while it is done share the next turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class _Interrupted(Exception):
    """The thread that did the work of all was ended in the middle of it."""


class Ticket(Generic[Work]):
    """A work that waits: what it is, and what came of it. As a context it keeps an error for its owner."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.value: Any = None
        self.error: Exception | None = None
        self.is_done = False

    def __enter__(self) -> Ticket[Work]:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


class Together(Generic[Work]):
    """For the threads of one process. There is no thread of its own: the first of those that wait does the
    work of all, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: list[Ticket[Work]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def run(self, work: Work, do: Callable[[Sequence[Ticket[Work]]], None]) -> Any:
        """The value that `do`, called by this thread or another one, gave the ticket of this work; raises the
        error it gave it, or its own."""
        ticket = Ticket(work)
        with self._queue_lock:
            self._queue.append(ticket)
        with self._turn:
            while not ticket.is_done:
                _do(do, self._next())
        if ticket.error is not None:
            raise ticket.error
        return ticket.value

    def _next(self) -> list[Ticket[Work]]:
        with self._queue_lock:
            together, self._queue = self._queue[: self._most], self._queue[self._most :]
        return together


def _do(do: Callable[[Sequence[Ticket[Work]]], None], together: Sequence[Ticket[Work]]) -> None:
    shared: Ticket[None] = Ticket(None)
    try:
        with shared:
            do(together)
        shared.is_done = True  # afterwards: what ends the thread inside it is no error to keep
    finally:
        for each in together:
            each.error = each.error or shared.error or (None if shared.is_done else _Interrupted())
            each.is_done = True
