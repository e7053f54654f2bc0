"""A database with the schema, real report bodies with times of one's choice, and a working policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from app import record
from app.checks import Policy
from app.clock import iso
from app.db import Database
from app.models import Alert, Channel, Job
from app.reports import parse
from app.upload import Body, Sender
from tests import databases

SAMPLES = Path(__file__).parent / "samples"
POLICY = Policy(tolerance_seconds=3600, reminder="every_day")
SENDER = Sender(1, "test key", "127.0.0.1")
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def new_database(folder: Path) -> Database:
    return databases.with_schema(folder)


def backup_body(
    ended_at: datetime,
    *,
    seconds: int = 60,
    name: str = "Documents nightly",
    machine: str | None = "nas",
    next_at: datetime | None = None,
    **data: object,
) -> bytes:
    """A real Duplicati report, its times moved and some of its `Data` replaced."""
    content = json.loads((SAMPLES / "054-live-2.0.7.1-backup-first.json").read_text())
    content["Data"] |= {
        "BeginTime": iso(ended_at - timedelta(seconds=seconds)),
        "EndTime": iso(ended_at),
        "Duration": f"00:{seconds // 60:02}:{seconds % 60:02}",
        **data,
    }
    content["Extra"]["backup-name"] = name
    if machine:
        content["Extra"] |= {"machine-id": machine, "machine-name": machine, "backup-id": f"DB-{name}"}
    if next_at:
        content["Extra"]["next-scheduled-run"] = next_at.strftime("%Y%m%dT%H%M%SZ")
    return json.dumps(content).encode()


def send(
    database: Database, body: bytes, now: datetime, *, sender: Sender = SENDER, policy: Policy = POLICY
) -> bool:
    """Take a body in as an upload would; whether it was new."""
    report = parse(body, "application/json")
    return record.take(database, report, Body(body, "application/json"), sender, policy=policy, now=now)


def add_channel(database: Database, kind: str, name: str, config: dict[str, object]) -> int:
    with database.writing() as rows:
        channel = Channel(kind=kind, name=name, config=config, language="en", created_at=NOON, enabled=True)
        rows.add(channel)
        rows.flush()
        return channel.id


def only_job(database: Database) -> Job:
    with database.reading() as rows:
        return rows.scalars(select(Job)).one()


def alert_kinds(database: Database) -> list[str]:
    with database.reading() as rows:
        return list(rows.scalars(select(Alert.kind).order_by(Alert.id)))
