"""A channel that fails: its fallback gets the message once, in order, and says why it came that way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from app import fallbacks
from app.clock import utcnow
from app.db import Database
from app.models import Alert, Channel, Delivery
from app.outbox import PAUSES_SECONDS, Outcome
from tests import receivers
from tests.couriers import (
    REFUSED,
    SENT,
    add_job,
    attempt,
    channel,
    courier,
    deliveries,
    stand_in,
    tell,
    webhook,
)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def pair(database: Database) -> tuple[int, int]:
    """Two channels, the second standing in for the first."""
    first, second = webhook(database, "mail"), webhook(database, "phone")
    stand_in(database, first, second)
    return first, second


def test_a_channel_that_stands_in_gets_nothing_while_the_other_works(
    database: Database, pair: tuple[int, int]
) -> None:
    tell(database, add_job(database), "overdue")
    assert [each.channel_id for each in deliveries(database)] == [pair[0]]


def test_a_channel_that_stands_in_for_a_disabled_one_gets_everything(
    database: Database, pair: tuple[int, int]
) -> None:
    with database.writing() as rows:
        rows.execute(update(Channel).where(Channel.id == pair[0]).values(enabled=False))
    tell(database, add_job(database), "overdue")
    assert [each.channel_id for each in deliveries(database)] == [pair[1]]


def test_the_third_failure_in_a_row_brings_the_fallback_and_the_original_is_tried_on(
    database: Database, pair: tuple[int, int]
) -> None:
    first, second = pair
    tell(database, add_job(database), "overdue")
    now = utcnow()
    for number in (1, 2):
        row = attempt(database, first, REFUSED, now)
        assert row is not None
        assert row.attempts == number
        assert deliveries(database, second) == []
        now = row.next_attempt_at or now
    row = attempt(database, first, REFUSED, now)
    assert row is not None
    assert row.status == "pending"
    (standing_in,) = deliveries(database, second)
    assert (standing_in.alert_id, standing_in.job_id) == (row.alert_id, row.job_id)
    assert (standing_in.fallback_for, standing_in.next_attempt_at) == ("mail", now)
    while row and row.next_attempt_at:
        now = row.next_attempt_at
        row = attempt(database, first, REFUSED, now)
    assert row is not None
    assert (row.status, row.attempts) == ("given_up", len(PAUSES_SECONDS) + 1)
    assert len(deliveries(database, second)) == 1


def test_a_refusal_for_good_brings_the_fallback_at_once(database: Database, pair: tuple[int, int]) -> None:
    tell(database, add_job(database), "overdue")
    row = attempt(database, pair[0], Outcome(False, "answered 404", permanent=True), utcnow())
    assert row is not None
    assert row.status == "pending"
    assert [each.fallback_for for each in deliveries(database, pair[1])] == ["mail"]


def test_when_both_got_the_alert_anyway_there_is_nothing_more(database: Database) -> None:
    first, second = webhook(database, "mail"), webhook(database, "phone")
    tell(database, add_job(database), "overdue")
    stand_in(database, first, second)
    attempt(database, first, Outcome(False, "answered 404", permanent=True), utcnow())
    assert [each.fallback_for for each in deliveries(database)] == [None, None]


def test_a_chain_goes_on_to_the_fallback_of_the_fallback(database: Database, pair: tuple[int, int]) -> None:
    third = webhook(database, "siren")
    stand_in(database, pair[1], third)
    tell(database, add_job(database), "overdue")
    now = utcnow()
    for each in pair:
        attempt(database, each, Outcome(False, "answered 404", permanent=True), now)
    assert [(each.channel_id, each.fallback_for) for each in deliveries(database)] == [
        (pair[0], None),
        (pair[1], "mail"),
        (third, "phone"),
    ]


def test_a_fallback_that_is_off_is_passed_over(database: Database, pair: tuple[int, int]) -> None:
    third = webhook(database, "siren")
    stand_in(database, pair[1], third)
    with database.writing() as rows:
        rows.execute(update(Channel).where(Channel.id == pair[1]).values(enabled=False))
    tell(database, add_job(database), "overdue")
    assert [each.channel_id for each in deliveries(database)] == [pair[0]]
    attempt(database, pair[0], Outcome(False, "answered 404", permanent=True), utcnow())
    assert [each.fallback_for for each in deliveries(database, third)] == ["mail"]


def test_what_waits_behind_a_message_that_fails_goes_to_the_fallback_within_a_minute(
    database: Database, pair: tuple[int, int]
) -> None:
    now = utcnow()
    job_id = add_job(database)
    tell(database, job_id, "overdue", now=now)
    for _number in range(3):
        row = attempt(database, pair[0], REFUSED, now)
        now = (row and row.next_attempt_at) or now
    tell(database, job_id, "recovered", now=now)
    assert len(deliveries(database, pair[1])) == 1
    assert fallbacks.cover_waiting(database, now) == 0
    assert fallbacks.cover_waiting(database, now + MINUTE) == 1
    assert fallbacks.cover_waiting(database, now + 2 * MINUTE) == 0
    later = deliveries(database, pair[1])
    assert [each.alert_id for each in later] == [each.alert_id for each in deliveries(database, pair[0])]
    # In order there as well: the first holds back the second.
    told = [attempt(database, pair[1], SENT, now + MINUTE) for _number in range(2)]
    assert [each and each.id for each in told] == [each.id for each in later]


def test_what_came_before_a_message_that_waits_reaches_the_fallback_first(
    database: Database, pair: tuple[int, int]
) -> None:
    now = utcnow()
    tell(database, add_job(database), "overdue", "recovered", now=now)
    attempt(database, pair[0], REFUSED, now + MINUTE)  # its first failure, and its pause is not over yet
    assert fallbacks.cover_waiting(database, now + MINUTE) == 2
    alerts = [each.alert_id for each in deliveries(database, pair[0])]
    assert [each.alert_id for each in deliveries(database, pair[1])] == alerts


def test_what_waits_on_a_channel_that_works_stays_there(database: Database, pair: tuple[int, int]) -> None:
    tell(database, add_job(database), "overdue")
    assert fallbacks.cover_waiting(database, utcnow() + 10 * MINUTE) == 0


def test_a_grouped_message_without_a_job_reaches_the_fallback_too(
    database: Database, pair: tuple[int, int]
) -> None:
    now = utcnow()
    with database.writing() as rows:
        group = Alert(message_id="g" * 32, kind="overdue", facts={}, created_at=now, routed_at=now)
        rows.add(group)
        rows.flush()
        rows.execute(insert(Delivery).values(alert_id=group.id, channel_id=pair[0], next_attempt_at=now))
    attempt(database, pair[0], Outcome(False, "answered 404", permanent=True), now)
    (standing_in,) = deliveries(database, pair[1])
    assert (standing_in.job_id, standing_in.fallback_for) == (None, "mail")


def test_the_message_says_in_one_line_why_it_came_this_way(database: Database) -> None:
    with receivers.HttpReceiver(receivers.status(404)) as gone, receivers.HttpReceiver() as well:
        first, second = webhook(database, "ops mail", gone.url), webhook(database, "phone", well.url)
        stand_in(database, first, second)
        tell(database, add_job(database), "overdue")
        with courier(database):
            receivers.wait_until(lambda: well.requests)
        original, standing_in = gone.requests[0].json(), well.requests[0].json()
    told = "This message came this way because the channel ops mail failed."
    assert standing_in["body"].split("\n\n")[1] == told
    assert told not in original["body"]
    assert original["messageId"] == standing_in["messageId"]


def test_a_circle_of_fallbacks_is_refused_and_shows_the_way(database: Database) -> None:
    ids = [webhook(database, name) for name in ("a", "b", "c")]
    with database.writing() as rows:
        a, b, c = (rows.get(Channel, each) for each in ids)
        assert a is not None
        fallbacks.set_fallback(rows, a, b)
        assert b is not None
        fallbacks.set_fallback(rows, b, c)
        assert c is not None
        with pytest.raises(fallbacks.FallbackCycle, match="c → a → b → c"):
            fallbacks.set_fallback(rows, c, a)
        with pytest.raises(fallbacks.FallbackCycle, match="c → c"):
            fallbacks.set_fallback(rows, c, c)
    assert channel(database, ids[2]).fallback_id is None


def test_when_the_fallback_is_removed_the_channel_stands_alone(
    database: Database, pair: tuple[int, int]
) -> None:
    tell(database, add_job(database), "overdue")
    with database.writing() as rows:
        rows.execute(Channel.__table__.delete().where(Channel.id == pair[1]))
    attempt(database, pair[0], Outcome(False, "answered 404", permanent=True), utcnow())
    assert len(deliveries(database)) == 1
    with database.reading() as rows:
        assert rows.scalars(select(Channel.fallback_id)).one() is None
