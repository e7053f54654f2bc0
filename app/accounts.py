"""Users, their sessions and passwords, and API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Connection, Table, bindparam, delete, select, update
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from app import throttle
from app.db import insert_if_absent
from app.models import ApiKey, LoginFailure, User, UserSession
from app.notify.cleaning import one_line
from app.prepared import Prepared

ADMINISTRATOR = "administrator"
VIEWER = "viewer"
ROLES = (ADMINISTRATOR, VIEWER)

UPLOAD = "upload"
READ = "read"
SCOPES = (UPLOAD, READ)

FAILURES_BEFORE_LOCK = 5
LOCK_MINUTES = 15
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1000

_SEEN_EVERY = timedelta(minutes=5)
_CLEAR_CHARACTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that look alike


_SESSIONS, _USERS = cast(Table, UserSession.__table__), cast(Table, User.__table__)
# Every report asks it.
_BY_HASH = Prepared(
    select(
        ApiKey.id,
        ApiKey.label,
        ApiKey.scope,
        ApiKey.key_hash,
        ApiKey.used_at,
        ApiKey.revoked_at,
        ApiKey.expires_at,
        ApiKey.origin_id,
    ).where(cast(Table, ApiKey.__table__).c.key_hash == bindparam("digest"))
)


class AccountError(ValueError):
    """A name, password or role that can't be taken; says what was expected."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever is logged in, free of the database session it was read in."""

    user_id: int
    username: str
    role: str
    language: str | None = None
    timezone: str | None = None
    layout: str | None = None
    password_is_initial: bool = False

    @classmethod
    def of(cls, user: User) -> Identity:
        return cls(
            user.id,
            user.username,
            user.role,
            user.language,
            user.timezone,
            user.layout,
            user.password_is_initial,
        )

    @property
    def is_administrator(self) -> bool:
        return self.role == ADMINISTRATOR


def digest(token: str) -> str:
    """How tokens and keys are stored. They are long and random, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


_METHOD = "scrypt:32768:8:1"
# Checked when no such user exists, so that both cases take the same time. The hash of no known password,
# drawn and not computed: that would hold up the start of each process and of each command.
_NOBODY = f"{_METHOD}${secrets.token_urlsafe(12)}${secrets.token_hex(64)}"


def add_user(session: Session, username: str, password: str, role: str, now: datetime) -> User:
    """Raises AccountError naming the field that can't be taken."""
    if not re.fullmatch(r"[A-Za-z0-9._@+-]{1,80}", username):
        raise AccountError("username: 1 to 80 letters, digits or . _ @ + -")
    if role not in ROLES:
        raise AccountError("role: one of " + ", ".join(ROLES))
    if session.scalar(select(User.id).where(User.username == username)) is not None:
        raise AccountError(f"username: {username} exists already")
    user = User(username=username, password_hash=_hash(password), role=role, created_at=now)
    session.add(user)
    return user


def set_password(session: Session, username: str, password: str, *, is_initial: bool = False) -> None:
    """Change it, unlock the user and end every session. Raises AccountError.

    `is_initial` while somebody else knows it too: the user is asked to choose another.
    """
    user = find_user(session, username)
    user.password_hash = _hash(password)
    user.password_is_initial = is_initial
    session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    unlock(session, username)


def unlock(session: Session, username: str) -> None:
    """Forget the wrong passwords that were tried with the name."""
    session.execute(delete(LoginFailure).where(LoginFailure.username == _row_name(username)))


def make_password() -> str:
    """A random one that is easy to read aloud and to type: about 99 bits."""
    groups = ["".join(secrets.choice(_CLEAR_CHARACTERS) for _each in range(5)) for _group in range(4)]
    return "-".join(groups)


def change_role(session: Session, user: User, role: str) -> None:
    """Raises AccountError for a role that is none, and for the last administrator."""
    if role not in ROLES:
        raise AccountError("role: one of " + ", ".join(ROLES))
    if role != ADMINISTRATOR and is_last_administrator(session, user, lock=True):
        raise AccountError(f"role: {user.username} is the last administrator and has to stay one")
    user.role = role


def remove_user(session: Session, username: str) -> None:
    """Raises AccountError for an unknown user and for the last administrator."""
    user = find_user(session, username)
    if is_last_administrator(session, user, lock=True):
        raise AccountError(f"username: {username} is the last administrator and can't be removed")
    session.delete(user)


def is_last_administrator(session: Session, user: User, *, lock: bool = False) -> bool:
    """With `lock`, so that of two administrators who remove each other at once only one succeeds."""
    every = select(User.id).where(User.role == ADMINISTRATOR).order_by(User.id)
    return session.scalars(every.with_for_update() if lock else every.limit(2)).all() == [user.id]


def find_user(session: Session, username: str) -> User:
    user = session.scalar(select(User).where(User.username == username))
    if user is None:
        raise AccountError(f"username: there is no user {username}")
    return user


