"""What is still to be sent: taken on so that nobody else sends it, and what each attempt came to."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, cast

from sqlalchemy import Select, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from app import channels, fallbacks, ordering
from app.db import Database
from app.models import Alert, Channel, Delivery, DeliveryAttempt

PENDING, SENT, GIVEN_UP = "pending", "sent", "given_up"

PAUSES_SECONDS = (10, 30, 120, 600, 1800, 7200, 21600, 43200, 86400, 86400, 86400)

# Built once: that is more work than to run them.
_DELIVERIES = cast(Table, Delivery.__table__)
_ONE = update(_DELIVERIES).where(_DELIVERIES.c.id == bindparam("number"))
_TAKE_ON = (
    update(_DELIVERIES)
    .where(_DELIVERIES.c.id.in_(bindparam("numbers", expanding=True)))
    .values(
        attempts=_DELIVERIES.c.attempts + 1,
        next_attempt_at=bindparam("until_at"),
        claimed_by=bindparam("holder"),
    )
)
_GIVE_BACK = _ONE.where(
    _DELIVERIES.c.attempts == bindparam("attempt"), _DELIVERIES.c.status == PENDING
).values(attempts=_DELIVERIES.c.attempts - 1, next_attempt_at=bindparam("due_at"), claimed_by=None)
_PUT = _ONE.values(
    status=bindparam("state"),
    detail=bindparam("told"),
    next_attempt_at=bindparam("next_at"),
    finished_at=bindparam("ended_at"),
    claimed_by=None,
)
_AS_THEY_ARE = (
    select(_DELIVERIES.c.id, _DELIVERIES.c.attempts, _DELIVERIES.c.status)
    .where(_DELIVERIES.c.id.in_(bindparam("numbers", expanding=True)))
    .order_by(_DELIVERIES.c.id)
    .with_for_update()
)
_INSERT_ATTEMPT = insert(cast(Table, DeliveryAttempt.__table__))
_CHANNELS = select(Channel.id, Channel.kind, Channel.config, Channel.language).where(
    Channel.id.in_(bindparam("channels", expanding=True))
)
_ENABLED = select(Channel.id).where(Channel.enabled)
_ANY_DUE = select(Delivery.id).where(Delivery.next_attempt_at <= bindparam("now")).limit(1)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery this process has taken on, with all it needs to send it."""

    delivery_id: int
    attempt: int
    due_at: datetime  # since when it could have gone; what it gets back when it is not sent after all
    alert_kind: str
    facts: dict[str, object]
    message_id: str
    occurred_at: datetime
    job_id: int | None  # None for a message about several
    fallback_for: str | None
    channel_id: int
    channel_kind: str
    config: dict[str, object]
    language: str


@dataclass(frozen=True, slots=True)
class Outcome:
    delivered: bool
    detail: str
    retry_after_seconds: int | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """An attempt that is over and has still to be written down."""

    claim: Claim
    outcome: Outcome
    started_at: datetime
    seconds: float
    ended: float = field(default_factory=time.monotonic)

    @property
    def finished_at(self) -> datetime:
        return self.started_at + timedelta(seconds=self.seconds)


def claim(
    database: Database,
    channel_limits: dict[int, int],
    now: datetime,
    claim_seconds: int,
    holder: str = "",
) -> list[Claim]:
    """Take on what is due, at most so many of each channel, the first channels first; nobody else gets the
    same ones meanwhile."""
    claims: list[Claim] = []
    with database.writing() as session:
        connection = session.connection()
        told = {row[0]: row for row in connection.execute(_CHANNELS, {"channels": list(channel_limits)})}
        for channel_id, limit in channel_limits.items():
            due = {"channel": channel_id, "now": now, "most": limit}
            rows = connection.execute(_due(), due).all() if channel_id in told else []
            claims += [Claim(*row, *told[channel_id]) for row in rows]
        if claims:
            until_at = now + timedelta(seconds=claim_seconds)
            numbers = [each.delivery_id for each in claims]
            connection.execute(_TAKE_ON, {"numbers": numbers, "until_at": until_at, "holder": holder})
    return claims


@functools.cache
def _due() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Delivery.id,
            Delivery.attempts + 1,
            Delivery.next_attempt_at,
            Alert.kind,
            Alert.facts,
            Alert.message_id,
            Alert.created_at,
            Delivery.job_id,
            Delivery.fallback_for,
        )
        .join(Alert, Alert.id == Delivery.alert_id)
        .where(
            Delivery.channel_id == bindparam("channel"),
            Delivery.next_attempt_at <= bindparam("now"),
            ~ordering.waits_for_earlier(),
        )
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=Delivery)
    )


