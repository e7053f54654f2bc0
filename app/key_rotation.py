"""API keys over time: the list of them, a successor beside the old key, and the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import accounts
from app.accounts import AccountError
from app.models import ApiKey

PAGE_SIZE = 50
VALID = "valid"
REVOKED = "revoked"
EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Listed:
    """A key as the list shows it. `successor_id` is the newest key of its line, if that is another."""

    key: ApiKey
    state: str
    successor_id: int | None
    successor_at: datetime | None

    @property
    def is_used_beside_its_successor(self) -> bool:
        """Whether somebody still comes with the old key although there is a newer one."""
        used_at, since_at = self.key.used_at, self.successor_at
        return used_at is not None and since_at is not None and used_at > since_at


def page(session: Session, now: datetime, before: int | None = None) -> list[Listed]:
    """The newest keys first, one more than a page holds; two queries."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(PAGE_SIZE + 1)
    if before is not None:
        query = query.where(ApiKey.id < before)
    keys = session.scalars(query).all()
    newest = _newest_of_lines(session, {_line(each) for each in keys}, now)
    return [_listed(each, newest.get(_line(each)), now) for each in keys]


def listed(session: Session, key: ApiKey, now: datetime) -> Listed:
    return _listed(key, _newest_of_lines(session, {_line(key)}, now).get(_line(key)), now)


def _listed(key: ApiKey, newest: tuple[int, datetime] | None, now: datetime) -> Listed:
    has_successor = newest is not None and newest[0] > key.id
    return Listed(
        key,
        state(key, now),
        newest[0] if newest and has_successor else None,
        newest[1] if newest and has_successor else None,
    )


def _newest_of_lines(
    session: Session, lines: set[int], now: datetime | None = None
) -> dict[int, tuple[int, datetime]]:
    """The number and birth of the newest successor that was not revoked, by the first key of the line.

    With `now` one that has expired by then does not count: the line must be able to go on from the old key.
    """
    query = (
        select(ApiKey.origin_id, func.max(ApiKey.id), func.max(ApiKey.created_at))
        .where(ApiKey.origin_id.in_(lines), ApiKey.revoked_at.is_(None))
        .group_by(ApiKey.origin_id)
    )
    if now is not None:
        query = query.where(or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
    return {row[0]: (row[1], row[2]) for row in session.execute(query) if row[0] is not None}


def _line(key: ApiKey) -> int:
    return key.origin_id or key.id


def state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return REVOKED
    return VALID if accounts.is_valid(key, now) else EXPIRED


def rotate(
    session: Session, key: ApiKey, now: datetime, *, ends_at: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a successor of same label and scope; the old key works until `ends_at` at the latest.

    Raises AccountError for a key that works no more, and for one that has a successor: that one is rotated.
    """
    session.refresh(key, with_for_update=True)
    if not accounts.is_valid(key, now):
        raise AccountError(f"key: number {key.id} works no more; make a new one")
    if listed(session, key, now).successor_id is not None:
        raise AccountError(f"key: number {key.id} has a successor already; rotate that one")
    made = accounts.new_key(session, key.label, key.scope, now, expires_at=expires_at, origin_id=_line(key))
    key.expires_at = min(ends_at, key.expires_at or ends_at)
    return made


def revoke(key: ApiKey, now: datetime) -> None:
    """Raises AccountError for a key that was revoked before."""
    if key.revoked_at is not None:
        raise AccountError(f"key: there is no valid key number {key.id}")
    key.revoked_at = now


def find(session: Session, label_or_number: str) -> ApiKey:
    """By its number, or by its label where one key that was not revoked has it. Raises AccountError."""
    if label_or_number.isascii() and label_or_number.isdecimal() and len(label_or_number) < 19:
        found = session.get(ApiKey, int(label_or_number))
        if found is not None:
            return found
    named = _named(session, label_or_number)
    if len(named) == 1:
        return named[0]
    if named:
        raise AccountError(f"label: several keys are called {label_or_number}; give the number of one")
    raise AccountError(f"key: there is no key {label_or_number}")


def _named(session: Session, label: str) -> Sequence[ApiKey]:
    """Of a line that was rotated only the newest: it is the one to rotate next."""
    query = select(ApiKey).where(ApiKey.label == label, ApiKey.revoked_at.is_(None))
    keys = session.scalars(query.order_by(ApiKey.id).limit(100)).all()
    newest = _newest_of_lines(session, {_line(each) for each in keys})
    return [each for each in keys if newest.get(_line(each), (each.id,))[0] == each.id]