def _hash(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountError(f"password: {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    return generate_password_hash(password, _METHOD)


def locked_until(session: Session, username: str, now: datetime) -> datetime | None:
    """When the name may be tried again; None when it may be tried now."""
    failure = session.get(LoginFailure, _row_name(username))
    if failure is None or failure.locked_until_at is None or failure.locked_until_at <= now:
        return None
    return failure.locked_until_at


def verify(session: Session, username: str, password: str) -> User | None:
    """The user when the password is right. Takes as long for a name that does not exist."""
    user = session.scalar(select(User).where(User.username == username))
    right = check_password_hash(user.password_hash if user else _NOBODY, password[:LONGEST_PASSWORD])
    return user if right else None


def note_failure(session: Session, username: str, now: datetime) -> int:
    """Count a wrong password and lock the name when there were too many; the count in a row."""
    name = _row_name(username)
    if insert_if_absent(session, LoginFailure, username=name, count=0, last_at=now):
        throttle.make_room(session, now)
    failure = session.get_one(LoginFailure, name, with_for_update=True)
    if now - failure.last_at > timedelta(minutes=LOCK_MINUTES):
        failure.count = 0
    failure.count += 1
    failure.last_at = now
    in_a_row = failure.count
    if in_a_row >= FAILURES_BEFORE_LOCK:
        failure.locked_until_at = now + timedelta(minutes=LOCK_MINUTES)
        failure.count = 0
    return in_a_row


def _row_name(username: str) -> str:
    # Names with a colon are rows of addresses; no user has one.
    return username[:80].replace(":", "?")


def open_session(session: Session, user: User, *, address: str, now: datetime, hours: int) -> str:
    """Log the user in; the token for the cookie."""
    session.execute(delete(LoginFailure).where(LoginFailure.username == user.username))
    token = secrets.token_urlsafe(32)
    session.add(
        UserSession(
            token_hash=digest(token),
            user_id=user.id,
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(hours=hours),
            address=address[:64],
        )
    )
    return token


def close_session(session: Session, token: str) -> None:
    session.execute(delete(UserSession).where(UserSession.token_hash == digest(token)))


# It comes before every request of whoever is logged in.
_HOLDER = Prepared(
    select(
        _SESSIONS.c.expires_at,
        _SESSIONS.c.seen_at,
        _USERS.c.id,
        _USERS.c.username,
        _USERS.c.role,
        _USERS.c.language,
        _USERS.c.timezone,
        _USERS.c.layout,
        _USERS.c.password_is_initial,
    )
    .join_from(_SESSIONS, _USERS)
    .where(_SESSIONS.c.token_hash == bindparam("token_hash"))
)


def identify(rows: Connection, token: str, now: datetime) -> tuple[Identity | None, bool]:
    """Who holds the session token, and whether it is time to call `renew`."""
    for expires_at, seen_at, *holder in _HOLDER.run(rows, {"token_hash": digest(token)}):
        if expires_at > now:
            return Identity(*holder), now - seen_at > _SEEN_EVERY
    return None, False


def renew(session: Session, token: str, now: datetime, hours: int) -> None:
    session.execute(
        update(UserSession)
        .where(UserSession.token_hash == digest(token))
        .values(seen_at=now, expires_at=now + timedelta(hours=hours))
    )


def add_key(
    session: Session, label: str, scope: str, now: datetime, *, expires_at: datetime | None = None
) -> str:
    """Make an API key and return it: the only time it can be seen."""
    return new_key(session, label, scope, now, expires_at=expires_at)[1]


def new_key(
    session: Session,
    label: str,
    scope: str,
    now: datetime,
    *,
    expires_at: datetime | None = None,
    origin_id: int | None = None,
) -> tuple[ApiKey, str]:
    """As `add_key`, with the row. Raises AccountError."""
    if scope not in SCOPES:
        raise AccountError("scope: one of " + ", ".join(SCOPES))
    label = one_line(label)
    if not 1 <= len(label) <= 120:
        raise AccountError("label: 1 to 120 characters")
    key = "vk_" + secrets.token_urlsafe(24)
    row = ApiKey(
        label=label,
        scope=scope,
        key_hash=digest(key),
        hint=key[:8],
        created_at=now,
        expires_at=expires_at,
        origin_id=origin_id,
    )
    session.add(row)
    session.flush()
    return row, key


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as whoever checks it needs it."""

    id: int
    label: str
    scope: str
    key_hash: str
    used_at: datetime | None
    revoked_at: datetime | None
    expires_at: datetime | None
    origin_id: int | None


def is_valid(key: ApiKey | KnownKey, at: datetime) -> bool:
    """Whether the key opens anything at that time: neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or at < key.expires_at)


def find_key(rows: Connection, key: str, scope: str, now: datetime) -> KnownKey | None:
    """The valid key with this scope, or None."""
    return find_key_by_hash(rows, digest(key), scope, now)


def find_key_by_hash(rows: Connection, key_hash: str, scope: str, at: datetime) -> KnownKey | None:
    """As `find_key`, for a key that is known by its digest alone and came at that time."""
    found = next((KnownKey(*row) for row in _BY_HASH.run(rows, {"digest": key_hash})), None)
    return found if found and found.scope == scope and is_valid(found, at) else None
