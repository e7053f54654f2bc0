"""Runs as reported, their bodies, and bodies that were no report."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base, UtcDateTime
from app.models.columns import RowId
from app.models.jobs import Job


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
    key_id: Mapped[int | None] = mapped_column(BigInteger)  # the upload key it came with

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
