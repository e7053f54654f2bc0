"""Receivers that misbehave in every way: nobody else waits for them, and nothing is lost or sent twice."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask_babel import Babel
from sqlalchemy import delete, update

from app.clock import utcnow
from app.db import Database
from app.delivery import Courier
from app.models import Channel, Delivery
from app.settings import load
from tests import databases, receivers
from tests.couriers import (
    DAY,
    REFUSED,
    SENT,
    add_job,
    attempt,
    attempts,
    channel,
    courier,
    deliveries,
    tell,
    webhook,
)
from tests.processes import Veilleur
from tests.stage import add_channel

PATIENCE = 4  # each receiver that hangs takes as long; the others answer well before
GIVEN_UP = f"did not answer within {PATIENCE} s"
MAIL_STAGES = ("connect", "hello", "sender", "recipient", "data")


def _mail(database: Database, name: str, port: int, to: str = "ops@b.example") -> int:
    config: dict[str, object] = {
        "host": "127.0.0.1",
        "port": str(port),
        "security": "none",
        "from": "v@a.example",
        "to": to,
    }
    return add_channel(database, "email", name, config)


HTTP_FAULTS = {
    "hangs": (receivers.hang(), GIVEN_UP),
    "answers 500": (receivers.status(500, b"out of order"), "answered 500: out of order"),
    "is slow": (receivers.slow(30), GIVEN_UP),
    "ends in the middle": (receivers.raw(b"HTTP/1.1 2"), "did not answer as a web server does"),
    "resets": (receivers.reset(), "closed the connection without an answer"),
    "drips": (receivers.drip_headers(), GIVEN_UP),
    "has enough": (receivers.status(429, b"slow down", {"Retry-After": "3600"}), "answered 429: slow down"),
}


@contextlib.contextmanager
def _all_faults(database: Database) -> Iterator[dict[int, str]]:
    """A channel for every fault, with the words it is expected to be shown with."""
    expected: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        for name, (behaviour, words) in HTTP_FAULTS.items():
            receiver = stack.enter_context(receivers.HttpReceiver(behaviour))
            expected[webhook(database, name, receiver.url)] = words
        for stage in MAIL_STAGES:
            server = stack.enter_context(receivers.SmtpReceiver(hang_at=stage))
            expected[_mail(database, f"hangs at {stage}", server.port)] = GIVEN_UP
        dropping = stack.enter_context(receivers.SmtpReceiver(drops_after_data=True))
        expected[_mail(database, "drops after the text", dropping.port)] = "closed the connection"
        port = stack.enter_context(receivers.refused_port())
        expected[webhook(database, "refuses", f"http://127.0.0.1:{port}/")] = "refused the connection"
        expected[webhook(database, "has no name", "http://nobody.invalid/")] = "name not found"
        yield expected


def _threads(prefix: str) -> int:
    return sum(each.name.startswith(prefix) for each in threading.enumerate())


def test_whatever_receivers_do_the_one_that_works_has_everything_and_threads_are_bounded(
    database: Database,
) -> None:
    jobs = [add_job(database, f"job {number}") for number in range(3)]
    before = threading.active_count()
    with receivers.HttpReceiver() as well, _all_faults(database) as expected:
        serving = threading.active_count() - before
        webhook(database, "works", well.url)
        for job_id in jobs:
            tell(database, job_id, "overdue")
        most = 0
        with courier(database, seconds=PATIENCE, threads=8):

            def _everything_tried() -> bool:
                nonlocal most
                most = max(most, _threads("delivery"))
                return all(channel(database, each).last_error for each in expected)

            receivers.wait_until(lambda: len(well.requests) == 3, 60)
            receivers.wait_until(_everything_tried, 60)
        assert most <= 8
        assert threading.active_count() - before - serving <= 40, "threads of receivers at work"
    for channel_id, words in expected.items():
        assert words in (channel(database, channel_id).last_error or ""), channel(database, channel_id).name
    assert Counter(each.json()["url"] for each in well.requests).most_common(1)[0][1] == 1


def test_channels_that_are_known_to_hang_leave_a_thread_to_the_others(database: Database) -> None:
    job_id = add_job(database)
    with receivers.HttpReceiver(receivers.hang()) as stuck, receivers.HttpReceiver() as well:
        for number in range(6):
            webhook(database, f"stuck {number}", stuck.url)
        works = webhook(database, "works", well.url)
        tell(database, job_id, "overdue")
        with courier(database, seconds=1, threads=2) as under_test:
            receivers.wait_until(lambda: well.requests, 30)
            receivers.wait_until(lambda: len(attempts(database)) >= 7, 30)
            room = under_test._traffic.room(range(1, works + 1))
            # All six have hung by now: together they have one of the two threads.
            assert sum(limit for each, limit in room.items() if each != works) <= 1
        stuck.release()


def test_a_receiver_that_asks_for_a_pause_gets_it(database: Database) -> None:
    behaviour = receivers.status(429, b"", {"Retry-After": "3600"})
    with receivers.HttpReceiver(behaviour) as busy:
        webhook(database, "busy", busy.url)
        tell(database, add_job(database), "overdue")
        with courier(database):
            receivers.wait_until(lambda: attempts(database))
    (waiting,) = deliveries(database)
    assert waiting.next_attempt_at is not None
    assert 3500 <= (waiting.next_attempt_at - utcnow()).total_seconds() <= 3600


def test_a_mail_that_one_of_two_recipients_gets_is_sent_and_says_who_did_not(database: Database) -> None:
    with receivers.SmtpReceiver(refused={"gone@b.example": "550 5.1.1 no such user"}) as server:
        mail = _mail(database, "mail", server.port, "ops@b.example, gone@b.example")
        tell(database, add_job(database), "overdue")
        with courier(database):
            receivers.wait_until(lambda: deliveries(database)[0].status == "sent")
        assert server.mails[0].recipients == ["ops@b.example"]
    assert "refused gone@b.example: 550 5.1.1 no such user" in (deliveries(database, mail)[0].detail or "")


def test_a_mail_that_was_taken_without_a_word_comes_again_under_the_same_number(database: Database) -> None:
    with receivers.SmtpReceiver(drops_after_data=True) as server:
        _mail(database, "mail", server.port)
        tell(database, add_job(database), "overdue")
        with courier(database):
            receivers.wait_until(lambda: attempts(database))
            server.drops_after_data = False
            with database.writing() as rows:
                rows.execute(update(Delivery).values(next_attempt_at=utcnow()))
            receivers.wait_until(lambda: deliveries(database)[0].status == "sent")
        numbers = [each.message["Message-ID"] for each in server.mails]
    assert len(numbers) == 2
    assert len(set(numbers)) == 1


def test_an_attempt_that_hangs_does_not_hold_up_the_stop_of_the_service(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path, {"VEILLEUR_DELIVERY_SECONDS": "300"})
    assert veilleur.finish("flask", "db", "upgrade").returncode == 0
    database = veilleur.database()
    with receivers.HttpReceiver(receivers.hang()) as stuck:
        webhook(database, "stuck", stuck.url)
        tell(database, add_job(database), "overdue")
        with veilleur.cron() as cron:
            receivers.wait_until(lambda: stuck.requests, 30)
            assert cron.stop() == 0
    assert deliveries(database)[0].status == "pending"
    database.dispose()


# Two couriers


def test_two_couriers_on_one_database_never_send_a_message_twice(database: Database) -> None:
    jobs = [add_job(database, f"job {number}") for number in range(25)]
    with receivers.HttpReceiver(receivers.slow(0.02)) as http:
        for name in ("one", "two"):
            webhook(database, name, f"{http.url}/{name}")
        for job_id in jobs:
            tell(database, job_id, "overdue", "recovered")
        with courier(database), courier(database):
            receivers.wait_until(lambda: all(each.status == "sent" for each in deliveries(database)), 60)
        sent = Counter((each.path, each.headers["Idempotency-Key"]) for each in http.requests)
    assert len(sent) == 100
    assert set(sent.values()) == {1}


# Channels that are switched off or removed


def test_what_a_disabled_channel_has_not_delivered_waits_until_it_is_enabled(database: Database) -> None:
    with receivers.HttpReceiver() as http, receivers.HttpReceiver() as other:
        off = webhook(database, "off", http.url)
        tell(database, add_job(database), "overdue", "recovered")
        with database.writing() as rows:
            rows.execute(update(Channel).where(Channel.id == off).values(enabled=False))
        webhook(database, "on", other.url)
        tell(database, add_job(database), "overdue")
        with courier(database) as running:
            receivers.wait_until(lambda: other.requests)
            running.settle(60)
            assert http.requests == []
            assert [each.status for each in deliveries(database, off)] == ["pending"] * 2
            with database.writing() as rows:
                rows.execute(update(Channel).where(Channel.id == off).values(enabled=True))
            receivers.wait_until(lambda: len(http.requests) == 2)
    assert [each.json()["kind"] for each in http.requests] == ["overdue", "recovered"]


def test_a_channel_removed_in_the_middle_of_an_attempt_leaves_nothing_behind(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with receivers.HttpReceiver(receivers.hang()) as stuck, receivers.HttpReceiver() as well:
        gone = webhook(database, "gone", stuck.url)
        webhook(database, "well", well.url)
        tell(database, add_job(database), "overdue", "recovered")
        with courier(database) as running:
            receivers.wait_until(lambda: stuck.requests)
            with database.writing() as rows:
                rows.execute(delete(Channel).where(Channel.id == gone))
            stuck.release()
            receivers.wait_until(lambda: len(well.requests) == 2)
            running.settle(60)
    assert [each.status for each in deliveries(database)] == ["sent", "sent"]
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


# An outcome that can't be written


class _Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utcnow() + self.ahead


def test_what_was_sent_while_the_database_is_locked_is_not_sent_again(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database = databases.impatient(database)
    app, now = Flask("test"), _Clock()
    Babel(app)
    made = Courier(app, database, load({"VEILLEUR_DELIVERY_SECONDS": "20"}), now)
    with receivers.HttpReceiver() as http:
        webhook(database, "hook", http.url)
        job_id = add_job(database)
        made.start()
        tell(database, job_id, "overdue")  # a channel that works may have several under way
        receivers.wait_until(lambda: len(attempts(database)) == 1)
        http.behaviour = receivers.held()
        tell(database, job_id, "recovered")
        receivers.wait_until(lambda: len(http.requests) == 2)
        with databases.locked(tmp_path):
            http.release()
            written = re.compile(f"can't be written: .*({databases.LOCKED})")
            receivers.wait_until(lambda: written.search(caplog.text), 30)
            now.ahead = DAY  # the claim ran out long ago
            receivers.wait_until(lambda: "have to wait for the database" in caplog.text, 30)
        receivers.wait_until(lambda: deliveries(database)[1].status == "sent", 30)
        made.settle(60)
        made.stop()
    assert len(http.requests) == 2
    assert [each.delivered for each in attempts(database)] == [True, True]
    database.dispose()


def test_an_attempt_under_way_is_not_begun_again_when_the_clock_jumps_ahead(database: Database) -> None:
    app, now = Flask("test"), _Clock()
    Babel(app)
    made = Courier(app, database, load({"VEILLEUR_DELIVERY_SECONDS": "60"}), now)
    with receivers.HttpReceiver() as http:
        webhook(database, "hook", http.url)
        job_id = add_job(database)
        made.start()
        tell(database, job_id, "overdue")  # a channel that works may have several under way
        receivers.wait_until(lambda: len(attempts(database)) == 1, 30)
        http.behaviour = receivers.held()
        tell(database, job_id, "recovered")
        receivers.wait_until(lambda: len(http.requests) == 2, 30)
        now.ahead = DAY
        # Its claim has run out, so it is taken on once more, and nothing is sent for that.
        receivers.wait_until(lambda: deliveries(database)[1].attempts == 2, 30)
        tell(database, add_job(database, "another"), "overdue")
        receivers.wait_until(lambda: len(http.requests) == 3, 30)
        http.release()
        receivers.wait_until(lambda: all(each.status == "sent" for each in deliveries(database)), 30)
        made.stop()
    assert len({each.headers["Idempotency-Key"] for each in http.requests}) == len(http.requests) == 3


def test_pauses_grow_to_a_day_then_it_is_given_up_and_the_next_message_has_its_turn(
    database: Database,
) -> None:
    hook, now = webhook(database, "hook"), utcnow()
    tell(database, add_job(database), "overdue", "recovered", now=now)
    begun, pauses = now, []
    while True:
        row = attempt(database, hook, REFUSED, now)
        assert row is not None
        if row.next_attempt_at is None:
            break
        # Nothing goes before its time, neither this one nor the one behind it.
        assert attempt(database, hook, SENT, row.next_attempt_at - timedelta(seconds=1)) is None
        pauses.append((row.next_attempt_at - now).total_seconds())
        now = row.next_attempt_at
    assert pauses == sorted(pauses)
    assert pauses[-3:] == [86400] * 3
    assert row.status == "given_up"
    assert now - begun > 3 * DAY
    following = attempt(database, hook, SENT, now)
    assert following is not None
    assert (following.status, following.id > row.id) == ("sent", True)
