"""Bodies that are no usable report: kept, with the reason, for the administrator to see and to try again."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from app import record, retention
from app.checks import Policy
from app.db import Database
from app.models import ApiKey, QuarantinedBody
from app.reports import Report, UnusableReport, parse
from app.upload import Body, Sender

SHOWN_BYTES = 64 * 1024
# A page shows them as pictures: some end a page or turn its direction, and none should pass unseen.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_UNSEEN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Shown:
    """The beginning of a body as text; `is_cut` where there is more."""

    text: str
    is_cut: bool


def keep(database: Database, body: Body, problem: UnusableReport, sender: Sender, *, now: datetime) -> None:
    """Keep a body that is no usable report, with the reason, for the administrator; the oldest make room."""
    with database.writing() as session:
        retention.make_room_in_quarantine(session, len(body.compressed))
        session.add(
            QuarantinedBody(
                received_at=now,
                key_label=sender.key_label,
                address=sender.address[:64],
                content_type=body.content_type[:100],
                reason=problem.reason,
                missing_fields=problem.missing_fields,
                size_bytes=body.size_bytes,
                compressed=body.compressed,
            )
        )


def beginning(row: QuarantinedBody) -> Shown:
    """So much of the body as fits on a page, whatever it is."""
    raw = zlib.decompressobj().decompress(row.compressed, SHOWN_BYTES)
    text = raw.decode(errors="replace")
    text = _CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])), text)
    return Shown(_UNSEEN.sub("\ufffd", text), row.size_bytes > len(raw))


def take_again(database: Database, row: QuarantinedBody, policy: Policy) -> tuple[Report, bool]:
    """Read the body anew, perhaps by a newer version, and take it in as if it came when it came.

    Returns the report, and whether it was stored: one that is known already or about no backup is not.
    Raises UnusableReport when it still can't be read.
    """
    raw = zlib.decompress(row.compressed)
    report = parse(raw, row.content_type)
    if not report.is_backup:
        return report, False
    with database.reading() as session:
        sender = Sender(_key_id(session, row.key_label), row.key_label, row.address, row.received_at)
    body = Body(raw, row.content_type)
    return report, record.take(database, report, body, sender, policy=policy, now=row.received_at)


def _key_id(session: Session, label: str) -> int | None:
    """The first key of the line that carried it, where its label names one line only."""
    lines = select(func.coalesce(ApiKey.origin_id, ApiKey.id)).where(ApiKey.label == label).distinct()
    found = session.scalars(lines.limit(2)).all()
    return found[0] if len(found) == 1 else None


def count_older(session: Session, body_id: int) -> int:
    """Bounded by what is kept at most."""
    return session.scalar(select(func.count()).select_from(_older(body_id).subquery())) or 0


def remove_older(session: Session, body_id: int) -> int:
    """Delete what came before this one; returns how many."""
    keys = session.scalars(_older(body_id)).all()
    session.execute(delete(QuarantinedBody).where(QuarantinedBody.id.in_(keys)))
    return len(keys)


def _older(body_id: int) -> Select[int]:
    return (
        select(QuarantinedBody.id).where(QuarantinedBody.id < body_id).limit(2 * retention.QUARANTINE_BODIES)
    )
