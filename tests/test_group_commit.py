"""Writes that share a commit: each gets its own result, and a fault of one stays its own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Connection, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.clock import utcnow
from app.db import Database
from app.models import Server
from app.together import Ticket
from tests.processes import until

pytestmark = pytest.mark.sqlite("PostgreSQL joins commits by itself")


def adding(machine_id: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(insert(Server).values(machine_id=machine_id, name=machine_id, created_at=utcnow()))
        return machine_id

    return work


def before_commit(database: Database, action: Callable[[object], None]) -> Callable[[Connection], str]:
    """A work in whose transaction the action comes before the commit, as it does in all that follow."""

    def work(_connection: Connection) -> str:
        event.listen(database.engine, "commit", action)
        return "listening"

    return work


def stored(database: Database) -> list[str]:
    with database.reading() as rows:
        return list(rows.scalars(select(Server.machine_id).order_by(Server.machine_id)))


@contextmanager
def together(database: Database, works: list[Callable[[Connection], str]]) -> Iterator[list[Future[str]]]:
    """The futures of writes that all wait before any of them may begin, so that they share one commit."""
    with (
        closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as other,
        ThreadPoolExecutor(len(works)) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        futures = [pool.submit(database.change_together, each) for each in works]
        until(lambda: len(database._group._together._queue) == len(works) - 1, "all but the first to wait")
        other.execute("ROLLBACK")
        yield futures


@pytest.fixture
def commits(database: Database) -> list[int]:
    counted: list[int] = []
    event.listen(database.engine, "commit", lambda _connection: counted.append(1))
    return counted


def test_writes_that_wait_share_one_commit_and_each_gets_its_own_result(
    database: Database, commits: list[int]
) -> None:
    names = [f"m{number:02}" for number in range(20)]
    with together(database, [adding(each) for each in names]) as futures:
        assert [each.result(30) for each in futures] == names
    assert stored(database) == names
    assert len(commits) == 1


def test_whoever_comes_while_others_work_shares_their_commit(database: Database, commits: list[int]) -> None:
    working, goes_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> str:
        working.set()
        assert goes_on.wait(30)
        return adding("first")(connection)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(database.change_together, hold)
        assert working.wait(30)
        second = pool.submit(database.change_together, adding("second"))
        until(lambda: len(database._group._together._queue) == 1, "the second to wait")
        goes_on.set()
        assert (first.result(30), second.result(30)) == ("first", "second")
    assert stored(database) == ["first", "second"]
    assert len(commits) == 1


def test_so_many_share_a_commit_and_the_others_the_next(
    database: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database._group._together, "_most", 2)
    names = list("abcde")
    with together(database, [adding(each) for each in names]) as futures:
        assert [each.result(30) for each in futures] == names
    assert stored(database) == names
    assert 3 <= len(commits) <= 5


def test_one_whose_thread_is_gone_holds_nobody_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the next to do the work of all, and does not hear that."""
    monkeypatch.setattr(database._group._together, "_most", 1)
    monkeypatch.setattr("app.together._ASLEEP_SECONDS", 0.05)
    held, goes_on = threading.Event(), threading.Event()

    def hold(_connection: Connection) -> str:
        held.set()
        assert goes_on.wait(30)
        return "held"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(database.change_together, hold)
        assert held.wait(30)
        database._group._together._queue.append(Ticket(lambda _connection: None))
        second = pool.submit(database.change_together, adding("second"))
        until(lambda: len(database._group._together._queue) == 2, "the second to wait")
        goes_on.set()
        assert (first.result(30), second.result(30)) == ("held", "second")
    assert stored(database) == ["second"]


def test_where_nobody_can_begin_only_those_fail_who_waited_from_the_start(database: Database) -> None:
    with closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(database.waiting(3).change_together, adding("first"))
            until(lambda: database._group._together._turn.locked(), "the first to begin")
            second = pool.submit(database.change_together, adding("second"))
            assert isinstance(first.exception(30), OperationalError)
            other.execute("ROLLBACK")
            assert second.result(30) == "second"
    assert stored(database) == ["second"]


