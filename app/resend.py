"""Sending again what was given up, when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from app import channels
from app.models import Alert, Channel, Delivery
from app.outbox import GIVEN_UP, PENDING

DAYS = 7
_LONGEST_STORY_DAYS = 60  # from an alert to the day it is given up, however often it was sent again


@dataclass(frozen=True, slots=True)
class Resent:
    """How many begin anew, and how many pauses have ended early."""

    given_up: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel with what waits for it and what was given up lately."""

    channel_id: int
    name: str
    kind: str
    enabled: bool
    failing_since_at: datetime | None
    last_error: str | None
    fallback: str | None
    config: dict[str, Any]
    language: str
    tested_at: datetime | None
    waiting: int
    given_up: int


def overview(session: Session, now: datetime, days: int = DAYS) -> list[ChannelState]:
    """Every channel, by name."""
    counts = _counts(session, now, days)
    known = session.scalars(select(Channel).order_by(Channel.name)).all()
    names = {each.id: each.name for each in known}
    return [
        ChannelState(
            each.id,
            each.name,
            each.kind,
            each.enabled,
            each.failing_since_at,
            each.last_error,
            names.get(each.fallback_id) if each.fallback_id else None,
            each.config,
            each.language,
            each.tested_at,
            *counts.get(each.id, (0, 0)),
        )
        for each in known
    ]


def _counts(session: Session, now: datetime, days: int) -> dict[int, tuple[int, int]]:
    counts: dict[int, tuple[int, int]] = {}
    for condition, columns in (
        (Delivery.next_attempt_at.is_not(None), (1, 0)),
        (_given_up(now, days), (0, 1)),
    ):
        query = select(Delivery.channel_id, func.count()).where(condition).group_by(Delivery.channel_id)
        for channel_id, number in session.execute(query):
            waiting, given_up = counts.get(channel_id, (0, 0))
            counts[channel_id] = (waiting + columns[0] * number, given_up + columns[1] * number)
    return counts


def _given_up(now: datetime, days: int) -> ColumnElement[bool]:
    # Without the bound by its alert, which is wide, every delivery there ever was would be looked at.
    created = Alert.created_at >= now - timedelta(days=days + _LONGEST_STORY_DAYS)
    first_alert = select(func.min(Alert.id)).where(created).scalar_subquery()
    finished = Delivery.finished_at >= now - timedelta(days=days)
    return and_(Delivery.alert_id >= first_alert, Delivery.status == GIVEN_UP, finished)


def send_again(session: Session, channel_id: int, now: datetime, days: int = DAYS) -> Resent:
    """Begin anew with what was given up in the last days, and end the pauses of what still waits."""
    waiting = channels.bring_forward(session, channel_id, now)
    again = (
        update(Delivery)
        .where(Delivery.channel_id == channel_id, _given_up(now, days))
        .values(status=PENDING, attempts=0, next_attempt_at=now, finished_at=None)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return Resent(len(session.scalars(again).all()), waiting)
