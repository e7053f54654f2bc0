"""The trace in the audit log of what somebody did on a page."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app import access, audit, clock


def note(
    rows: Session, action: str, target: str, *, before: str | None = None, after: str | None = None
) -> None:
    """As `audit.note`, with the actor, the time and the address of this request."""
    audit.note(
        rows,
        actor=access.actor(),
        action=action,
        target=target,
        before=before,
        after=after,
        now=clock.utcnow(),
        address=access.address(),
    )
