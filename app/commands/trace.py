"""What commands share: the settings, who types, and the trace in the audit log."""

from __future__ import annotations

import getpass

from flask import current_app
from sqlalchemy.orm import Session

from app import audit, clock
from app.settings import Settings

_COMMAND_LINE = "command line"


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found


def who() -> str:
    """The system's user, as the audit log names whoever typed a command."""
    try:
        return f"{getpass.getuser()} ({_COMMAND_LINE})"
    except (KeyError, OSError):
        return _COMMAND_LINE


def note(
    rows: Session, action: str, target: str, *, before: str | None = None, after: str | None = None
) -> None:
    audit.note(
        rows, actor=who(), action=action, target=target, before=before, after=after, now=clock.utcnow()
    )
