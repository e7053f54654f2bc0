"""Channels that are off and lead nowhere, and finished deliveries, so that nothing of it is ever sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, notify, outbox
from app.demo.decisions import ADDRESS
from app.demo.fleet import DAY
from app.models import Alert, Channel, Delivery, DeliveryAttempt

# No name below `invalid` ever exists, so that even a channel that is switched on reaches nobody.
_HOOK_FAILS_SINCE = 6 * DAY + timedelta(hours=5)
_REFUSED = "hooks.example.invalid answered 502 Bad Gateway"
_TEAM, _MAIL, _HOOK = "Team ntfy", "Admin mail", "Ticket system"
_CHANNELS: dict[str, tuple[str, dict[str, object]]] = {
    _TEAM: ("ntfy", {"server": "https://ntfy.example.invalid", "topic": "backups-of-the-office"}),
    _MAIL: (
        "email",
        {
            "host": "mail.example.invalid",
            "security": "starttls",
            "from": "veilleur@example.invalid",
            "to": "admin@example.invalid",
        },
    ),
    _HOOK: ("webhook", {"url": "https://hooks.example.invalid/veilleur"}),
}


@dataclass(frozen=True, slots=True)
class Ways:
    """The numbers of the channels."""

    team: int
    mail: int
    hook: int


def add_channels(session: Session, began_at: datetime, now: datetime) -> Ways:
    made = {}
    for name, (kind, config) in _CHANNELS.items():
        taken = session.scalar(select(Channel.id).where(Channel.name == name)) is not None
        channel = Channel(
            kind=kind,
            name=f"{name} (demo)" if taken else name,
            config=notify.check(kind, config),
            language="en",
            enabled=False,
            created_at=began_at,
            tested_at=began_at + timedelta(minutes=1),
        )
        session.add(channel)
        session.flush()
        made[name] = channel
        audit.note(
            session,
            actor="admin",
            action="channel added",
            target=channel.name,
            now=began_at,
            after=notify.describe(kind, channel.config),
            address=ADDRESS,
        )
    made[_HOOK].fallback_id = made[_MAIL].id
    made[_HOOK].failing_since_at = now - _HOOK_FAILS_SINCE
    made[_HOOK].last_error = _REFUSED
    return Ways(made[_TEAM].id, made[_MAIL].id, made[_HOOK].id)


def tell(session: Session, ways: Ways, after_id: int, seed: int, now: datetime) -> None:
    """Write for each alert since that one how its messages went."""
    chance = Random(f"{seed} messages")  # noqa: S311  (no secret)
    query = select(Alert).where(Alert.id > after_id, Alert.group_id.is_(None)).order_by(Alert.id)
    for alert in session.scalars(query).all():
        for delivery, attempts in _deliveries(alert, ways, chance, now):
            session.add(delivery)
            session.flush()
            for each in attempts:
                each.delivery_id = delivery.id
            session.add_all(attempts)


def _deliveries(
    alert: Alert, ways: Ways, chance: Random, now: datetime
) -> Iterator[tuple[Delivery, list[DeliveryAttempt]]]:
    begins_at = (alert.routed_at or alert.created_at) + timedelta(seconds=round(chance.uniform(0.2, 2), 2))
    busy = ["429 Too Many Requests"] if chance.random() < 0.04 else []
    yield _told(alert, ways.team, begins_at, [*busy, "200 OK"], chance)
    if begins_at < now - _HOOK_FAILS_SINCE:
        yield _told(alert, ways.hook, begins_at, ["202 Accepted"], chance)
        return
    pauses, tries = timedelta(), 1
    for seconds in outbox.PAUSES_SECONDS:
        pauses += timedelta(seconds=seconds)
        tries += begins_at + pauses < now
    yield _told(alert, ways.hook, begins_at, [_REFUSED] * tries, chance, given_up=True)
    mailed = _told(alert, ways.mail, begins_at + timedelta(seconds=41), ["250 2.0.0 Ok: queued"], chance)
    mailed[0].fallback_for = _HOOK
    yield mailed


def _told(
    alert: Alert,
    channel_id: int,
    begins_at: datetime,
    answers: list[str],
    chance: Random,
    *,
    given_up: bool = False,
) -> tuple[Delivery, list[DeliveryAttempt]]:
    attempts, at = [], begins_at
    for number, answer in enumerate(answers):
        attempts.append(
            DeliveryAttempt(
                started_at=at,
                duration_seconds=round(chance.uniform(0.05, 0.9), 3),
                delivered=number == len(answers) - 1 and not given_up,
                detail=answer,
            )
        )
        at += timedelta(seconds=outbox.PAUSES_SECONDS[min(number, len(outbox.PAUSES_SECONDS) - 1)])
    last = attempts[-1]
    delivery = Delivery(
        alert_id=alert.id,
        channel_id=channel_id,
        job_id=alert.job_id,
        status=outbox.GIVEN_UP if given_up else outbox.SENT,
        attempts=len(attempts),
        next_attempt_at=None,
        finished_at=last.started_at + timedelta(seconds=last.duration_seconds),
        detail=last.detail,
    )
    return delivery, attempts
