"""Alerts → messages: each goes out singly until there are too many at once; then they are grouped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, exists, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from app import fallbacks, lease
from app.db import Database
from app.many_rows import Additions
from app.models import Alert, Delivery, Job, Server

# Kinds that a check finds together, and so are complete when it ends; the others come in one by one.
FOUND_TOGETHER = ("overdue", "reminder")
WINDOW = timedelta(seconds=60)
MEMBERS_TOLD = 200
_MOST_AT_ONCE = 10_000
_CHUNK = 500
# Copied from the facts of a member into those of the group, for the line that lists it.
_MEMBER_FACTS = ("job", "server", "state", "expectedAt", "overdueAt", "lastGoodAt", "outcome")
_ADD_DELIVERIES = Additions(Delivery, ("alert_id", "channel_id", "job_id", "next_attempt_at"))
_OLDEST_OF_EACH = (
    select(Alert.kind, func.min(Alert.created_at)).where(Alert.routed_at.is_(None)).group_by(Alert.kind)
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An alert that has no message yet."""

    alert_id: int
    kind: str
    job_id: int
    server: str
    facts: dict[str, Any]
    created_at: datetime


def is_room(session: Session, kind: str, count: int, limit: int, now: datetime) -> bool:
    """Whether so many more messages of a kind may go out singly now; `limit` 0 means always."""
    if limit == 0:
        return True
    waits = select(Alert.id).where(Alert.routed_at.is_(None), Alert.kind == kind).limit(1)
    if count > limit or session.scalar(waits) is not None:
        return False
    return count <= limit - _sent_lately(session, kind, now)


def is_any_waiting(session: Session, job_ids: Sequence[int | None]) -> bool:
    """Whether one of these jobs has an alert without a message: what is newer must not overtake that."""
    waits = select(Alert.id).where(Alert.routed_at.is_(None), Alert.job_id.in_(job_ids)).limit(1)
    return session.scalar(waits) is not None


def _sent_lately(session: Session, kind: str, now: datetime) -> int:
    """Messages of a kind within the last minute; later ones are of a clock that has been set back since."""
    lately = select(func.count()).where(
        Alert.created_at > now - WINDOW,
        Alert.created_at <= now + WINDOW,
        Alert.kind == kind,
        Alert.group_id.is_(None),
        Alert.routed_at.is_not(None),
    )
    return session.scalar(lately) or 0


def deliver(session: Session, alerts: Iterable[tuple[int, int | None]], now: datetime) -> None:
    """For each alert (its number, and its job's unless it stands for a group): one delivery a channel."""
    channels = fallbacks.regular_channels(session)
    rows = [
        {"alert_id": alert_id, "channel_id": channel_id, "job_id": job_id, "next_attempt_at": now}
        for alert_id, job_id in alerts
        for channel_id in channels
    ]
    if rows:
        _ADD_DELIVERIES.run(session.connection(), rows)


def waits(database: Database, now: datetime, check: str) -> bool:
    """Whether alerts could be routed now; cheap when there are none."""
    with database.reading() as session:
        return bool(_ready(session, now, check))


def route(database: Database, limit: int, now: datetime, check: str) -> int:
    """Make messages of the alerts that wait for one; how many.

    What a check finds waits for its end (`check` names its lease). Reports come one by one: theirs wait until
    the first of them has waited a minute, so that what has one cause becomes one message.
    """
    with database.reading() as session:
        kinds = _ready(session, now, check)
    if not kinds:
        return 0
    with database.writing() as session:
        lease.be_alone(session, "routing")  # two that divide the alerts between them would make two messages
        waiting = [Waiting(*row) for row in session.execute(_unrouted(kinds))]
        messages = [
            each
            for kind in kinds
            for each in _route_kind(session, kind, [one for one in waiting if one.kind == kind], limit, now)
        ]
        # In the order in which things happened, because a channel keeps the order of these rows.
        deliver(session, [(alert_id, job_id) for _first, alert_id, job_id in sorted(messages)], now)
    return len(messages)


def _ready(session: Session, now: datetime, check: str) -> list[str]:
    found = session.connection().execute(_OLDEST_OF_EACH).all()
    if not found:
        return []
    is_checking = lease.is_held(session, check, now)
    return [
        kind
        for kind, created_at in found
        # Written more than a minute ahead, it was by a clock that has been set back since.
        if (not is_checking if kind in FOUND_TOGETHER else abs(now - created_at) >= WINDOW)
    ]


def _route_kind(
    session: Session, kind: str, waiting: Sequence[Waiting], limit: int, now: datetime
) -> Iterator[tuple[int, int, int | None]]:
    """For each message: the alert that comes first in it, the one that stands for it, the job of a single."""
    if limit == 0 or len(waiting) <= limit - _sent_lately(session, kind, now):
        groups = [[each] for each in waiting]
    else:
        by_server = sorted(waiting, key=lambda each: each.server)
        groups = [list(members) for _server, members in groupby(by_server, lambda each: each.server)]
        groups = groups if len(groups) <= limit else [list(waiting)]
    for members in groups:
        first = min(each.alert_id for each in members)
        if len(members) == 1:
            _mark(session, members, now, None)
            yield first, first, members[0].job_id
        else:
            head = _stand_in(session, kind, members, now)
            _mark(session, members, now, head)
            yield first, head, None


def _unrouted(kinds: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Of each job the first alert only: the next one goes out later, in whatever groups they are."""
    earlier = aliased(Alert)
    is_first = ~exists().where(
        earlier.job_id == Alert.job_id, earlier.id < Alert.id, earlier.routed_at.is_(None)
    )
    return (
        select(Alert.id, Alert.kind, Alert.job_id, Server.name, Alert.facts, Alert.created_at)
        .join(Job, Job.id == Alert.job_id)
        .join(Server)
        .where(Alert.routed_at.is_(None), Alert.kind.in_(kinds), is_first)
        .order_by(Alert.id)
        .limit(_MOST_AT_ONCE)
        .with_for_update(skip_locked=True, of=Alert)
    )


def _stand_in(session: Session, kind: str, members: Sequence[Waiting], now: datetime) -> int:
    servers = {each.server for each in members}
    facts = {
        "count": len(members),
        "servers": len(servers),
        "server": members[0].server if len(servers) == 1 else None,
        "state": members[0].facts.get("state"),
        "members": [_member(each) for each in members[:MEMBERS_TOLD]],
    }
    values = {"message_id": uuid4().hex, "kind": kind, "facts": facts, "created_at": now, "routed_at": now}
    return session.scalars(insert(Alert).returning(Alert.id), [values]).one()


def _member(waiting: Waiting) -> dict[str, Any]:
    return {"jobId": waiting.job_id} | {key: waiting.facts.get(key) for key in _MEMBER_FACTS}


def _mark(session: Session, members: Sequence[Waiting], now: datetime, head: int | None) -> None:
    numbers = [each.alert_id for each in members]
    for start in range(0, len(numbers), _CHUNK):
        chunk = Alert.id.in_(numbers[start : start + _CHUNK])
        session.execute(update(Alert).where(chunk).values(routed_at=now, group_id=head))
