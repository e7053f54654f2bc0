"""How each channel fares: since when it fails and what its receiver says, and what waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, bindparam, func, literal, or_, select, update
from sqlalchemy.orm import Session

from app.db import UtcDateTime
from app.models import Alert, Channel, Delivery, Job, Server

OK, DEGRADED, FAILING, NONE = "ok", "degraded", "failing", "none"

# No claim lasts longer, whatever is set: what is due later than this is in a pause, and nobody has it.
LONGEST_CLAIM_SECONDS = 340
# Each success brings so many of the others forward: a receiver that is back has everything soon, and one
# that takes a message now and then is not asked again and again until all the rest is given up.
_FORWARD_AT_ONCE = 2
RECENT = 20


# Built once, since every message that arrives asks them.
_WORKS = (
    update(cast(Table, Channel.__table__))
    .where(Channel.id == bindparam("channel"), Channel.failing_since_at.is_not(None))
    .values(failing_since_at=None, last_error=None)
)
_PAUSED = (
    select(Delivery.id)
    .where(Delivery.channel_id == bindparam("channel"), Delivery.next_attempt_at > bindparam("after"))
    .order_by(Delivery.next_attempt_at)
)


@dataclass(frozen=True, slots=True)
class FailingChannel:
    channel_id: int
    name: str
    kind: str
    since_at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class RecentDelivery:
    """A delivery with what it was about; a message about several jobs has no job."""

    delivery: Delivery
    alert_kind: str
    job: str | None
    server: str | None


def note_failure(session: Session, channel_id: int, detail: str, now: datetime) -> None:
    """The first failure since the last success sets the time; the words are always the newest."""
    news = or_(Channel.failing_since_at.is_(None), Channel.last_error.is_distinct_from(detail))
    since_at = func.coalesce(Channel.failing_since_at, literal(now, UtcDateTime))
    session.execute(
        update(Channel)
        .where(Channel.id == channel_id, news)
        .values(failing_since_at=since_at, last_error=detail)
        .execution_options(synchronize_session=False)
    )


def note_success(session: Session, channel_id: int, now: datetime, messages: int = 1) -> None:
    """The channel works; what waits in a pause for another attempt need not wait for its end."""
    session.connection().execute(_WORKS, {"channel": channel_id})
    bring_forward(session, channel_id, now, messages * _FORWARD_AT_ONCE)


def bring_forward(session: Session, channel_id: int, now: datetime, most: int | None = None) -> int:
    """Let what waits in a long pause for another attempt go now, the soonest first; returns how many."""
    beyond_claims_at = now + timedelta(seconds=LONGEST_CLAIM_SECONDS)
    paused = _PAUSED if most is None else _PAUSED.limit(most)
    ids = session.connection().scalars(paused, {"channel": channel_id, "after": beyond_claims_at}).all()
    if ids:
        session.execute(update(Delivery), [{"id": each, "next_attempt_at": now} for each in ids])
    return len(ids)


def failing_channels(session: Session) -> list[FailingChannel]:
    """Enabled channels whose last attempt failed, the longest failing first."""
    query = (
        select(Channel)
        .where(Channel.enabled, Channel.failing_since_at.is_not(None))
        .order_by(Channel.failing_since_at, Channel.id)
    )
    return [
        FailingChannel(each.id, each.name, each.kind, each.failing_since_at, each.last_error or "")
        for each in session.scalars(query)
        if each.failing_since_at
    ]


def count(session: Session) -> int:
    """How many there are, whether enabled or not."""
    return session.scalar(select(func.count()).select_from(Channel)) or 0


def state(session: Session, failing: int) -> str:
    """Whether people would hear: `failing` when no enabled channel works, `none` when there is none."""
    enabled = session.scalar(select(func.count()).select_from(Channel).where(Channel.enabled)) or 0
    if not enabled:
        return NONE
    if failing >= enabled:
        return FAILING
    return DEGRADED if failing else OK


def recent(session: Session, channel_id: int) -> list[RecentDelivery]:
    """The newest deliveries of a channel: what still waits, the next first, and then what is over."""
    query = (
        select(Delivery, Alert.kind, Job.name, Server.name)
        .join(Alert, Alert.id == Delivery.alert_id)
        .outerjoin(Job, Job.id == Delivery.job_id)
        .outerjoin(Server, Server.id == Job.server_id)
        .where(Delivery.channel_id == channel_id)
        .limit(RECENT)
    )
    # Apart, and in these orders, each is read from the end of the channel's index and never sorted.
    order = Delivery.next_attempt_at
    waiting = session.execute(query.where(order.is_not(None)).order_by(order, Delivery.id)).all()
    over = session.execute(query.where(order.is_(None)).order_by(order.desc(), Delivery.id.desc())).all()
    return [RecentDelivery(*row) for row in (*waiting, *over)][:RECENT]


def waiting_count(session: Session, channel_id: int) -> int:
    """How many messages are still to be delivered through a channel."""
    query = select(func.count()).where(
        Delivery.channel_id == channel_id, Delivery.next_attempt_at.is_not(None)
    )
    return session.scalar(query) or 0
