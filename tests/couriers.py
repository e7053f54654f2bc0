"""A courier for tests, with due messages and a look at what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from flask import Flask
from flask_babel import Babel
from sqlalchemy import select, update

from app import alerts, outbox
from app.alerts import News
from app.clock import utcnow
from app.db import Database
from app.delivery import Courier
from app.models import Channel, Delivery, DeliveryAttempt, Job
from app.outbox import Ended, Outcome
from app.settings import load
from tests.stage import add_channel, backup_body, send

DAY = timedelta(days=1)
REFUSED = Outcome(False, "refused the connection")
SENT = Outcome(True, "200 OK")


@contextlib.contextmanager
def courier(database: Database, *, seconds: int = 20, threads: int = 4) -> Iterator[Courier]:
    """Running beside the test, until the block ends."""
    app = Flask("test")
    Babel(app)
    settings = load({"VEILLEUR_DELIVERY_SECONDS": str(seconds), "VEILLEUR_DELIVERY_THREADS": str(threads)})
    made = Courier(app, database, settings, utcnow)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def webhook(database: Database, name: str, url: str = "http://127.0.0.1:1/") -> int:
    return add_channel(database, "webhook", name, {"url": url})


def stand_in(database: Database, channel_id: int, fallback_id: int | None) -> None:
    with database.writing() as rows:
        rows.execute(update(Channel).where(Channel.id == channel_id).values(fallback_id=fallback_id))


def add_job(database: Database, name: str = "Documents nightly") -> int:
    now = utcnow()
    send(database, backup_body(now - timedelta(minutes=5), name=name), now)
    with database.reading() as rows:
        return rows.scalars(select(Job.id).where(Job.name == name)).one()


def tell(database: Database, job_id: int, *kinds: str, now: datetime | None = None) -> None:
    """Alerts about the job, one after the other."""
    facts: dict[str, object] = {"job": "Documents nightly", "server": "nas"}
    with database.writing() as rows:
        for kind in kinds:
            alerts.record(rows, [News(job_id, kind, facts)], now or utcnow())


def attempt(database: Database, channel_id: int, outcome: Outcome, now: datetime) -> Delivery | None:
    """Take on one due delivery of the channel and end it as told; what the row says then."""
    claims = outbox.claim(database, {channel_id: 1}, now, 60)
    if not claims:
        return None
    outbox.finish(database, [Ended(claims[0], outcome, now, 0)])
    with database.reading() as rows:
        return rows.get(Delivery, claims[0].delivery_id)


def deliveries(database: Database, channel_id: int | None = None) -> list[Delivery]:
    query = select(Delivery).order_by(Delivery.id)
    if channel_id is not None:
        query = query.where(Delivery.channel_id == channel_id)
    with database.reading() as rows:
        return list(rows.scalars(query))


def attempts(database: Database) -> list[DeliveryAttempt]:
    with database.reading() as rows:
        return list(rows.scalars(select(DeliveryAttempt).order_by(DeliveryAttempt.id)))


def channel(database: Database, channel_id: int) -> Channel:
    with database.reading() as rows:
        found = rows.get(Channel, channel_id)
    assert found is not None
    return found
