"""How this installation fares: versions, database, what waits, disk, and the copies of itself."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import URL, case, func, select, text
from sqlalchemy.orm import Session

from app.archive import keeping
from app.db import Database
from app.models import Delivery, Heartbeat, Lease
from app.settings import Settings

MOST_COUNTED = 10_000
LOW_DISK_SHARE = 0.1
LOW_DISK_BYTES = 500_000_000
_VENDOR_TABLE = Path(__file__).parent / "static" / "vendor" / "README.md"
_VENDOR_ROW = re.compile(
    r"\| \[(?P<name>[^]]+)\]\((?P<url>https://[^)\s]+)\) \| (?P<version>[^|]+) \| (?P<licence>\w[\w.-]*)"
)


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the instance folder."""

    free_bytes: int
    total_bytes: int

    @property
    def is_low(self) -> bool:
        return self.free_bytes < max(LOW_DISK_BYTES, LOW_DISK_SHARE * self.total_bytes)


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits to be delivered, counted up to MOST_COUNTED, and what of that was tried in vain."""

    waiting: int
    failing: int


@dataclass(frozen=True, slots=True)
class Asset:
    """Somebody else's file that is handed out with our pages."""

    name: str
    version: str
    licence: str


def versions() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "Flask": version("flask"),
        "SQLAlchemy": version("sqlalchemy"),
    }


def database_version(session: Session, database: Database) -> str:
    if database.is_sqlite:
        return f"SQLite {session.scalar(select(func.sqlite_version()))}"
    told = str(session.scalar(text("SHOW server_version")))
    return f"PostgreSQL {told.partition(' ')[0]}"


def schema_revision(session: Session) -> str | None:
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def masked_url(url: URL) -> str:
    """The address of the database without anything that opens it."""
    return url.set(query={}).render_as_string(hide_password=True)


def queue(session: Session) -> Queue:
    waits = select(Delivery.attempts).where(Delivery.next_attempt_at.is_not(None)).limit(MOST_COUNTED)
    attempts = waits.subquery().c.attempts
    waiting, failing = session.execute(
        select(func.count(), func.count(case((attempts > 0, 1)))).select_from(attempts.table)
    ).one()
    return Queue(waiting, failing)


def heartbeats(session: Session) -> dict[str, datetime]:
    return {each.name: each.beat_at for each in session.scalars(select(Heartbeat))}


def leases(session: Session, now: datetime) -> Sequence[Lease]:
    """Which cron service holds what at this moment."""
    return session.scalars(select(Lease).where(Lease.expires_at > now).order_by(Lease.name).limit(20)).all()


def disk(folder: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Disk(usage.free, usage.total)


def newest_archive(settings: Settings) -> keeping.Kept | None:
    """The newest copy of the installation; None when there is none or its folder can't be read."""
    try:
        return next(iter(keeping.kept(keeping.folder_of(settings))), None)
    except OSError:
        return None


@lru_cache(maxsize=1)
def vendored_assets() -> tuple[Asset, ...]:
    """From the table beside the files themselves."""
    rows = _VENDOR_ROW.finditer(_VENDOR_TABLE.read_text(encoding="utf-8"))
    return tuple(Asset(row["name"], row["version"].strip(), row["licence"]) for row in rows)
