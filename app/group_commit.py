"""Many small writes in one transaction: those that come while one waits or works share its commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from app.together import Group, Ticket, Together

T = TypeVar("T")
Writing = Callable[[], AbstractContextManager[Connection]]
Work = Callable[[Connection], Any]

_MOST_TOGETHER = 64


class GroupCommit:
    """For the threads of one process. One that fails takes nothing of the others with it: then all is undone
    and done once more, each in a savepoint, so a work may be called twice. To have savepoints always would
    cost all of them more.
    """

    def __init__(self, ends_all: Callable[[Exception], bool]) -> None:
        """`ends_all` tells an error of the database from one of a single write."""
        self._ends_all = ends_all
        self._together: Together[Work] = Together(_MOST_TOGETHER)

    def run(self, writing: Writing, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed; or its error, or that of the commit."""
        value: T = self._together.run(work, partial(self._commit, writing))
        return value

    def _commit(self, writing: Writing, group: Group[Work]) -> None:
        first: Ticket[None] = Ticket(None)
        with first, writing() as connection:
            for each in group.and_who_joins():
                each.value = each.work(connection)
        if first.error is None:
            return
        if len(group) == 1 or self._ends_all(first.error):
            raise first.error
        with writing() as connection:
            for each in group:
                self._attempt(connection, each)

    def _attempt(self, connection: Connection, ticket: Ticket[Work]) -> None:
        with ticket, connection.begin_nested():
            ticket.value = ticket.work(connection)
        # After such an error SQLite may have ended the whole transaction: nothing more goes into it.
        if ticket.error is not None and self._ends_all(ticket.error):
            raise ticket.error
