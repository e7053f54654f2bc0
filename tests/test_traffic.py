"""What was taken on ahead, and what it came to, between the database and the threads that deliver."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app import ledger, outbox, traffic
from app.clock import utcnow
from app.db import Database
from app.ledger import Ledger
from app.models import DeliveryAttempt
from app.outbox import Claim, Ended, Outcome
from app.traffic import AHEAD, MOST_UNWRITTEN, Traffic
from tests.couriers import SENT, add_job, attempts, deliveries, tell, webhook

NOW = utcnow()


def _claim(number: int, channel: int = 1) -> Claim:
    return Claim(
        number, 1, NOW, "overdue", {}, f"{number:032x}", NOW, number, None, channel, "webhook", {}, "en"
    )


def _proven(threads: int = 8) -> Traffic:
    """Channel 1 has just taken a message."""
    made = Traffic(threads)
    made.put([_claim(1)])
    first = made.begin()
    assert first is not None
    made.end(first, delivered=True)
    made.forget([first])
    return made


def test_a_channel_that_has_proved_nothing_gets_one_message_and_one_that_works_gets_many() -> None:
    made = _proven()
    assert made.room([1, 2]) == {1: AHEAD, 2: 1}
    made.put([_claim(number) for number in range(10, 10 + AHEAD)])
    assert made.room([1, 2]) == {2: 1}


def test_more_is_taken_on_when_half_of_it_is_gone_not_one_after_the_other() -> None:
    made = _proven()
    made.put([_claim(number) for number in range(10, 10 + AHEAD)])
    rooms = []
    while (claim := made.begin()) is not None:
        made.end(claim, delivered=True)
        made.forget([claim])
        rooms.append(made.room([1]).get(1, 0))
    assert rooms == [0] * (AHEAD // 2 - 1) + list(range(AHEAD // 2, AHEAD + 1))


def test_a_channel_that_hangs_leaves_threads_to_others_and_they_go_first_when_it_is_their_turn() -> None:
    made = _proven()
    made.put([_claim(number) for number in range(10, 30)])
    begun = [made.begin() for _ in range(8)]
    assert sum(each is not None for each in begun) == 6
    made.put([_claim(50, channel=2), _claim(51, channel=3)])
    other = [made.begin(), made.begin()]
    assert {each.channel_id for each in other if each} == {2, 3}
    assert made.begin() is None


def test_little_is_sent_before_it_is_written_down_what_was_sent() -> None:
    made = _proven()
    made.put([_claim(number) for number in range(10, 10 + AHEAD)])
    sent = []
    while (claim := made.begin()) is not None:
        made.end(claim, delivered=True)
        sent.append(claim)
    assert len(sent) == MOST_UNWRITTEN < AHEAD
    made.forget(sent[:3])
    assert made.begin() is not None


def test_what_waits_too_long_is_not_begun_but_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _proven()
    made.put([_claim(number) for number in (10, 11)])
    assert made.take_back() == []
    monkeypatch.setattr(traffic, "LONGEST_WAIT_SECONDS", -1.0)
    assert made.begin() is None
    assert [each.delivery_id for each in made.take_back()] == [10, 11]
    assert made.take_back() == []


def test_what_waits_for_a_channel_is_given_back_when_it_fails_and_all_when_it_is_over() -> None:
    made = _proven()
    made.put([_claim(number) for number in (10, 11, 12)])
    first, second = made.begin(), made.begin()
    assert first is not None
    assert second is not None
    made.put([_claim(20, channel=2)])
    made.end(first, delivered=False)
    assert [each.delivery_id for each in made.take_back()] == [12]
    made.close()
    assert made.begin() is None
    assert [each.delivery_id for each in made.take_back()] == [20]
    made.end(second, delivered=True)
    assert made.begin() is None


def test_what_is_under_way_is_not_taken_on_once_more_until_it_is_written_down() -> None:
    made = _proven()
    made.put([_claim(10)])
    first = made.begin()
    assert first is not None
    made.put([replace(first, attempt=2)])
    assert made.begin() is None
    made.end(first, delivered=True)
    made.put([replace(first, attempt=2)])
    assert made.begin() is None
    assert made.is_any_under_way()
    made.forget([first])
    assert not made.is_any_under_way()


# Writing down


def _ended(database: Database, count: int) -> list[Ended]:
    hook = webhook(database, "hook")
    for number in range(count):
        tell(database, add_job(database, f"job {number}"), "overdue")
    now = utcnow() + timedelta(seconds=1)
    return [Ended(each, SENT, now, 0.1) for each in outbox.claim(database, {hook: count}, now, 60)]


def test_what_can_not_be_written_takes_nothing_of_the_others_with_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ended = _ended(database, 3)
    ended[1] = replace(ended[1], outcome=Outcome(True, None))  # type: ignore[arg-type]
    book = Ledger(database)
    for each in ended:
        book.add(each)
    assert len(book.write()) == 3
    assert [each.status for each in deliveries(database)] == ["sent", "pending", "sent"]
    assert len(attempts(database)) == 2
    told = [each.message for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(told) == 1
    assert f"the outcome of delivery {ended[1].claim.delivery_id} can't be written" in told[0]
    assert book.write() == []


@pytest.mark.sqlite("about its lock")
def test_what_can_not_be_written_while_the_database_is_locked_is_kept_and_given_up_in_the_end(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Ledger(database.waiting(0.01))
    for each in _ended(database, 2):
        book.add(each)
    with closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        assert book.write() == book.write() == []
        assert len([each for each in caplog.records if "can't be written" in each.message]) == 1
        blocker.execute("ROLLBACK")
        assert len(book.write()) == 2
        assert len(attempts(database)) == 2
        for each in _again(database):
            book.add(each)
        blocker.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(ledger, "WRITING_SECONDS", -1)
        assert len(book.write()) == 2
        blocker.execute("ROLLBACK")
    assert book.write() == []
    with database.reading() as rows:
        assert len(rows.scalars(select(DeliveryAttempt)).all()) == 2


@pytest.mark.sqlite("about its file")
def test_what_was_sent_while_the_database_was_damaged_is_written_down_when_it_is_whole_again(
    database: Database,
) -> None:
    book = Ledger(database)
    for each in _ended(database, 2):
        book.add(each)
    path = Path(str(database.engine.url.database))
    database.dispose()
    aside = path.rename(path.with_suffix(".aside"))
    path.touch()
    assert book.write() == []
    aside.replace(path)
    assert len(book.write()) == 2
    assert [each.status for each in deliveries(database)] == ["sent", "sent"]


def _again(database: Database) -> list[Ended]:
    return [Ended(_claim(each.id), SENT, utcnow(), 0.1) for each in deliveries(database)]
