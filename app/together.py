"""Work as quickly done for many as for one: those that come while it is done share it, or the next turn."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

Work = TypeVar("Work")

_ASLEEP_SECONDS = 1.0  # whoever is to wake it may be gone


class _Interrupted(Exception):
    """The thread that did the work of all was ended in the middle of it."""


class Ticket(Generic[Work]):
    """A work that waits: what it is, and what came of it. As a context it keeps an error for its owner."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.value: Any = None
        self.error: Exception | None = None
        self.is_done = False
        self._sleeps = threading.Lock()
        self._sleeps.acquire()

    def wait(self) -> None:
        """Until it is done or may do the work of all; or for a while."""
        self._sleeps.acquire(timeout=_ASLEEP_SECONDS)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is awake
            self._sleeps.release()

    def __enter__(self) -> Ticket[Work]:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


class Group(Generic[Work]):
    """Those whose work one thread does in its turn, in the order in which they came."""

    def __init__(self, join: Callable[[int], list[Ticket[Work]]]) -> None:
        """`join` gives those that wait, for a group of so many."""
        self._join = join
        self._tickets = join(0)

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket[Work]]:
        """Those that are in it."""
        return iter(self._tickets)

    def and_who_joins(self) -> Iterator[Ticket[Work]]:
        """Those that are in it, and those that come until the last of them is done."""
        done = 0
        while done < len(self._tickets) or self._has_joined():
            yield self._tickets[done]
            done += 1

    def _has_joined(self) -> bool:
        joining = self._join(len(self._tickets))
        self._tickets += joining
        return bool(joining)


class Together(Generic[Work]):
    """For the threads of one process. There is no thread of its own: the first of those that wait does the
    work of all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: list[Ticket[Work]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def run(self, work: Work, do: Callable[[Group[Work]], None]) -> Any:
        """The value that `do`, called by this thread or another one, gave the ticket of this work; raises the
        error it gave it, or its own."""
        ticket = Ticket(work)
        with self._queue_lock:
            self._queue.append(ticket)
        while not ticket.is_done:
            if self._turn.acquire(blocking=False):
                self._lead(do)
            else:
                ticket.wait()
        if ticket.error is not None:
            raise ticket.error
        return ticket.value

    def _lead(self, do: Callable[[Group[Work]], None]) -> None:
        """Do the work of all that wait; then let the first of those that came too late do the same."""
        group: Group[Work] | tuple[()] = ()
        try:
            group = Group(self._join)
            if group:
                _do(do, group)
        finally:
            self._turn.release()
            for each in (*self._queue[:1], *group):
                each.wake()

    def _join(self, size: int) -> list[Ticket[Work]]:
        """Those that wait, as many as a group of this size has room for."""
        room = self._most - size
        with self._queue_lock:
            joining, self._queue = self._queue[:room], self._queue[room:]
        return joining


def _do(do: Callable[[Group[Work]], None], group: Group[Work]) -> None:
    shared: Ticket[None] = Ticket(None)
    try:
        with shared:
            do(group)
        shared.is_done = True  # afterwards: what ends the thread inside it is no error to keep
    finally:
        for each in group:
            each.error = each.error or shared.error or (None if shared.is_done else _Interrupted())
            each.is_done = True
