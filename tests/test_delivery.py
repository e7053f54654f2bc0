"""Delivering what is recorded: real receivers, retries, order, and nothing lost or held up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask_babel import Babel
from sqlalchemy import select, update

from app import alerts, checks, outbox
from app.alerts import News
from app.clock import utcnow
from app.db import Database
from app.delivery import Courier
from app.models import Delivery, DeliveryAttempt, Job
from app.outbox import Claim, Ended, Outcome
from app.settings import Settings, load
from tests import databases, receivers
from tests.stage import POLICY, add_channel, backup_body, send

DAY = timedelta(days=1)


@pytest.fixture
def settings() -> Settings:
    return load({"VEILLEUR_DELIVERY_SECONDS": "20", "VEILLEUR_DELIVERY_THREADS": "4"})


@pytest.fixture
def courier(database: Database, settings: Settings) -> Iterator[Courier]:
    app = Flask("test")
    Babel(app)
    made = Courier(app, database, settings, utcnow)
    made.start()
    yield made
    made.stop()


def _job_overdue(database: Database, name: str = "Documents nightly") -> None:
    now = utcnow()
    send(database, backup_body(now - 3 * DAY, name=name), now)
    checks.run(database, POLICY, now)


def _deliveries(database: Database) -> list[Delivery]:
    with database.reading() as rows:
        return list(rows.scalars(select(Delivery).order_by(Delivery.id)))


def _webhook(database: Database, name: str, url: str) -> int:
    return add_channel(database, "webhook", name, {"url": url})


def test_an_overdue_job_reaches_every_kind_of_receiver_once(database: Database, courier: Courier) -> None:
    with receivers.HttpReceiver() as http, receivers.SmtpReceiver() as smtp:
        _webhook(database, "hook", http.url)
        mail = {
            "host": "127.0.0.1",
            "port": str(smtp.port),
            "security": "none",
            "from": "v@a.example",
            "to": "o@b.example",
        }
        add_channel(database, "email", "mail", dict(mail))
        add_channel(database, "apprise", "apprise", {"urls": http.url.replace("http://", "json://")})
        _job_overdue(database)
        courier.wake()
        receivers.wait_until(lambda: all(each.status == "sent" for each in _deliveries(database)))
        courier.settle(60)
        assert len(http.requests) == 2
        assert len(smtp.mails) == 1
    assert courier.sent_count == 3
    assert all(each.next_attempt_at is None and each.attempts == 1 for each in _deliveries(database))


def test_a_receiver_that_fails_is_tried_again_later_with_the_same_message_id(
    database: Database, courier: Courier
) -> None:
    begun_at = utcnow()
    with receivers.HttpReceiver(receivers.status(500)) as http:
        _webhook(database, "hook", http.url)
        _job_overdue(database)
        courier.wake()
        receivers.wait_until(lambda: bool(_deliveries(database)[0].detail))
        waiting = _deliveries(database)[0]
        assert (waiting.status, waiting.attempts) == ("pending", 1)
        assert waiting.next_attempt_at is not None
        assert waiting.next_attempt_at > begun_at + timedelta(seconds=5)
        assert "500" in (waiting.detail or "")
        with database.writing() as rows:
            rows.execute(update(Delivery).values(next_attempt_at=utcnow()))
        receivers.wait_until(lambda: len(http.requests) == 2)
        ids = {each.headers["Idempotency-Key"] for each in http.requests}
    assert len(ids) == 1
    receivers.wait_until(lambda: _attempts(database) == 2)


def _attempts(database: Database) -> int:
    with database.reading() as rows:
        return len(rows.scalars(select(DeliveryAttempt)).all())


def test_a_hanging_receiver_holds_up_nobody_else(database: Database, courier: Courier) -> None:
    with receivers.HttpReceiver(receivers.hang()) as stuck, receivers.HttpReceiver() as well:
        _webhook(database, "stuck", stuck.url)
        _webhook(database, "well", well.url)
        for number in range(10):
            _job_overdue(database, f"job {number}")
        courier.wake()
        receivers.wait_until(lambda: len(well.requests) == 10)
        assert all(each.status != "sent" for each in _deliveries(database) if each.channel_id == 1)
        stuck.release()


def test_messages_of_one_job_arrive_in_order_on_a_channel(database: Database) -> None:
    channel_id = _webhook(database, "hook", "http://127.0.0.1:1/")
    _job_overdue(database)
    now = utcnow()
    with database.writing() as rows:
        job_id = rows.scalars(select(Job.id)).one()
        alerts.record(rows, [News(job_id, "recovered", {})], now)
    first = outbox.claim(database, {channel_id: 10}, now + DAY, 60)
    assert [each.alert_kind for each in first] == ["overdue"]
    outbox.finish(database, [Ended(first[0], Outcome(True, "200 OK"), now, 0.1)])
    second = outbox.claim(database, {channel_id: 10}, now + DAY, 60)
    assert [each.alert_kind for each in second] == ["recovered"]


def test_what_one_process_has_claimed_another_does_not_get_until_the_claim_runs_out(
    database: Database,
) -> None:
    channel_id = _webhook(database, "hook", "http://127.0.0.1:1/")
    _job_overdue(database)
    now = utcnow() + timedelta(seconds=1)
    assert len(outbox.claim(database, {channel_id: 10}, now, 60)) == 1
    assert outbox.claim(database, {channel_id: 10}, now + timedelta(seconds=59), 60) == []
    again = outbox.claim(database, {channel_id: 10}, now + timedelta(seconds=61), 60)
    assert [each.attempt for each in again] == [2]


def test_pauses_grow_and_in_the_end_it_is_given_up(database: Database) -> None:
    channel_id = _webhook(database, "hook", "http://127.0.0.1:1/")
    _job_overdue(database)
    now, pauses = utcnow() + timedelta(seconds=1), []
    while True:
        claims: list[Claim] = outbox.claim(database, {channel_id: 1}, now, 60)
        outbox.finish(database, [Ended(claims[0], Outcome(False, "refused"), now, 0)])
        row = _deliveries(database)[0]
        if row.next_attempt_at is None:
            break
        pauses.append(round((row.next_attempt_at - now).total_seconds()))
        now = row.next_attempt_at
    assert pauses == list(outbox.PAUSES_SECONDS)
    assert (row.status, row.detail) == ("given_up", "refused")


def test_a_channel_with_nothing_to_send_takes_no_room_from_another(
    database: Database, courier: Courier
) -> None:
    with receivers.HttpReceiver() as first, receivers.HttpReceiver() as second:
        _webhook(database, "first", first.url)
        _webhook(database, "second", second.url)
        for number in range(1, 4):
            _job_overdue(database, f"job {number}")
            courier.wake()
            receivers.wait_until(lambda: len(first.requests) == len(second.requests) == number)  # noqa: B023


def test_channels_that_hang_leave_threads_for_the_others(database: Database, courier: Courier) -> None:
    with receivers.HttpReceiver(receivers.hang()) as stuck, receivers.HttpReceiver() as well:
        for number in range(3):
            _webhook(database, f"stuck {number}", stuck.url)
        _webhook(database, "well", well.url)
        for number in range(8):
            _job_overdue(database, f"job {number}")
        courier.wake()
        receivers.wait_until(lambda: len(well.requests) == 8)
        stuck.release()


def test_an_attempt_that_outlived_its_claim_does_not_reopen_what_was_delivered(database: Database) -> None:
    channel_id = _webhook(database, "hook", "http://127.0.0.1:1/")
    _job_overdue(database)
    now = utcnow() + timedelta(seconds=1)
    slow = outbox.claim(database, {channel_id: 1}, now, 60)[0]
    quick = outbox.claim(database, {channel_id: 1}, now + timedelta(seconds=61), 60)[0]
    outbox.finish(database, [Ended(quick, Outcome(True, "200 OK"), now, 0)])
    outbox.finish(database, [Ended(slow, Outcome(False, "timed out"), now, 0)])
    row = _deliveries(database)[0]
    assert (row.status, row.next_attempt_at, row.detail) == ("sent", None, "200 OK")


def test_what_waits_behind_an_earlier_message_keeps_nobody_busy(database: Database) -> None:
    channel_id = _webhook(database, "hook", "http://127.0.0.1:1/")
    _job_overdue(database)
    now = utcnow() + timedelta(seconds=1)
    first = outbox.claim(database, {channel_id: 1}, now, 60)[0]
    outbox.finish(database, [Ended(first, Outcome(False, "refused"), now, 0)])
    with database.writing() as rows:
        alerts.record(rows, [News(first.job_id, "recovered", {})], now)
    assert outbox.due_channels(database, now + timedelta(seconds=1)) == []
    assert outbox.due_channels(database, now + timedelta(seconds=60)) == [channel_id]


def test_what_was_sent_while_the_database_is_locked_is_noted_later_and_not_sent_again(
    tmp_path: Path, database: Database, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("test")
    Babel(app)
    impatient = databases.impatient(database)
    courier = Courier(app, impatient, settings, utcnow)
    courier.start()
    with receivers.HttpReceiver(receivers.held()) as http:
        _webhook(database, "hook", http.url)
        _job_overdue(database)
        courier.wake()
        receivers.wait_until(lambda: http.requests)
        with databases.locked(tmp_path):
            http.release()
            receivers.wait_until(lambda: "the outcome of delivery 1 can't be written" in caplog.text)
        receivers.wait_until(lambda: _deliveries(database)[0].status == "sent")
        courier.stop()
        impatient.dispose()
        assert len(http.requests) == 1
