"""Many servers with many jobs and their histories, straight in the database, as after some years."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from app import totals
from app.db import Database
from app.models import STATE_RANKS, Job, Report, Server, Total
from tests import factories

DAY = timedelta(days=1)
NAMES = ("Documents", "Photos", "Mail", "Virtual machines", "Databases", "Home", "Accounts", "Websites")
OUTCOMES = ("Success",) * 17 + ("Warning", "Warning", "Error")


def add(database: Database, now: datetime, *, servers: int, jobs: int, runs: int) -> None:
    """So many servers with so many jobs each, with so many daily runs each; one job in twenty is not good."""
    chance = random.Random(7)  # noqa: S311  (the same picture each time)
    with database.writing() as rows:
        machines = [_server(number, now) for number in range(1, servers + 1)]
        first = (rows.scalar(select(Job.id).order_by(Job.id.desc()).limit(1)) or 0) + 1
        rows.execute(insert(Server), machines)
        made = [_job(first + n, n // jobs + 1, n % jobs, chance, now) for n in range(servers * jobs)]
        rows.execute(insert(Job), made)
        rows.merge(Total(name=totals.JOBS, value=len(made)))
        totals.count_states(rows.connection(), first, Counter(job["state"] for job in made))
        for job in made if runs else ():
            rows.execute(insert(Report), [_report(job["id"], day, chance, now) for day in range(runs)])


def _server(number: int, now: datetime) -> dict[str, Any]:
    return {"id": number, "machine_id": f"fleet-{number}", "name": f"server-{number:04}", "created_at": now}


def _job(number: int, server: int, place: int, chance: random.Random, now: datetime) -> dict[str, Any]:
    state = chance.choice(("overdue", "failed", "late", "new", "paused")) if chance.random() < 0.05 else "ok"
    late = DAY * (state in ("overdue", "late"))
    ended_at = now - late - timedelta(hours=chance.uniform(1, 23))
    return {
        "id": number,
        "server_id": server,
        "backup_id": f"DB-{number}",
        "name": f"{NAMES[place % len(NAMES)]} {place // len(NAMES) + 1}",
        "created_at": now - 90 * DAY,
        "state": state,
        "state_rank": STATE_RANKS[state],
        "state_since_at": ended_at,
        "why": factories.why(state),
        "expected_at": ended_at + DAY,
        "until_at": ended_at + DAY,
        "expected_source": "declared",
        "attention_at": now + 9 * DAY,
        "last_good_at": None if state == "new" else ended_at,
        "last_began_at": ended_at,
        "last_ended_at": ended_at,
        "last_outcome": "Fatal" if state == "failed" else "Success",
        "last_run_good": state != "failed",
        "stored_bytes": 201_000_000_000,
        "examined_bytes": 184_300_000_000,
    }


def _report(job_id: int, day: int, chance: random.Random, now: datetime) -> dict[str, Any]:
    outcome, ended_at = chance.choice(OUTCOMES), now - day * DAY - timedelta(hours=2)
    return {
        "job_id": job_id,
        "fingerprint": f"{job_id}-{day}",
        "received_at": ended_at,
        "began_at": ended_at - timedelta(minutes=14),
        "ended_at": ended_at,
        "time_source": "report",
        "duration_seconds": 845.1,
        "outcome": outcome,
        "good": outcome != "Error",
        "partial": False,
        "interrupted": False,
        "dry_run": False,
        "salvaged": False,
        "examined_bytes": 184_300_000_000 - day * 300_000_000,
        "stored_bytes": 201_000_000_000 - day * chance.randint(100_000_000, 400_000_000),
        "uploaded_bytes": 91_400_000,
    }
