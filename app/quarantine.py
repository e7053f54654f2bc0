"""Bodies that are no usable report: kept, with the reason, for the administrator to see."""

from __future__ import annotations

from datetime import datetime

from app import retention
from app.db import Database
from app.models import QuarantinedBody
from app.reports import UnusableReport
from app.upload import Body, Sender


def keep(database: Database, body: Body, problem: UnusableReport, sender: Sender, *, now: datetime) -> None:
    """Keep a body that is no usable report, with the reason, for the administrator; the oldest make room."""
    compressed = body.compressed()
    with database.writing() as session:
        retention.make_room_in_quarantine(session, len(compressed))
        session.add(
            QuarantinedBody(
                received_at=now,
                key_label=sender.key_label,
                address=sender.address[:64],
                content_type=body.content_type[:100],
                reason=problem.reason,
                missing_fields=problem.missing_fields,
                size_bytes=len(body.raw),
                compressed=compressed,
            )
        )
