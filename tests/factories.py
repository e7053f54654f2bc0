"""Rows straight in the database: servers, jobs, reports, alerts and whatever pages show."""

from __future__ import annotations

import itertools
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app import accounts, clock, totals
from app.models import (
    STATE_RANKS,
    Alert,
    Channel,
    Delivery,
    Job,
    JobSchedule,
    MessageTemplate,
    QuarantinedBody,
    Report,
    ReportBody,
    Server,
    TaskRun,
    Total,
    User,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def add_user(
    session: Session, username: str, password: str, role: str = accounts.VIEWER, now: datetime = NOW
) -> User:
    return accounts.add_user(session, username, password, role, now)


def add_server(session: Session, name: str = "nas-attic", **columns: Any) -> Server:
    columns = {"machine_id": f"machine-{next(_numbers)}", "created_at": NOW, **columns}
    server = Server(name=name, **columns)
    session.add(server)
    session.flush()
    totals.count(session.connection(), totals.SERVERS, 1)
    return server


def why(state: str, **facts: Any) -> dict[str, Any]:
    """The inputs of a decision as the check writes them."""
    return {
        "reason": state,
        "expectedAt": "2026-11-22T21:00:00Z",
        "untilAt": "2026-11-22T21:00:00Z",
        "overdueAt": "2026-11-22T22:00:00Z",
        "source": "declared",
        "toleranceSeconds": 3600,
        "lastGoodAt": "2026-11-20T20:58:00Z",
        "lastReportAt": "2026-11-20T20:58:00Z",
        "outcome": "Success",
        "pausedUntilAt": None,
        **facts,
    }


def add_job(
    session: Session,
    name: str = "Documents",
    state: str = "ok",
    server: Server | None = None,
    now: datetime = NOW,
    **columns: Any,
) -> Job:
    """A job in any state, counted in the running total as the product does."""
    server = server or add_server(session)
    values = {
        "backup_id": f"DB-{next(_numbers)}",
        "created_at": now - timedelta(days=90),
        "state_rank": STATE_RANKS[state],
        "state_since_at": now - timedelta(hours=10),
        "why": why(state),
        "expected_at": now + timedelta(hours=12),
        "until_at": now + timedelta(hours=12),
        "expected_source": "declared",
        "attention_at": now + timedelta(hours=13),
        "last_good_at": now - timedelta(hours=12),
        "last_began_at": now - timedelta(hours=12, minutes=14),
        "last_ended_at": now - timedelta(hours=12),
        "last_outcome": "Success",
        "last_run_good": True,
        **columns,
    }
    job = Job(name=name, state=state, server_id=server.id, **values)
    session.add(job)
    total = session.get(Total, "jobs")
    if total is None:
        session.add(Total(name="jobs", value=1))
    else:
        total.value += 1
    session.flush()
    return job


def add_report(session: Session, job: Job, body: bytes | None = None, **columns: Any) -> Report:
    ended_at = columns.pop("ended_at", NOW - timedelta(hours=12))
    values = {
        "fingerprint": f"fingerprint-{next(_numbers)}",
        "received_at": ended_at + timedelta(seconds=2),
        "began_at": ended_at - timedelta(minutes=14, seconds=5),
        "ended_at": ended_at,
        "time_source": "report",
        "duration_seconds": 845.1,
        "outcome": "Success",
        "good": True,
        "partial": False,
        "interrupted": False,
        "dry_run": False,
        "salvaged": False,
        "duplicati_version": "2.3.0.4 (2.3.0.4_stable_2026-07-09)",
        "warnings_count": 0,
        "errors_count": 0,
        "examined_files": 48213,
        "examined_bytes": 184_300_000_000,
        "uploaded_bytes": 91_400_000,
        "stored_bytes": 201_000_000_000,
        "versions": 14,
        **columns,
    }
    report = Report(job_id=job.id, **values)
    session.add(report)
    session.flush()
    if body is not None:
        session.add(
            ReportBody(
                report_id=report.id,
                content_type="application/json",
                size_bytes=len(body),
                compressed=zlib.compress(body, 1),
            )
        )
        session.flush()
    return report


def add_schedule(session: Session, job: Job, **columns: Any) -> JobSchedule:
    values = {
        "source": "typed",
        "repeat": "1D",
        "days": "mon,tue,wed,thu,fri",
        "zone": "Europe/Paris",
        "anchor_at": NOW - timedelta(days=7),
        "set_at": NOW,
        **columns,
    }
    schedule = JobSchedule(job_id=job.id, **values)
    session.add(schedule)
    session.flush()
    return schedule


# Nothing listens there.
CONFIGS: dict[str, dict[str, object]] = {
    "email": {
        "host": "127.0.0.1",
        "port": 9,
        "from": "v@a.example",
        "to": "ops@b.example",
        "security": "none",
    },
    "ntfy": {"server": "http://127.0.0.1:9", "topic": "backups", "token": ""},
    "webhook": {"url": "http://127.0.0.1:9/hook"},
    "apprise": {"urls": "gotify://127.0.0.1:9/AbCdEfGhIjKlMnO/"},
}


def add_channel(session: Session, name: str = "phone", kind: str = "ntfy", **columns: Any) -> Channel:
    columns = {"config": CONFIGS[kind], "created_at": NOW, **columns}
    channel = Channel(kind=kind, name=name, **columns)
    session.add(channel)
    session.flush()
    return channel


def add_message_template(session: Session, kind: str = "overdue", **columns: Any) -> MessageTemplate:
    values = {"language": "en", "title": "{job} is late", "body": "Look at {link}", **columns}
    values = {"updated_at": NOW, "updated_by": "admin", **values}
    template = MessageTemplate(kind=kind, **values)
    session.add(template)
    session.flush()
    return template


def add_alert(session: Session, job: Job, kind: str = "overdue", **columns: Any) -> Alert:
    values = {
        "message_id": f"{next(_numbers):032x}",
        "facts": {},
        "created_at": NOW,
        "routed_at": NOW,
        **columns,
    }
    alert = Alert(job_id=job.id, kind=kind, **values)
    session.add(alert)
    session.flush()
    return alert


def add_delivery(
    session: Session, alert: Alert, channel: Channel, status: str = "sent", **columns: Any
) -> Delivery:
    columns = {"attempts": 1, **columns}
    delivery = Delivery(
        alert_id=alert.id, channel_id=channel.id, job_id=alert.job_id, status=status, **columns
    )
    session.add(delivery)
    session.flush()
    return delivery


def add_check(session: Session, finished_at: datetime | None = None, **columns: Any) -> TaskRun:
    """A finished run of the overdue check; just now by default."""
    finished_at = finished_at or clock.utcnow()
    values = {
        "task": "overdue-backup-check",
        "cause": "schedule",
        "started_at": finished_at - timedelta(seconds=1),
        "finished_at": finished_at,
        "succeeded": True,
        **columns,
    }
    run = TaskRun(**values)
    session.add(run)
    session.flush()
    return run


def add_quarantined(session: Session, body: bytes = b"message=what%3F", **columns: Any) -> QuarantinedBody:
    values = {
        "received_at": NOW,
        "key_label": "first upload key",
        "address": "192.0.2.7",
        "content_type": "application/x-www-form-urlencoded",
        "reason": "The message is not Duplicati's standard report.",
        "missing_fields": ["backup-name", "ParsedResult"],
        "size_bytes": len(body),
        "compressed": zlib.compress(body, 1),
        **columns,
    }
    row = QuarantinedBody(**values)
    session.add(row)
    session.flush()
    return row
