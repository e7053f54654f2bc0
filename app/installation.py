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

from app import accounts, ownership, schema
from app.archive import swap
from app.db import Database, reason
from app.models import ApiKey, User
from app.settings import SettingError, Settings

SECRETS_FILE = "secrets.json"
DATABASE_FILE = "veilleur.db"
LOCK_FILE = "installation.lock"
IN_USE_FILE = "in-use.lock"


class InstallationInUse(Exception):
    """A process works on the installation that can't do so together with this one."""


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
    with _usable(folder):
        make_folder(folder)
        with _one_at_a_time(folder):
            swap.finish(folder)  # a restore that was cut off
            is_new = not (folder / SECRETS_FILE).exists()
            complete = _with_secrets(settings)
            if not settings.database_url and not is_new:
                _tell_if_missing(folder / DATABASE_FILE)
            try:
                schema.upgrade(complete.database_url)
                if not settings.database_url:
                    ownership.give_to_owner(folder / DATABASE_FILE, folder)
                return complete, _first_start(complete, now)
            except DBAPIError as problem:
                if settings.database_url:
                    raise
                raise SettingError(
                    f"VEILLEUR_INSTANCE_PATH: {folder / DATABASE_FILE} can't be used ({reason(problem)}); "
                    "see that this user may write it, or put a backup back: flask backup restore"
                ) from None


def located(settings: Settings) -> Settings:
    """Settings that say where the database is, for what works without an installation; nothing is made."""
    url = settings.database_url or f"sqlite:///{settings.instance_path / DATABASE_FILE}"
    return replace(settings, database_url=url)


def occupy(folder: Path) -> None:
    """Mark the installation as in use until this process, and all it has forked, are gone.

    Any number may do so together. Raises InstallationInUse while an archive is restored into it.
    """
    with _usable(folder):
        make_folder(folder)
        # Never closed by intent: the lock ends with the process, however that ends.
        handle = ownership.open_lock(folder / IN_USE_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InstallationInUse(
            f"an archive is being restored into {folder}; start again when that is done"
        ) from None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep every other process out; raises InstallationInUse when there is one."""
    make_folder(folder)
    with lock_file(folder / IN_USE_FILE) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallationInUse(
                f"{folder} is in use; stop the web application, the cron service and other commands first"
            ) from None
        yield


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """A file to take locks on, which end with the block."""
    handle = ownership.open_lock(path)
    try:
        yield handle
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)  # a checkout brings it along, open to all


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise SettingError(
            f"VEILLEUR_INSTANCE_PATH: {problem.filename or folder} can't be used ({problem.strerror}); "
            "expected a folder and files this user may read and write"
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
    with lock_file(folder / LOCK_FILE) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _with_secrets(settings: Settings) -> Settings:
    stored = _stored_secrets(settings.instance_path / SECRETS_FILE)
    return replace(
        located(settings),
        secret_key=settings.secret_key or stored["secretKey"],
        cron_token=settings.cron_token or stored["cronToken"],
    )


def _stored_secrets(path: Path) -> dict[str, str]:
    if path.exists():
        return _read_secrets(path)
    made = {"secretKey": secrets.token_urlsafe(48), "cronToken": secrets.token_urlsafe(32)}
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(made, file)
        ownership.give_to_owner(file.fileno(), path.parent)
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
    admin = accounts.add_user(session, "admin", password, accounts.ADMINISTRATOR, now)
    admin.password_is_initial = not settings.admin_password
    key = ""
    if session.scalar(select(ApiKey.id).limit(1)) is None:
        key = accounts.add_key(session, "first upload key", accounts.UPLOAD, now)
    return FirstStart(None if settings.admin_password else password, key)
