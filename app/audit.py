"""Who did what, when, from where."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from app.models import AuditEntry


def note(
    session: Session,
    *,
    actor: str,
    action: str,
    target: str,
    now: datetime,
    before: str | None = None,
    after: str | None = None,
    address: str = "",
) -> AuditEntry:
    """Write one entry in the caller's transaction; an action and its trace are kept or lost together.

    Values must hold no secrets: `before` and `after` are shown to every administrator.
    """
    entry = AuditEntry(
        happened_at=now,
        actor=actor[:80],
        action=action,
        target=target[:200],
        before=before,
        after=after,
        address=address[:64],
    )
    session.add(entry)
    return entry
