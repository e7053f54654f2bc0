"""Alerts and the deliveries they need, written in the transaction that changes the state."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app import fallbacks
from app.models import Alert, Delivery

OVERDUE = "overdue"
REMINDER = "reminder"
RECOVERED = "recovered"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class News:
    """One thing people must hear about a job; `facts` are JSON-ready, times as ISO in UTC."""

    job_id: int
    kind: str
    facts: dict[str, object]


def record(session: Session, news: Sequence[News], now: datetime) -> int:
    """Store each alert and, for every enabled channel, that it is still to be delivered; how many alerts."""
    if not news:
        return 0
    rows = [
        {
            "message_id": uuid.uuid4().hex,
            "job_id": each.job_id,
            "kind": each.kind,
            "facts": each.facts,
            "created_at": now,
        }
        for each in news
    ]
    ids = session.scalars(insert(Alert).returning(Alert.id, sort_by_parameter_order=True), rows).all()
    channels = fallbacks.regular_channels(session)
    deliveries = [
        {"alert_id": alert_id, "channel_id": channel_id, "job_id": each.job_id, "next_attempt_at": now}
        for alert_id, each in zip(ids, news, strict=True)
        for channel_id in channels
    ]
    if deliveries:
        session.execute(insert(Delivery), deliveries)
    return len(ids)
