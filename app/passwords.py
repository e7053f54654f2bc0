"""Checks a password that somebody typed, slows whoever guesses, and puts another in its place."""

from __future__ import annotations

import math
import time
from datetime import datetime

from flask_babel import gettext as _
from sqlalchemy.orm import Session

from app import access, accounts, audit, clock, throttle, trace
from app.db import database
from app.models import User
from app.throttle import Kind

_SLOWED_SECONDS = 0.2
_SLOWEST_SECONDS = 1.0


class PasswordRefused(Exception):
    """Wrong name or password, or too many of them; never tells whether the user exists."""

    def __init__(self, retry_after_seconds: int | None = None) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds

    @property
    def message(self) -> str:
        if self.retry_after_seconds:
            minutes = math.ceil(self.retry_after_seconds / 60)
            return str(_("Too many wrong passwords. Try again in %(minutes)s minutes.", minutes=minutes))
        return str(_("User name or password is wrong."))


def check(
    username: str, password: str, now: datetime, *, refused: str = "login refused", actor: str = "-"
) -> User:
    """The user whose password it is. Raises PasswordRefused, after a pause that grows with each guess.

    `refused` is what the audit log calls a wrong one, `actor` who typed it.
    """
    username, password = _storable(username), _storable(password)
    with database().reading() as rows:
        seconds = _seconds_to_wait(rows, username, now)
        user = None if seconds else accounts.verify(rows, username, password)
    if seconds:
        raise PasswordRefused(seconds)
    if user is None:
        _slow_down(username, now, refused, actor)
        raise PasswordRefused
    return user


def change(username: str, password: str, *, is_initial: bool = False) -> None:
    """Set it and end every session of the user. Whoever sets their own goes on in a new one: the cookie of
    before may be in two hands. Raises AccountError."""
    now, token = clock.utcnow(), None
    with database().writing() as rows:
        accounts.set_password(rows, username, password, is_initial=is_initial)
        trace.note(rows, "password changed", username)
        if username == access.actor():
            user, hours = accounts.find_user(rows, username), access.settings().session_hours
            token = accounts.open_session(rows, user, address=access.address(), now=now, hours=hours)
    if token:
        access.log_in(token)


def _seconds_to_wait(rows: Session, username: str, now: datetime) -> int:
    locked_at = accounts.locked_until(rows, username, now)
    if locked_at:
        return math.ceil((locked_at - now).total_seconds())
    return throttle.seconds_to_wait(rows, Kind.PASSWORD, access.address(), now)


def _storable(text: str) -> str:
    """The text without what JSON can spell but no database or hash takes: NUL and halves of characters."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def _slow_down(username: str, now: datetime, action: str, actor: str) -> None:
    with database().writing() as rows:
        in_a_row = accounts.note_failure(rows, username, now)
        throttle.note_failure(rows, Kind.PASSWORD, access.address(), now)
        audit.note(rows, actor=actor, action=action, target=username, now=now, address=access.address())
    time.sleep(min(_SLOWED_SECONDS * in_a_row, _SLOWEST_SECONDS))