def give_back(database: Database, claims: Sequence[Claim]) -> None:
    """Leave to others, and to later, what was taken on and not begun: as if it never had been."""
    rows = [{"number": each.delivery_id, "attempt": each.attempt, "due_at": each.due_at} for each in claims]
    with database.writing() as session:
        session.connection().execute(_GIVE_BACK, rows)


def enabled_channels(database: Database) -> set[int]:
    with database.reading() as session:
        return set(session.connection().scalars(_ENABLED))


def due_channels(database: Database, now: datetime) -> list[int]:
    """Enabled channels with something that can go now; cheap when nothing is due."""
    with database.reading() as session:
        if session.connection().scalar(_ANY_DUE, {"now": now}) is None:
            return []
        return list(session.connection().scalars(_can_go(), {"now": now}))


@functools.cache
def _can_go() -> Select[int]:
    # The first one in order, not whether there is any: for that PostgreSQL goes through all that wait.
    first = (
        select(Delivery.id)
        .where(
            Delivery.channel_id == Channel.id,
            Delivery.next_attempt_at <= bindparam("now"),
            ~ordering.waits_for_earlier(),
        )
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(1)
        .scalar_subquery()
    )
    return select(Channel.id).where(Channel.enabled, first.is_not(None)).order_by(Channel.id)


def finish(database: Database, ended: Sequence[Ended]) -> None:
    """Write what attempts came to, and when the next ones are, if there are any; all in one transaction."""
    with database.writing() as session:
        connection = session.connection()
        numbers = {"numbers": sorted({each.claim.delivery_id for each in ended})}
        known = {row.id: row for row in connection.execute(_AS_THEY_ARE, numbers)}
        # Others were removed meanwhile, with their channel or their job.
        ended = [each for each in ended if each.claim.delivery_id in known]
        # An attempt that outlived its claim must not reopen what a later one has delivered.
        counted = [
            each
            for each in ended
            if each.outcome.delivered or (known[each.claim.delivery_id][1:] == (each.claim.attempt, PENDING))
        ]
        if counted:
            connection.execute(_PUT, [_put(each) for each in counted])
        if ended:
            connection.execute(_INSERT_ATTEMPT, [_attempt(each) for each in ended])
        _follow_up(session, counted)


def _put(ended: Ended) -> dict[str, object]:
    taken, outcome = ended.claim, ended.outcome
    values: dict[str, object] = {"number": taken.delivery_id, "told": outcome.detail, "next_at": None}
    if outcome.delivered or taken.attempt > len(PAUSES_SECONDS):
        state = SENT if outcome.delivered else GIVEN_UP
        return values | {"state": state, "ended_at": ended.finished_at}
    pause_seconds = max(PAUSES_SECONDS[taken.attempt - 1], outcome.retry_after_seconds or 0)
    next_at = ended.finished_at + timedelta(seconds=min(pause_seconds, PAUSES_SECONDS[-1]))
    return values | {"state": PENDING, "ended_at": None, "next_at": next_at}


def _attempt(ended: Ended) -> dict[str, object]:
    return {
        "delivery_id": ended.claim.delivery_id,
        "started_at": ended.started_at,
        "duration_seconds": ended.seconds,
        "delivered": ended.outcome.delivered,
        "detail": ended.outcome.detail,
    }


def _follow_up(session: Session, ended: Sequence[Ended]) -> None:
    """What channels and their fallbacks have to know of attempts, in the order in which those ended."""

    def channel_and_outcome(each: Ended) -> tuple[int, bool]:
        return each.claim.channel_id, each.outcome.delivered

    by_channel = sorted(ended, key=lambda each: each.claim.channel_id)
    for (channel_id, delivered), alike in groupby(by_channel, channel_and_outcome):
        attempts = list(alike)
        last = attempts[-1]
        if delivered:
            channels.note_success(session, channel_id, last.finished_at, len(attempts))
            continue
        channels.note_failure(session, channel_id, last.outcome.detail, last.finished_at)
        for each in attempts:
            if each.outcome.permanent or each.claim.attempt >= fallbacks.AFTER_ATTEMPTS:
                fallbacks.stand_in(session, each.claim.delivery_id, each.finished_at)
