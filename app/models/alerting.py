"""What people must hear of, and how it is brought to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base, UtcDateTime
from app.models.columns import RowId, partial_index
from app.models.jobs import Job


class Alert(Base):
    """A change of state people must hear of; written in the transaction that changes the state.

    `routed_at` is empty until its deliveries are made. One that became part of a grouped message has none of
    its own: `group_id` names the alert, without a job, that stands for all of them.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index("ix_alert_job", "job_id", "id"),
        Index("ix_alert_created", "created_at"),
        partial_index("ix_alert_unrouted", "id", where="routed_at IS NULL"),
        partial_index("ix_alert_group", "group_id", "job_id", where="group_id IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    message_id: Mapped[str] = mapped_column(String(32), unique=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("alert.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(String(12))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    routed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    job: Mapped[Job | None] = relationship()


class Channel(Base):
    """A way to reach people; `config` holds secrets and is only shown masked.

    `failing_since_at` and `last_error` tell of failed attempts since the last success; `fallback_id` names
    the channel that is used as well while this one fails.
    """

    __tablename__ = "channel"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(120), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    language: Mapped[str] = mapped_column(String(8), default="en")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    fallback_id: Mapped[int | None] = mapped_column(ForeignKey("channel.id", ondelete="SET NULL"))
    failing_since_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    tested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when a test message last arrived


class Delivery(Base):
    """One alert for one channel; `next_attempt_at` is set while it is still to be delivered."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_next_attempt", "next_attempt_at"),
        Index("ix_delivery_channel", "channel_id", "next_attempt_at", "id"),
        UniqueConstraint("alert_id", "channel_id", name="uq_delivery_alert_channel"),
        partial_index(
            "ix_delivery_groups", "channel_id", "id", where="job_id IS NULL AND next_attempt_at IS NOT NULL"
        ),
        Index("ix_delivery_order", "job_id", "channel_id", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    channel_id: Mapped[int] = mapped_column(ForeignKey("channel.id", ondelete="CASCADE"))
    # Keeps the alerts of one job in order on one channel; empty for a grouped message.
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    fallback_for: Mapped[str | None] = mapped_column(String(120))  # name of the channel it stands in for
    status: Mapped[str] = mapped_column(String(8), default="pending")  # pending, sent, given_up
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    claimed_by: Mapped[str | None] = mapped_column(String(120))  # the cron service that is sending it
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


class MessageTemplate(Base):
    """What a user wrote in place of our own words for one kind of message in one language."""

    __tablename__ = "message_template"

    kind: Mapped[str] = mapped_column(String(12), primary_key=True)
    language: Mapped[str] = mapped_column(String(8), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_by: Mapped[str] = mapped_column(String(80))
