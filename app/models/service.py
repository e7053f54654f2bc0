"""What Veilleur knows about its own work: runs, leases, signs of life."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, UtcDateTime
from app.models.columns import RowId


class TaskRun(Base):
    """One run of a task of the cron service. `finished_at` stays empty when it was cut off."""

    __tablename__ = "task_run"
    __table_args__ = (Index("ix_task_run_task", "task", "id"), Index("ix_task_run_started", "started_at"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    task: Mapped[str] = mapped_column(String(40))
    cause: Mapped[str] = mapped_column(String(10))  # schedule, manual, catch-up
    holder: Mapped[str] = mapped_column(String(120), default="")  # which cron service ran it
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    succeeded: Mapped[bool | None]
    message: Mapped[str] = mapped_column(Text, default="")
    statistics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Lease(Base):
    """The right to run a task, held by one cron service at a time and lost when it is not renewed."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Heartbeat(Base):
    """The last sign of life of a part of Veilleur: `web` takes reports in, `cron` checks."""

    __tablename__ = "heartbeat"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Downtime(Base):
    """A time in which reports could not be taken in; `ended_at` is empty while it lasts."""

    __tablename__ = "downtime"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    began_at: Mapped[datetime] = mapped_column(UtcDateTime, unique=True)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class StoredSetting(Base):
    """A setting that was chosen on a page; the environment variable of the same meaning goes before it."""

    __tablename__ = "stored_setting"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_by: Mapped[str] = mapped_column(String(80))
