"""First start: the instance folder, its secrets, the schema, the first user and the first upload key."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import accounts, schema
from app.db import Database, reason
from app.models import ApiKey, User
from app.settings import SettingError, Settings

SECRETS_FILE = "secrets.json"
DATABASE_FILE = "veilleur.db"
LOCK_FILE = "installation.lock"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What is told exactly once. `password` is None when the environment gave it."""

    password: str | None
    upload_key: str


def prepare(settings: Settings, now: datetime) -> tuple[Settings, FirstStart | None]:
    """Make everything a process needs and return the completed settings.

    Safe to call from several processes at once and cheap when there is nothing to do. FirstStart is given
    to the one caller that made the first user. Raises SettingError when the folder can't be used.
    """
    folder = settings.instance_path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)  # a checkout brings it along, open to all
        with _one_at_a_time(folder):
            is_new = not (folder / SECRETS_FILE).exists()
            complete = _with_secrets(settings)
            if not settings.database_url and not is_new:
                _tell_if_missing(folder / DATABASE_FILE)
            schema.upgrade(complete.database_url)
            return complete, _first_start(complete, now)
    except OSError as problem:
        raise SettingError(
            f"VEILLEUR_INSTANCE_PATH: {problem.filename or folder} can't be used ({problem.strerror}); "
            "expected a folder and files this user may read and write"
        ) from None
    except DBAPIError as problem:
        if settings.database_url:
            raise
        raise SettingError(
            f"VEILLEUR_INSTANCE_PATH: {folder / DATABASE_FILE} can't be used ({reason(problem)}); "
            "see that this user may write it, or put a backup back: flask backup restore"
        ) from None


def _tell_if_missing(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        log.warning(
            "%s is missing although this is no first start: an empty one is made. "
            "If that is not meant, stop and put a backup back: flask backup restore",
            path,
        )


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    with (folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _with_secrets(settings: Settings) -> Settings:
    stored = _stored_secrets(settings.instance_path / SECRETS_FILE)
    return replace(
        settings,
        secret_key=settings.secret_key or stored["secretKey"],
        cron_token=settings.cron_token or stored["cronToken"],
        database_url=settings.database_url or f"sqlite:///{settings.instance_path / DATABASE_FILE}",
    )


def _stored_secrets(path: Path) -> dict[str, str]:
    if path.exists():
        return _read_secrets(path)
    made = {"secretKey": secrets.token_urlsafe(48), "cronToken": secrets.token_urlsafe(32)}
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(made, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return made


def _read_secrets(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text())
        return {name: str(content[name]) for name in ("secretKey", "cronToken")}
    except (ValueError, KeyError, TypeError):
        raise SettingError(
            f"VEILLEUR_INSTANCE_PATH: {path} is damaged; restore it, "
            "or delete it to get new secrets, which logs everybody out"
        ) from None


def _first_start(settings: Settings, now: datetime) -> FirstStart | None:
    database = Database(settings.database_url)
    try:
        with database.reading() as session:
            if session.scalar(select(User.id).limit(1)) is not None:
                return None
        with database.writing() as session:
            return _make_first_access(session, settings, now)
    finally:
        database.dispose()


def _make_first_access(session: Session, settings: Settings, now: datetime) -> FirstStart | None:
    if session.scalar(select(User.id).limit(1)) is not None:
        return None
    password = settings.admin_password or secrets.token_urlsafe(12)
    accounts.add_user(session, "admin", password, accounts.ADMINISTRATOR, now)
    key = ""
    if session.scalar(select(ApiKey.id).limit(1)) is None:
        key = accounts.add_key(session, "first upload key", accounts.UPLOAD, now)
    return FirstStart(None if settings.admin_password else password, key)
