"""Many small writes in one transaction: those that come while one commits share the next commit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Writing = Callable[[], AbstractContextManager[Connection]]

MOST_TOGETHER = 64
_ASLEEP_SECONDS = 1.0  # whoever is to wake it may be gone


class _Interrupted(Exception):
    """The thread that did the work of all was ended in the middle of it."""


class _Ticket(Generic[T]):
    """One write that waits: what it is, and what came of it. As a context it keeps an error for its owner."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
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

    def __enter__(self) -> _Ticket[T]:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        value: T = self.value
        return value


class GroupCommit:
    """For the threads of one process. There is no thread of its own: the first of those that wait does the
    work of all. One that fails takes nothing of the others with it: then all is undone and done once more,
    each in a savepoint, so a work may be called twice. To have savepoints always would cost all of them more.
    """

    def __init__(self, ends_all: Callable[[Exception], bool]) -> None:
        """`ends_all` tells an error of the database from one of a single write."""
        self._ends_all = ends_all
        self._queue: list[_Ticket[Any]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def run(self, writing: Writing, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed; or its error, or that of the commit."""
        ticket = _Ticket(work)
        with self._queue_lock:
            self._queue.append(ticket)
        while not ticket.is_done:
            if self._turn.acquire(blocking=False):
                self._lead(writing)
            else:
                ticket.wait()
        return ticket.result()

    def _lead(self, writing: Writing) -> None:
        """Do the work of all that wait; then let the first of those that came too late do the same."""
        together: list[_Ticket[Any]] = []
        try:
            if self._join(together):
                self._commit(writing, together)
        finally:
            self._turn.release()
            for each in (*self._queue[:1], *together):
                each.wake()

    def _join(self, together: list[_Ticket[Any]]) -> bool:
        """Take those that wait into the group; False when nobody does, or it is full."""
        with self._queue_lock:
            room = MOST_TOGETHER - len(together)
            joining, self._queue = self._queue[:room], self._queue[room:]
        together += joining
        return bool(joining)

    def _commit(self, writing: Writing, together: list[_Ticket[Any]]) -> None:
        shared: _Ticket[None] = _Ticket(lambda _connection: None)
        try:
            with shared, writing() as connection:
                for each in self._and_who_joins(together):
                    each.value = each.work(connection)
            if shared.error is not None and len(together) > 1 and not self._ends_all(shared.error):
                shared.error = None
                with shared, writing() as connection:
                    for each in together:
                        self._attempt(connection, each)
            shared.is_done = True  # after the commit: what ends the thread inside it is no error to keep
        finally:
            for each in together:
                each.error = each.error or shared.error or (None if shared.is_done else _Interrupted())
                each.is_done = True

    def _and_who_joins(self, together: list[_Ticket[Any]]) -> Iterator[_Ticket[Any]]:
        """The group as it was, and those that came while it waited for its turn in the database or worked."""
        done = 0
        while done < len(together) or self._join(together):
            yield together[done]
            done += 1

    def _attempt(self, connection: Connection, ticket: _Ticket[Any]) -> None:
        with ticket, connection.begin_nested():
            ticket.value = ticket.work(connection)
        # After such an error SQLite may have ended the whole transaction: nothing more goes into it.
        if ticket.error is not None and self._ends_all(ticket.error):
            raise ticket.error
