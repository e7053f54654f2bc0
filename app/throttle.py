"""Slows whoever guesses passwords or keys from one address, in rows that all processes share."""

from __future__ import annotations

import ipaddress
import math
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db import insert_if_absent
from app.models import LoginFailure

FAILURES_BEFORE_PAUSE = 20
PAUSE = timedelta(minutes=1)
FORGOTTEN_AFTER = timedelta(minutes=15)
ROWS_LIMIT = 10_000
_ROWS_DROPPED = 1_000


class Kind(StrEnum):
    """What is guessed. A user can't have a colon in his name, so none of these is taken for a user's row."""

    PASSWORD = "address:"  # noqa: S105  (the beginning of a row's name)
    KEY = "key:"


def seconds_to_wait(session: Session, kind: Kind, address: str, now: datetime) -> int:
    """How long the address must wait before it may guess again; 0 when it need not."""
    row = session.get(LoginFailure, _name(kind, address))
    if row is None or row.locked_until_at is None or row.locked_until_at <= now:
        return 0
    return math.ceil((row.locked_until_at - now).total_seconds())


def note_failure(session: Session, kind: Kind, address: str, now: datetime) -> None:
    """Count a wrong guess. After too many, each further one costs the address a pause."""
    name = _name(kind, address)
    if insert_if_absent(session, LoginFailure, username=name, count=0, last_at=now):
        make_room(session, now)
    row = session.get(LoginFailure, name, with_for_update=True)
    if row is None:
        return  # another process has just made room
    if now - row.last_at > FORGOTTEN_AFTER:
        row.count = 0
    row.count += 1
    row.last_at = now
    if row.count >= FAILURES_BEFORE_PAUSE:
        row.locked_until_at = now + PAUSE


def make_room(session: Session, now: datetime) -> None:
    """Keep the table small, however many names and addresses somebody can make up: the oldest go."""
    count = session.scalar(select(func.count()).select_from(LoginFailure)) or 0
    if count > ROWS_LIMIT:
        older = select(LoginFailure.username).where(LoginFailure.last_at < now)
        names = session.scalars(older.order_by(LoginFailure.last_at).limit(_ROWS_DROPPED)).all()
        session.execute(delete(LoginFailure).where(LoginFailure.username.in_(names)))


def _name(kind: Kind, address: str) -> str:
    """The row of an address; of IPv6 its network, since everybody has very many addresses there."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"{kind}{address}"[:80]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return f"{kind}{mapped or ipaddress.ip_network((parsed, 64), strict=False)}"[:80]
    return f"{kind}{parsed}"
