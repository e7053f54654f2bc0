"""Open logins: of one user to look through, of many in figures, and their end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Delete, delete, func, select
from sqlalchemy.orm import Session

from app.models import UserSession

SHOWN = 50
# Enough of a session's hash to name it in a form of its owner; the whole stays on the server.
_NAME_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Open:
    """A login that still works."""

    name: str
    created_at: datetime
    seen_at: datetime
    address: str
    is_this: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """How many logins of a user still work, and when the user was last seen in one that is stored."""

    count: int
    seen_at: datetime | None


def of_user(session: Session, user_id: int, this_hash: str, now: datetime) -> list[Open]:
    """The logins of a user that still work, the one last used first; at most so many as SHOWN."""
    query = (
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.expires_at > now)
        .order_by(UserSession.seen_at.desc())
        .limit(SHOWN)
    )
    return [
        Open(
            each.token_hash[:_NAME_CHARACTERS],
            each.created_at,
            each.seen_at,
            each.address,
            each.token_hash == this_hash,
        )
        for each in session.scalars(query)
    ]


def summaries(session: Session, user_ids: Iterable[int], now: datetime) -> dict[int, Summary]:
    """For each of the users who has any login stored, in one query."""
    still_open = func.count().filter(UserSession.expires_at > now)
    query = (
        select(UserSession.user_id, still_open, func.max(UserSession.seen_at))
        .where(UserSession.user_id.in_(list(user_ids)))
        .group_by(UserSession.user_id)
    )
    return {row[0]: Summary(row[1], row[2]) for row in session.execute(query)}


def end(session: Session, user_id: int, name: str) -> int:
    """End the login of this user that goes by the name; how many ended."""
    if not re.fullmatch(rf"[0-9a-f]{{{_NAME_CHARACTERS}}}", name):
        return 0
    found = UserSession.token_hash.startswith(name, autoescape=True)
    return _ended(session, delete(UserSession).where(UserSession.user_id == user_id, found))


def end_all(session: Session, user_id: int, *, but: str = "") -> int:
    """End the logins of this user but the one with this hash; how many ended."""
    others = delete(UserSession).where(UserSession.user_id == user_id, UserSession.token_hash != but)
    return _ended(session, others)


def _ended(session: Session, statement: Delete) -> int:
    return len(session.scalars(statement.returning(UserSession.token_hash)).all())
