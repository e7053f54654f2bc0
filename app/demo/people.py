"""Who may enter the made-up installation, with which keys, and what they have noted about jobs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, audit
from app.demo.decisions import ADDRESS, job_of
from app.demo.fleet import DAY, Client
from app.models import ApiKey, User
from app.upload import Sender

UPLOAD_ADDRESS = "192.0.2.40"
VIEWER = "claire"
_NOTES = {
    ("nas-attic", "Documents"): "Restored the folder “Contracts” from here in September: 14 minutes.\n"
    "The key of the destination is in the safe.",
    ("office-pc", "Accounting"): "The external disk is full. Tom brings a larger one on Thursday.",
}
_PUBLISHED = {("web-01", "Databases"): "Customer databases", ("nas-attic", "Documents"): None}


@dataclass(frozen=True, slots=True)
class Guest:
    """A user that can log in; nobody else knows the password."""

    username: str
    password: str


def add_viewer(session: Session, now: datetime) -> Guest | None:
    """The viewer; None when there is one of this name."""
    if session.scalar(select(User.id).where(User.username == VIEWER)) is not None:
        return None
    guest = Guest(VIEWER, secrets.token_urlsafe(12))
    user = accounts.add_user(session, guest.username, guest.password, accounts.VIEWER, now)
    user.language = "fr"
    audit.note(session, actor="admin", action="user added", target=VIEWER, now=now, address=ADDRESS)
    return guest


def add_keys(
    session: Session, clients: Sequence[Client], now: datetime, ends_at: datetime
) -> dict[str, Sender]:
    """Who carries the reports of each machine, by its name; "" stands for all others. Nobody has the keys."""
    unnamed = {each.machine.name for each in clients if not each.machine.is_named}
    senders = {}
    for name, label in {"": "all Duplicati clients", **{each: each for each in sorted(unnamed)}}.items():
        accounts.add_key(session, label, accounts.UPLOAD, now)
        senders[name] = Sender(_newest_key(session).id, label, UPLOAD_ADDRESS)
        audit.note(session, actor="admin", action="key added", target=label, now=now, address=ADDRESS)
    accounts.add_key(session, "Homepage dashboard", accounts.READ, min(now + 9 * DAY, ends_at))
    _newest_key(session).used_at = min(now + 30 * DAY, ends_at)
    accounts.add_key(session, "old NAS, sold", accounts.UPLOAD, now + timedelta(hours=1))
    _newest_key(session).revoked_at = min(now + 11 * DAY, ends_at)
    audit.note(
        session,
        actor="admin",
        action="key revoked",
        target="old NAS, sold",
        now=min(now + 11 * DAY, ends_at),
        address=ADDRESS,
    )
    return senders


def _newest_key(session: Session) -> ApiKey:
    return session.scalars(select(ApiKey).order_by(ApiKey.id.desc()).limit(1)).one()


def add_notes(session: Session, clients: Sequence[Client], now: datetime) -> None:
    """Notes on two jobs, and two that are on the public status page."""
    for client in clients:
        named = (client.machine.name, client.name)
        if (named in _NOTES or named in _PUBLISHED) and (job := job_of(session, client)):
            target = f"job {job.id}: {job.name} on {job.server.name}"
            if named in _NOTES:
                job.notes = _NOTES[named]
                audit.note(
                    session, actor="admin", action="notes changed", target=target, now=now, address=ADDRESS
                )
            if named in _PUBLISHED:
                job.is_published, job.public_name = True, _PUBLISHED[named]
                audit.note(
                    session, actor="admin", action="job published", target=target, now=now, address=ADDRESS
                )


def note_logins(session: Session, days: int, now: datetime) -> None:
    """Somebody came by most mornings, and once did not remember the password."""
    for back in range(min(days, 45), 0, -1):
        at = (now - back * DAY).replace(hour=7, minute=12 + back % 9, second=back)
        actor = "admin" if back % 3 else VIEWER
        if back % 7 > 1:
            audit.note(session, actor=actor, action="login", target="session", now=at, address=ADDRESS)
        if back == 5:
            before = at - timedelta(seconds=20)
            audit.note(
                session, actor="admin", action="login refused", target="session", now=before, address=ADDRESS
            )
