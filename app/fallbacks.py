"""The channel that stands in for one that fails: exactly one more delivery of the same alert."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from app.db import Database, insert_if_absent
from app.models import Channel, Delivery

# So many failed attempts in a row, and the fallback gets the message too.
AFTER_ATTEMPTS = 3
# So long may a message wait for its turn on a failing channel before the fallback gets it too.
PATIENCE_SECONDS = 60
_BATCH = 500


class FallbackCycle(ValueError):
    """A channel would in the end stand in for itself; the text shows the way."""


def regular_channels(session: Session) -> list[int]:
    """Channels that get every alert: the enabled ones, but not those that stand in for another."""
    rows = session.execute(
        select(Channel.id, Channel.enabled, Channel.fallback_id).order_by(Channel.id)
    ).all()
    enabled = [each.id for each in rows if each.enabled]
    following = {each.id: each.fallback_id for each in rows}
    stand_ins = set()
    for channel in enabled:
        way, steps = following[channel], 0
        while way is not None and way not in enabled and steps < len(rows):
            way, steps = following[way], steps + 1
        stand_ins.add(way)
    return [each for each in enabled if each not in stand_ins]


def set_fallback(session: Session, channel: Channel, other: Channel | None) -> None:
    """Raises FallbackCycle, and nothing has changed then."""
    # Two at once could make a circle of which neither sees the other half.
    session.execute(select(Channel.id).order_by(Channel.id).with_for_update())
    if other is not None:
        way = [channel.name, *(each.name for each in _chain(session, other))]
        if channel.name in way[1:]:
            raise FallbackCycle(" → ".join(way[: way.index(channel.name, 1) + 1]))
    channel.fallback_id = other.id if other else None


def _chain(session: Session, first: Channel | None) -> list[Channel]:
    """A channel, its fallback, the fallback of that one, and so on."""
    chain: list[Channel] = []
    while first is not None and first not in chain:
        chain.append(first)
        first = session.get(Channel, first.fallback_id) if first.fallback_id else None
    return chain


def fallback_of(session: Session, channel: Channel) -> Channel | None:
    """The next channel along the chain that is enabled."""
    return next((each for each in _chain(session, channel)[1:] if each.enabled), None)


def stand_in(session: Session, delivery_id: int, now: datetime) -> bool:
    """Have the fallback deliver the same alert, unless it does or did already; whether that is new."""
    delivery = session.get(Delivery, delivery_id)
    if delivery is None:
        return False
    fallback = fallback_of(session, delivery.channel)
    return fallback is not None and insert_if_absent(
        session,
        Delivery,
        alert_id=delivery.alert_id,
        channel_id=fallback.id,
        job_id=delivery.job_id,
        fallback_for=delivery.channel.name,
        next_attempt_at=now,
    )


def cover_waiting(database: Database, now: datetime) -> int:
    """What waits behind others on a failing channel fails no attempts: it goes to the fallback by its age,
    and whatever came before it does as well, so that the fallback tells things in their order."""
    with database.reading() as session:
        waiting = [each for channel in _failing(session) for each in _waiting(session, channel, now)]
    if not waiting:
        return 0
    with database.writing() as session:
        return sum(stand_in(session, each, now) for each in waiting)


def _failing(session: Session) -> list[Channel]:
    failing = (Channel.enabled, Channel.failing_since_at.is_not(None), Channel.fallback_id.is_not(None))
    return list(session.scalars(select(Channel).where(*failing)))


def _waiting(session: Session, channel: Channel, now: datetime) -> list[int]:
    fallback = fallback_of(session, channel)
    if fallback is None:
        return []
    impatient, other = aliased(Delivery), aliased(Delivery)
    last = select(func.max(impatient.id)).where(
        impatient.channel_id == channel.id,
        impatient.next_attempt_at <= now - timedelta(seconds=PATIENCE_SECONDS),
    )
    has_it = exists().where(other.alert_id == Delivery.alert_id, other.channel_id == fallback.id)
    query = (
        select(Delivery.id)
        .where(
            Delivery.channel_id == channel.id,
            Delivery.next_attempt_at.is_not(None),
            Delivery.id <= last.scalar_subquery(),
            ~has_it,
        )
        .order_by(Delivery.id)
        .limit(_BATCH)
    )
    return list(session.scalars(query))
