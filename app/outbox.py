"""What is still to be sent: taken on so that nobody else sends it, and what each attempt came to."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Select, Table, bindparam, exists, insert, select, update
from sqlalchemy.orm import Session

from app import channels, fallbacks, ordering
from app.db import Database
from app.models import Alert, Channel, Delivery, DeliveryAttempt

PENDING, SENT, GIVEN_UP = "pending", "sent", "given_up"

PAUSES_SECONDS = (10, 30, 120, 600, 1800, 7200, 21600, 43200, 86400, 86400, 86400)


_DELIVERIES = cast(Table, Delivery.__table__)
_IS_THERE = select(Delivery.id).where(Delivery.id == bindparam("number"))
_EXTEND = (
    update(_DELIVERIES)
    .where(_DELIVERIES.c.id == bindparam("number"))
    .values(
        attempts=bindparam("attempt"),
        next_attempt_at=bindparam("until_at"),
        claimed_by=bindparam("holder"),
    )
)
_PUT = (
    update(_DELIVERIES)
    .where(_DELIVERIES.c.id == bindparam("number"))
    .values(
        status=bindparam("state"),
        detail=bindparam("told"),
        next_attempt_at=bindparam("next_at"),
        finished_at=bindparam("ended_at"),
        claimed_by=None,
    )
    .returning(_DELIVERIES.c.id)
)
_PUT_IF_MINE = _PUT.where(_DELIVERIES.c.attempts == bindparam("attempt"), _DELIVERIES.c.status == PENDING)
_INSERT_ATTEMPT = insert(cast(Table, DeliveryAttempt.__table__))


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery this process has taken on, with all it needs to send it."""

    delivery_id: int
    attempt: int
    channel_id: int
    channel_kind: str
    config: dict[str, object]
    language: str
    alert_kind: str
    facts: dict[str, object]
    message_id: str
    occurred_at: datetime
    job_id: int | None  # None for a message about several
    fallback_for: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    delivered: bool
    detail: str
    retry_after_seconds: int | None = None
    permanent: bool = False


def claim(
    database: Database,
    channel_limits: dict[int, int],
    now: datetime,
    claim_seconds: int,
    most: int = 1000,
    holder: str = "",
) -> list[Claim]:
    """Take on what is due, at most so many of each channel and `most` in all, the first channels first;
    nobody else gets the same ones meanwhile."""
    claims: list[Claim] = []
    with database.writing() as session:
        for channel_id, limit in channel_limits.items():
            room = min(limit, most - len(claims))
            due = {"channel": channel_id, "now": now, "most": room}
            rows = session.connection().execute(_due(), due).all() if room > 0 else []
            claims += [Claim(*row) for row in rows]
        _extend(session, claims, now + timedelta(seconds=claim_seconds), holder)
    return claims


@functools.cache
def _due() -> Select[*tuple[Any, ...]]:
    """Built once: that is more work than to run it."""
    return (
        select(
            Delivery.id,
            Delivery.attempts + 1,
            Channel.id,
            Channel.kind,
            Channel.config,
            Channel.language,
            Alert.kind,
            Alert.facts,
            Alert.message_id,
            Alert.created_at,
            Delivery.job_id,
            Delivery.fallback_for,
        )
        .join(Alert, Alert.id == Delivery.alert_id)
        .join(Channel, Channel.id == Delivery.channel_id)
        .where(
            Delivery.channel_id == bindparam("channel"),
            Delivery.next_attempt_at <= bindparam("now"),
            ~ordering.waits_for_earlier(),
        )
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=Delivery)
    )


def _extend(session: Session, claims: list[Claim], until_at: datetime, holder: str) -> None:
    if claims:
        session.connection().execute(
            _EXTEND,
            [
                {
                    "number": each.delivery_id,
                    "attempt": each.attempt,
                    "until_at": until_at,
                    "holder": holder,
                }
                for each in claims
            ],
        )


def due_channels(database: Database, now: datetime) -> list[int]:
    """Enabled channels with something that can go now; cheap when nothing is due."""
    with database.reading() as session:
        if session.scalar(select(Delivery.id).where(Delivery.next_attempt_at <= now).limit(1)) is None:
            return []
        return list(session.connection().scalars(_can_go(), {"now": now}))


@functools.cache
def _can_go() -> Select[int]:
    can_go = exists().where(
        Delivery.channel_id == Channel.id,
        Delivery.next_attempt_at <= bindparam("now"),
        ~ordering.waits_for_earlier(),
    )
    return select(Channel.id).where(Channel.enabled, can_go).order_by(Channel.id)


def finish(database: Database, taken: Claim, outcome: Outcome, started_at: datetime, seconds: float) -> None:
    """Write what one attempt came to, and when the next one is, if there is one."""
    finished_at = started_at + timedelta(seconds=seconds)
    values: dict[str, object] = {"number": taken.delivery_id, "attempt": taken.attempt}
    values |= {"told": outcome.detail, "next_at": None, "ended_at": finished_at, "state": SENT}
    if not outcome.delivered and taken.attempt > len(PAUSES_SECONDS):
        values["state"] = GIVEN_UP
    elif not outcome.delivered:
        pause_seconds = max(PAUSES_SECONDS[taken.attempt - 1], outcome.retry_after_seconds or 0)
        next_at = finished_at + timedelta(seconds=min(pause_seconds, PAUSES_SECONDS[-1]))
        values |= {"state": PENDING, "ended_at": None, "next_at": next_at}
    attempt = {"delivery_id": taken.delivery_id, "started_at": started_at, "duration_seconds": seconds}
    attempt |= {"delivered": outcome.delivered, "detail": outcome.detail}

    def work(session: Session) -> None:
        if session.connection().scalar(_IS_THERE, {"number": taken.delivery_id}) is None:
            return  # its channel or its job was removed meanwhile
        # An attempt that outlived its claim must not reopen what a later one has delivered.
        mine = _PUT if outcome.delivered else _PUT_IF_MINE
        if session.connection().scalar(mine, values) is not None:
            _follow_up(session, taken, outcome, finished_at)
        session.connection().execute(_INSERT_ATTEMPT, attempt)

    database.write_together(work)


def _follow_up(session: Session, taken: Claim, outcome: Outcome, finished_at: datetime) -> None:
    """What the channel and its fallback have to know of an attempt."""
    if outcome.delivered:
        channels.note_success(session, taken.channel_id, finished_at)
        return
    channels.note_failure(session, taken.channel_id, outcome.detail, finished_at)
    if outcome.permanent or taken.attempt >= fallbacks.AFTER_ATTEMPTS:
        fallbacks.stand_in(session, taken.delivery_id, finished_at)
