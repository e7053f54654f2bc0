"""Alerts and the deliveries they need, written in the transaction that changes the state."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app import routing
from app.many_rows import Additions
from app.models import Alert

OVERDUE = "overdue"
REMINDER = "reminder"
RECOVERED = "recovered"
FAILED = "failed"
UNVERIFIED = "unverified"  # a digest: jobs that may have reported while nobody listened
# Told apart by their message ids: in the order of the rows, SQLite would be asked for each one alone.
_ADD = Additions(
    Alert,
    ("message_id", "job_id", "kind", "facts", "created_at", "routed_at"),
    returned=("message_id", "id"),
)
BAD_NEWS = (OVERDUE, REMINDER, FAILED)


@dataclass(frozen=True, slots=True)
class News:
    """One thing people must hear about a job, or about Veilleur itself; `facts` are JSON-ready, times as ISO
    in UTC."""

    job_id: int | None
    kind: str
    facts: dict[str, object]


def record(
    session: Session, news: Sequence[News], now: datetime, group_limit: int = 0, *, in_parts: bool = False
) -> int:
    """Store each alert, and its deliveries unless there are too many at once; how many alerts.

    What has no delivery yet is left to `routing.route`, which groups it. `group_limit` 0 groups nothing.
    `in_parts` says that others find more of the same at this moment, which can't be seen from here.
    """
    for kind in dict.fromkeys(each.kind for each in news):
        _record_kind(session, [each for each in news if each.kind == kind], now, group_limit, in_parts)
    return len(news)


def _record_kind(
    session: Session, news: Sequence[News], now: datetime, group_limit: int, in_parts: bool
) -> None:
    kind = news[0].kind
    is_whole = not (in_parts and group_limit and kind in routing.FOUND_TOGETHER)
    singly = is_whole and routing.is_room(session, kind, len(news), group_limit, now)
    singly = singly and not routing.is_any_waiting(session, [each.job_id for each in news])
    rows: list[dict[str, Any]] = [
        {
            "message_id": uuid.uuid4().hex,
            "job_id": each.job_id,
            "kind": each.kind,
            "facts": each.facts,
            "created_at": now,
            "routed_at": now if singly else None,
        }
        for each in news
    ]
    ids = {row[0]: row[1] for row in _ADD.run(session.connection(), rows)}
    if not singly:
        return
    jobs = [(ids[row["message_id"]], each.job_id) for row, each in zip(rows, news, strict=True)]
    routing.deliver(session, jobs, now)
