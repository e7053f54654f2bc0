"""A thousand jobs straight in the database, due when a test says so, and what has come of them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import requests
from sqlalchemy import func, select, update

from app import installation, totals
from app.clock import utcnow
from app.cron.tasks import CHECK
from app.db import Database
from app.models import STATE_RANKS, Alert, Channel, Job
from app.settings import load
from tests import population
from tests.population import Population
from tests.processes import Veilleur
from tests.receivers import HttpReceiver

HOUR = timedelta(hours=1)
# Every alert a message of its own, at once: what is counted must be countable.
SETTINGS = {
    "VEILLEUR_GROUP_LIMIT": "0",
    "VEILLEUR_DOWNTIME_CREDIT_SECONDS": "0",
    "VEILLEUR_LOG_LEVEL": "INFO",
}


def install(veilleur: Veilleur, interval: str = "2hours") -> Database:
    """First start without a process; the database to look into."""
    settings, _first = installation.prepare(load(veilleur.environ), utcnow())
    (veilleur.instance / "cron.json").write_text(json.dumps({"interval": interval}))
    return Database(settings.database_url)


def add_jobs(database: Database, count: int) -> None:
    """Jobs that are well for another day."""
    population.add(database, Population(count, has_troubles=False))


def make_due(database: Database, first: int, last: int, step: int = 1) -> list[int]:
    """Let each `step`-th of these jobs be late enough to be told, once more; those that were not due yet."""
    now = utcnow()
    past = now - 2 * HOUR
    late = {
        "state": "ok",
        "state_rank": STATE_RANKS["ok"],
        "told": None,
        "reminder_at": None,
        "expected_at": past,
        "until_at": past,
        "attention_at": past + HOUR,
    }
    chosen = Job.id.between(first, last) & ((Job.id - first) % step == 0)
    with database.writing() as rows:
        before = rows.execute(
            select(Job.id, Job.state).where(chosen, Job.attention_at > now).with_for_update()
        ).all()
        if before:
            rows.execute(update(Job).where(chosen, Job.attention_at > now).values(**late))
            moved: Counter[str] = Counter()
            moved.subtract(row.state for row in before)
            totals.count_states(rows.connection(), first, moved)
        return [row.id for row in before]


def add_receiver(database: Database, name: str, receiver: HttpReceiver) -> None:
    now: datetime = utcnow()
    with database.writing() as rows:
        config = {"url": receiver.url, "method": "POST", "headers": "", "secret": ""}
        rows.add(Channel(kind="webhook", name=name, config=config, language="en", created_at=now))


def alerts_of_jobs(database: Database) -> Counter[int]:
    with database.reading() as rows:
        counted = select(Alert.job_id, func.count()).where(Alert.job_id.is_not(None)).group_by(Alert.job_id)
        return Counter({row[0]: row[1] for row in rows.execute(counted)})


def message_ids(database: Database) -> set[str]:
    with database.reading() as rows:
        return set(rows.scalars(select(Alert.message_id).where(Alert.job_id.is_not(None))))


def received(receiver: HttpReceiver) -> Counter[str]:
    """How often each message came, by its id."""
    return Counter(each.headers["Idempotency-Key"] for each in list(receiver.requests))


def token(instance: Path) -> str:
    found: str = json.loads((instance / "secrets.json").read_text())["cronToken"]
    return found


def trigger(port: int, key: str, task: str = CHECK, seconds: float = 60) -> requests.Response:
    """What the web application sends when somebody asks for a check now."""
    return requests.post(
        f"http://127.0.0.1:{port}/trigger/{task}", headers={"Authorization": f"Bearer {key}"}, timeout=seconds
    )
