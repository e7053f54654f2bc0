"""How channels fare: since when they fail, in the receiver's words, and what is sent again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, update

from app import channels, delivery, outbox, resend
from app.channels import LONGEST_CLAIM_SECONDS, FailingChannel
from app.clock import utcnow
from app.db import Database
from app.models import Channel, Delivery
from app.outbox import Outcome
from app.setting_table import SETTINGS
from tests import receivers
from tests.couriers import (
    DAY,
    REFUSED,
    SENT,
    add_job,
    attempt,
    channel,
    courier,
    deliveries,
    tell,
    webhook,
)

SECRET = "tk_verysecrettoken123"


def _failing(database: Database) -> list[FailingChannel]:
    with database.reading() as rows:
        return channels.failing_channels(rows)


def _state(database: Database) -> str:
    with database.reading() as rows:
        return channels.state(rows, len(channels.failing_channels(rows)))


def test_the_first_failure_sets_the_time_and_a_success_clears_it(database: Database) -> None:
    hook, now = webhook(database, "hook"), utcnow()
    tell(database, add_job(database), "overdue", now=now)
    attempt(database, hook, REFUSED, now)
    assert _failing(database) == [FailingChannel(hook, "hook", "webhook", now, "refused the connection")]
    later = now + DAY
    attempt(database, hook, Outcome(False, "answered 500"), later)
    assert _failing(database) == [FailingChannel(hook, "hook", "webhook", now, "answered 500")]
    attempt(database, hook, SENT, later + DAY)
    assert _failing(database) == []
    assert channel(database, hook).last_error is None


def test_the_channel_is_written_only_when_something_changes(database: Database) -> None:
    hook, now = webhook(database, "hook"), utcnow()
    tell(database, add_job(database), "overdue", "recovered", now=now)
    changed: list[int] = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def _count(_connection: object, cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("UPDATE channel"):
            changed.append(cursor.rowcount)  # type: ignore[attr-defined]

    for outcome in (REFUSED, REFUSED, SENT, SENT):
        attempt(database, hook, outcome, now)
        now += DAY
    assert changed == [1, 0, 1, 0]


def test_the_words_of_the_receiver_are_kept_without_the_secrets(database: Database) -> None:
    body = f"token {SECRET} is not known".encode()
    with receivers.HttpReceiver(receivers.status(403, body)) as http:
        webhook(database, "hook", f"{http.url}/{SECRET}")
        tell(database, add_job(database), "overdue")
        with courier(database):
            receivers.wait_until(lambda: _failing(database))
    detail = _failing(database)[0].detail
    assert "answered 403" in detail
    assert "is not known" in detail
    assert SECRET not in detail


@pytest.mark.parametrize(
    ("failing", "working", "off", "expected"),
    [(0, 0, 0, "none"), (0, 0, 1, "none"), (0, 2, 0, "ok"), (1, 1, 0, "degraded"), (2, 0, 1, "failing")],
)
def test_people_would_hear_as_long_as_one_channel_works(
    database: Database, failing: int, working: int, off: int, expected: str
) -> None:
    for number in range(failing + working + off):
        webhook(database, f"hook {number}")
    with database.writing() as rows:
        now = utcnow()
        rows.execute(
            update(Channel).where(Channel.id <= failing).values(failing_since_at=now, last_error="no")
        )
        # One that is off does not count, whatever it did last.
        rows.execute(
            update(Channel)
            .where(Channel.id > failing + working)
            .values(enabled=False, failing_since_at=now, last_error="no")
        )
    assert _state(database) == expected


def _waiting(database: Database, count: int, name: str = "hook", url: str = "http://127.0.0.1:1/") -> int:
    """Messages about as many jobs, each failed so often that its pause is long."""
    hook, now = webhook(database, name, url), utcnow()
    for number in range(count):
        tell(database, add_job(database, f"job {number}"), "overdue", now=now)
    with database.writing() as rows:
        paused = {"attempts": 9, "next_attempt_at": now + DAY, "detail": "refused the connection"}
        rows.execute(update(Delivery).values(paused))
        rows.execute(update(Channel).values(failing_since_at=now - DAY, last_error="refused the connection"))
    return hook


def test_a_receiver_that_is_back_has_everything_soon_and_in_order(database: Database) -> None:
    with receivers.HttpReceiver() as http:
        _waiting(database, 20, url=http.url)
        first_job = deliveries(database)[0].job_id
        assert first_job is not None
        for number in range(20):
            job_id = deliveries(database)[number].job_id
            tell(database, job_id or 0, "reminder", "recovered")
        tell(database, add_job(database, "one more"), "overdue")  # nothing waits before it: it goes at once
        with courier(database):
            receivers.wait_until(lambda: len(http.requests) == 61, 30)
    told: dict[str, list[str]] = {}
    ids = {each.alert_id: each.job_id for each in deliveries(database)}
    assert len(ids) == 61
    assert all(each.status == "sent" for each in deliveries(database))
    for request in http.requests:
        told.setdefault(request.json()["url"], []).append(request.json()["kind"])
    assert sorted(map(tuple, told.values())) == [("overdue",)] + 20 * [("overdue", "reminder", "recovered")]


def test_a_success_brings_few_forward_so_that_nothing_is_given_up_for_it(database: Database) -> None:
    hook, now = _waiting(database, 10), utcnow()
    tell(database, add_job(database, "one more"), "overdue")
    attempt(database, hook, SENT, now + timedelta(seconds=5))
    due = [
        each for each in deliveries(database) if each.next_attempt_at and each.next_attempt_at < now + DAY / 2
    ]
    assert len(due) == 2


def test_no_claim_lasts_longer_than_pauses_are_told_from_it() -> None:
    (longest,) = (each for each in SETTINGS if each.field == "delivery_seconds")
    assert longest.read("300") == 300
    with pytest.raises(ValueError, match="300"):
        longest.read("301")
    assert 300 + delivery._CLAIM_GRACE_SECONDS <= LONGEST_CLAIM_SECONDS


def _give_up(database: Database, channel_id: int, days_ago: int) -> None:
    with database.writing() as rows:
        gone = {"status": "given_up", "attempts": 12, "next_attempt_at": None, "detail": "refused"}
        rows.execute(
            update(Delivery)
            .where(Delivery.channel_id == channel_id, Delivery.status == "pending")
            .values(**gone, finished_at=utcnow() - timedelta(days=days_ago))
        )


def test_what_was_given_up_lately_is_sent_again_and_counted(database: Database) -> None:
    hook, other = webhook(database, "hook"), webhook(database, "other")
    for days_ago in (1, 6, 8):
        tell(database, add_job(database, f"job {days_ago}"), "overdue")
        _give_up(database, hook, days_ago)
        _give_up(database, other, days_ago)
    now = utcnow()
    with database.reading() as rows:
        assert [(each.name, each.given_up, each.waiting) for each in resend.overview(rows, now)] == [
            ("hook", 2, 0),
            ("other", 2, 0),
        ]
    with database.writing() as rows:
        assert resend.send_again(rows, hook, now) == resend.Resent(2, 0)
    again = [each for each in deliveries(database, hook) if each.status == "pending"]
    assert [(each.attempts, each.next_attempt_at, each.finished_at) for each in again] == [(0, now, None)] * 2
    assert all(each.status == "given_up" for each in deliveries(database, other))
    with database.writing() as rows:
        assert resend.send_again(rows, hook, now, days=30) == resend.Resent(1, 0)
        assert resend.send_again(rows, hook, now, days=30) == resend.Resent(0, 0)


def test_what_was_given_up_arrives_when_it_is_sent_again(database: Database) -> None:
    with receivers.HttpReceiver() as http:
        hook = webhook(database, "hook", http.url)
        tell(database, add_job(database), "overdue", "recovered")
        _give_up(database, hook, 1)
        with courier(database), database.writing() as rows:
            resend.send_again(rows, hook, utcnow())
        with courier(database):
            receivers.wait_until(lambda: len(http.requests) == 2)
    assert [each.json()["kind"] for each in http.requests] == ["overdue", "recovered"]


def test_sending_again_ends_the_pauses_of_what_waits(database: Database) -> None:
    hook, now = _waiting(database, 5), utcnow()
    with database.writing() as rows:
        assert resend.send_again(rows, hook, now) == resend.Resent(0, 5)
    assert [each.next_attempt_at for each in deliveries(database)] == [now] * 5


def test_what_is_being_sent_right_now_is_not_brought_forward(database: Database) -> None:
    hook, now = webhook(database, "hook"), utcnow()
    tell(database, add_job(database), "overdue")
    outbox.claim(database, {hook: 1}, now + timedelta(seconds=1), LONGEST_CLAIM_SECONDS - 1)
    with database.writing() as rows:
        assert resend.send_again(rows, hook, now) == resend.Resent(0, 0)
