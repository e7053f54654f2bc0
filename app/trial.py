"""A test message through one channel, now, and what came of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update

from app import channels, notify
from app.db import Database
from app.models import Channel
from app.notify import texts
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail` is what the receiver said, or why there was none to say anything."""

    arrived: bool
    detail: str

    @property
    def told(self) -> str:
        return f"{'arrived' if self.arrived else 'failed'}: {self.detail}"


def run(database: Database, settings: Settings, channel_id: int, now: datetime) -> Outcome | None:
    """Send, and write down how the channel fares; None when it is gone. Takes `delivery_seconds` at most.

    What is sent is sent outside of any transaction: a slow receiver must not hold up anybody else.
    """
    with database.reading() as rows:
        channel = rows.get(Channel, channel_id)
    if channel is None:
        return None
    outcome = _sent(channel, settings, now)
    with database.writing() as rows:
        if outcome.arrived:
            arrived = update(Channel).where(Channel.id == channel_id).values(tested_at=now)
            rows.execute(arrived.execution_options(synchronize_session=False))
            channels.note_success(rows, channel_id, now)
        else:
            channels.note_failure(rows, channel_id, outcome.detail, now)
    return outcome


def _sent(channel: Channel, settings: Settings, now: datetime) -> Outcome:
    message = texts.compose(
        "test",
        {},
        message_id=uuid.uuid4().hex,
        occurred_at=now,
        url=settings.public_url or None,
        zone=settings.timezone,
        language=channel.language,
    )
    try:
        receipt = notify.send(
            channel.kind, channel.config, message, timeout_seconds=settings.delivery_seconds
        )
    except notify.DeliveryError as problem:
        return Outcome(False, problem.reason)
    return Outcome(True, receipt.detail)
