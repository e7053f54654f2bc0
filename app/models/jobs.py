"""Machines, their backup jobs, and what users have set about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base, UtcDateTime
from app.models.columns import RowId, partial_index

# The worst comes first on every page.
STATE_RANKS = {"overdue": 0, "failed": 1, "late": 2, "new": 3, "paused": 4, "ok": 5}


class Server(Base):
    """A machine that sends reports. `machine_id` is Duplicati's, or a stand-in that starts with `key:`."""

    __tablename__ = "server"
    __table_args__ = (Index("ix_server_name", "name"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    machine_id: Mapped[str] = mapped_column(String(400), unique=True)
    name: Mapped[str] = mapped_column(String(300))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Job(Base):
    """A backup job with its clocks: when it is due, and when silence alone can next change its state."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("server_id", "backup_id"),
        Index("ix_job_attention_at", "attention_at"),
        Index("ix_job_state_rank", "state_rank", "name", "id"),
        Index("ix_job_last_ended", "last_ended_at"),
        Index("ix_job_name", "name", "id"),
        partial_index("ix_job_published", "state_rank", "name", "id", where="is_published"),
        Index("ix_job_server_ended", "server_id", "last_ended_at"),
        partial_index("ix_job_not_ok", "state", where="state <> 'ok'"),
        partial_index("ix_job_downtime", "downtime_id", where="downtime_id IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"))
    backup_id: Mapped[str] = mapped_column(String(400))
    name: Mapped[str] = mapped_column(String(300))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    state: Mapped[str] = mapped_column(String(10), default="new")
    state_rank: Mapped[int] = mapped_column(Integer, default=STATE_RANKS["new"])
    state_since_at: Mapped[datetime] = mapped_column(UtcDateTime)
    why: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    expected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    until_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expected_source: Mapped[str | None] = mapped_column(String(10))
    declared_next_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    declared_gap_seconds: Mapped[int | None]
    attention_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reminder_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    last_good_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_began_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_outcome: Mapped[str | None] = mapped_column(String(12))
    last_run_good: Mapped[bool | None]
    last_report_id: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(
        BigInteger
    )  # at the destination, by the last run that told
    examined_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of the source, likewise
    told: Mapped[str | None] = mapped_column(String(12))  # kind of the last alert

    tolerance_seconds: Mapped[int | None]
    reminder: Mapped[str | None] = mapped_column(String(12))
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_until_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_by: Mapped[str | None] = mapped_column(String(80))
    notes: Mapped[str | None] = mapped_column(Text)  # for the people who look after it
    is_published: Mapped[bool] = mapped_column(default=False, server_default=false())  # on the status page
    public_name: Mapped[str | None] = mapped_column(String(120))  # what strangers read instead of its name
    # The time in which its report may have been lost; set while the job has credit for that.
    downtime_id: Mapped[int | None] = mapped_column(ForeignKey("downtime.id", ondelete="SET NULL"))

    server: Mapped[Server] = relationship()
    schedules: Mapped[list[JobSchedule]] = relationship(cascade="all, delete-orphan")


# As the lists in these orders want them; SQLite has the empty ones first anyway.
Index("ix_job_last_good", Job.last_good_at.nulls_first(), Job.id)
Index("ix_job_expected", Job.expected_at.nulls_first(), Job.id)


class JobSchedule(Base):
    """A schedule of a job by the word of one source: collected from Duplicati, or typed by a user."""

    __tablename__ = "job_schedule"
    __table_args__ = (UniqueConstraint("job_id", "source"),)
    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(10))
    repeat: Mapped[str] = mapped_column(String(60))
    days: Mapped[str] = mapped_column(String(30))  # "mon,tue"; empty means every day
    zone: Mapped[str] = mapped_column(String(60))
    anchor_at: Mapped[datetime] = mapped_column(UtcDateTime)
    set_at: Mapped[datetime] = mapped_column(UtcDateTime)


class MaintenanceWindow(Base):
    """A time in which backups may be late: of everything, of one server, or of one job.

    Either once (`starts_at`, `ends_at`), or every week on `weekdays` ("sat,sun") from `start_time` ("22:00")
    in `zone` for `duration_minutes`.
    """

    __tablename__ = "maintenance_window"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    server_id: Mapped[int | None] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    starts_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    weekdays: Mapped[str | None] = mapped_column(String(30))
    start_time: Mapped[str | None] = mapped_column(String(5))
    duration_minutes: Mapped[int | None]
    zone: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Total(Base):
    """A running count, so that no request has to count rows."""

    __tablename__ = "total"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)


class ReportTotal(Base):
    """Running sums of the stored reports and of the sizes of their jobs; each row has a part of the jobs."""

    __tablename__ = "report_total"

    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    runs_count: Mapped[int] = mapped_column(BigInteger, default=0)
    uploaded_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    examined_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