def test_one_that_fails_takes_nothing_of_the_others_with_it(database: Database) -> None:
    works = [adding("a"), adding("b"), adding("a"), adding("c")]
    with together(database, works) as futures:
        outcomes = [each.exception(30) for each in futures]
    assert sum(isinstance(each, IntegrityError) for each in outcomes) == 1
    assert outcomes.count(None) == 3
    assert stored(database) == ["a", "b", "c"]


def test_an_error_of_any_kind_reaches_the_thread_that_asked(database: Database) -> None:
    def broken(_connection: Connection) -> str:
        raise LookupError("mine")

    with together(database, [adding("a"), broken, adding("b")]) as futures:
        outcomes = [type(each.exception(30)) for each in futures]
    assert outcomes == [type(None), LookupError, type(None)]
    assert stored(database) == ["a", "b"]
    with pytest.raises(LookupError, match="mine"):
        database.change_together(broken)


def test_where_the_commit_fails_nobody_is_told_of_a_success(database: Database) -> None:
    def refuse(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    with together(database, [*map(adding, "ab"), before_commit(database, refuse)]) as futures:
        errors = [each.exception(30) for each in futures]
        event.remove(database.engine, "commit", refuse)
    assert [type(each) for each in errors] == [OperationalError] * 3
    assert stored(database) == []
    assert database.change_together(adding("later")) == "later"


def test_a_fault_of_the_database_ends_the_whole_transaction(database: Database) -> None:
    def full(connection: Connection) -> str:
        connection.execute(text("INSERT INTO total (name, value) VALUES ('x', 1)"))
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with together(database, [adding("a"), full, adding("b")]) as futures:
        errors = [each.exception(30) for each in futures]
    assert [type(each) for each in errors] == [OperationalError] * 3
    assert stored(database) == []
    with database.reading() as rows:
        assert rows.scalar(text("SELECT count(*) FROM total WHERE name = 'x'")) == 0


def test_whoever_is_ended_in_the_middle_of_the_commit_leaves_nobody_with_a_success(
    database: Database,
) -> None:
    class EndedError(BaseException):
        """As SystemExit would be."""

    def end(_connection: object) -> None:
        raise EndedError

    with together(database, [*map(adding, "ab"), before_commit(database, end)]) as futures:
        errors = [each.exception(30) for each in futures]
        event.remove(database.engine, "commit", end)
    assert None not in errors
    assert sum(isinstance(each, EndedError) for each in errors) == 1
    assert stored(database) == []


def test_many_threads_lose_and_repeat_nothing(database: Database) -> None:
    names = [f"m{number:03}" for number in range(300)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda name: database.change_together(adding(name)), names)) == names
    with database.reading() as rows:
        assert rows.scalar(select(func.count()).select_from(Server)) == 300


def test_one_that_fails_costs_the_others_a_second_try_and_no_third(database: Database) -> None:
    tried: list[str] = []

    def noting(name: str) -> Callable[[Connection], str]:
        def work(connection: Connection) -> str:
            tried.append(name)
            return adding(name)(connection)

        return work

    with together(database, [noting("a"), noting("b"), noting("a"), noting("c")]) as futures:
        outcomes = [each.exception(30) for each in futures]
    assert sorted(type(each) is IntegrityError for each in outcomes) == [False, False, False, True]
    assert 4 < len(tried) <= 8


def test_what_one_work_has_read_is_read_anew_for_the_next(database: Database) -> None:
    """So that none decides by what another one has changed since."""
    database.change_together(adding("m"))

    def renaming(connection: Connection) -> str:
        before: str = connection.scalars(select(Server.name)).one()
        connection.execute(text("UPDATE server SET name = name || '+'"))
        return before

    with together(database, [renaming, renaming, renaming]) as futures:
        assert sorted(each.result(30) for each in futures) == ["m", "m+", "m++"]
