"""What is told to people: one message, the same for every channel and every retry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Plain text only: names inside come from clients and are never markup."""

    message_id: str
    kind: str
    title: str
    body: str
    severity: str
    url: str | None
    occurred_at: datetime
    facts: dict[str, object]
