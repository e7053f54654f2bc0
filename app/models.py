"""Everything that is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base, UtcDateTime

# SQLite hands out row numbers only for a column that is spelled INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

# The worst comes first on every page.
STATE_RANKS = {"overdue": 0, "failed": 1, "late": 2, "new": 3, "paused": 4, "ok": 5}


class Server(Base):
    """A machine that sends reports. `machine_id` is Duplicati's, or a stand-in that starts with `key:`."""

    __tablename__ = "server"

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
        Index(
            "ix_job_not_ok",
            "state",
            postgresql_where=text("state <> 'ok'"),
            sqlite_where=text("state <> 'ok'"),
        ),
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
    told: Mapped[str | None] = mapped_column(String(12))  # kind of the last alert

    tolerance_seconds: Mapped[int | None]
    reminder: Mapped[str | None] = mapped_column(String(12))
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    server: Mapped[Server] = relationship()
    schedules: Mapped[list[JobSchedule]] = relationship(cascade="all, delete-orphan")


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


class Report(Base):
    """One run as reported: the thin row that lists and charts read. Its body lies apart."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("job_id", "fingerprint"),
        Index("ix_report_job_ended", "job_id", "ended_at", "id"),
        Index("ix_report_received", "received_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    fingerprint: Mapped[str] = mapped_column(String(100))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)
    time_source: Mapped[str] = mapped_column(
        String(8)
    )  # "report", or "arrival" where it names no usable time
    duration_seconds: Mapped[float | None]
    outcome: Mapped[str] = mapped_column(String(12))
    good: Mapped[bool]
    partial: Mapped[bool]
    interrupted: Mapped[bool]
    dry_run: Mapped[bool]
    salvaged: Mapped[bool]
    error: Mapped[str | None] = mapped_column(Text)
    duplicati_version: Mapped[str | None] = mapped_column(String(120))
    next_scheduled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    warnings_count: Mapped[int | None] = mapped_column(BigInteger)
    errors_count: Mapped[int | None] = mapped_column(BigInteger)
    messages_count: Mapped[int | None] = mapped_column(BigInteger)
    examined_files: Mapped[int | None] = mapped_column(BigInteger)
    opened_files: Mapped[int | None] = mapped_column(BigInteger)
    added_files: Mapped[int | None] = mapped_column(BigInteger)
    modified_files: Mapped[int | None] = mapped_column(BigInteger)
    deleted_files: Mapped[int | None] = mapped_column(BigInteger)
    files_with_error: Mapped[int | None] = mapped_column(BigInteger)
    examined_bytes: Mapped[int | None] = mapped_column(BigInteger)
    opened_bytes: Mapped[int | None] = mapped_column(BigInteger)
    added_bytes: Mapped[int | None] = mapped_column(BigInteger)
    modified_bytes: Mapped[int | None] = mapped_column(BigInteger)
    uploaded_bytes: Mapped[int | None] = mapped_column(BigInteger)
    downloaded_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stored_files: Mapped[int | None] = mapped_column(BigInteger)
    versions: Mapped[int | None] = mapped_column(BigInteger)
    free_quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    total_quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    assigned_quota_bytes: Mapped[int | None] = mapped_column(BigInteger)

    job: Mapped[Job] = relationship()


class ReportBody(Base):
    """The whole body as it came, compressed with zlib."""

    __tablename__ = "report_body"

    report_id: Mapped[int] = mapped_column(
        ForeignKey("report.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    compressed: Mapped[bytes] = mapped_column(LargeBinary)


class QuarantinedBody(Base):
    """A body that was no usable report, kept for the administrator to see; compressed with zlib."""

    __tablename__ = "quarantined_body"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    key_label: Mapped[str] = mapped_column(String(120))
    address: Mapped[str] = mapped_column(String(64))
    content_type: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    missing_fields: Mapped[list[str]] = mapped_column(JSON)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    compressed: Mapped[bytes] = mapped_column(LargeBinary)


class Alert(Base):
    """A change of state people must hear of; written in the transaction that changes the state."""

    __tablename__ = "alert"
    __table_args__ = (Index("ix_alert_job", "job_id", "id"), Index("ix_alert_created", "created_at"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    message_id: Mapped[str] = mapped_column(String(32), unique=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(12))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    job: Mapped[Job] = relationship()


class Channel(Base):
    """A way to reach people; `config` holds secrets and is only shown masked."""

    __tablename__ = "channel"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(120), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    language: Mapped[str] = mapped_column(String(8), default="en")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Delivery(Base):
    """One alert for one channel; `next_attempt_at` is set while it is still to be delivered."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_next_attempt", "next_attempt_at"),
        Index("ix_delivery_channel", "channel_id", "next_attempt_at"),
        Index("ix_delivery_alert", "alert_id"),
        Index("ix_delivery_order", "job_id", "channel_id", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    channel_id: Mapped[int] = mapped_column(ForeignKey("channel.id", ondelete="CASCADE"))
    job_id: Mapped[int] = mapped_column(BigInteger)  # keeps the alerts of one job in order on one channel
    status: Mapped[str] = mapped_column(String(8), default="pending")  # pending, sent, given_up
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    detail: Mapped[str | None] = mapped_column(Text)

    alert: Mapped[Alert] = relationship()
    channel: Mapped[Channel] = relationship()


class DeliveryAttempt(Base):
    """What one attempt to deliver came to, in the receiver's own words."""

    __tablename__ = "delivery_attempt"
    __table_args__ = (Index("ix_delivery_attempt_delivery", "delivery_id"),)
    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_seconds: Mapped[float]
    delivered: Mapped[bool]
    detail: Mapped[str] = mapped_column(Text)


class TaskRun(Base):
    """One run of a task of the cron service. `finished_at` stays empty when it was cut off."""

    __tablename__ = "task_run"
    __table_args__ = (Index("ix_task_run_task", "task", "id"), Index("ix_task_run_started", "started_at"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    task: Mapped[str] = mapped_column(String(40))
    cause: Mapped[str] = mapped_column(String(10))  # schedule, manual, catch-up
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    succeeded: Mapped[bool | None]
    message: Mapped[str] = mapped_column(Text, default="")
    statistics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class User(Base):
    """Somebody who may log in; role `administrator` or `viewer`."""

    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    username: Mapped[str] = mapped_column(String(80), unique=True)
    password_hash: Mapped[str] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class UserSession(Base):
    """A login. The cookie holds the token, the row only its SHA-256."""

    __tablename__ = "user_session"
    __table_args__ = (Index("ix_user_session_user", "user_id"),)
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    address: Mapped[str] = mapped_column(String(64))

    user: Mapped[User] = relationship()


class LoginFailure(Base):
    """Wrong passwords in a row for a name, whether or not such a user exists."""

    __tablename__ = "login_failure"

    username: Mapped[str] = mapped_column(String(80), primary_key=True)
    count: Mapped[int] = mapped_column(Integer, default=0)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    locked_until_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ApiKey(Base):
    """A key with scope `upload` or `read`; only its SHA-256 is stored."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    label: Mapped[str] = mapped_column(String(120))
    scope: Mapped[str] = mapped_column(String(8))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(12))  # its first characters, to tell keys apart on a page
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AuditEntry(Base):
    """Who did what, when, from where."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(String(200))
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str] = mapped_column(String(64))


class Total(Base):
    """A running count, so that no request has to count rows."""

    __tablename__ = "total"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)
