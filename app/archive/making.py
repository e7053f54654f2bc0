"""Makes an archive while the installation is in use: complete under its name, or not there at all."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from sqlalchemy import make_url

from app import installation, interval, ownership
from app.archive import keeping, postgresql_copy, sealing, sqlite_copy
from app.archive.content import (
    DATABASE_FILES,
    MANIFEST,
    POSTGRESQL,
    SQLITE,
    Content,
    Entry,
    Manifest,
    entry_of,
    spelled,
)
from app.archive.problems import ArchiveBusy, ArchiveError, MayGoOn, always, go_on
from app.durable_file import sync_folder
from app.settings import Settings

FILES = (interval.FILE_NAME, installation.SECRETS_FILE)
_LOCK_FILE = "archive.lock"
_UNFINISHED = ".veilleur-archive-"


@dataclass(frozen=True, slots=True)
class Made:
    path: Path
    size_bytes: int
    content: Content


def database_kind(settings: Settings) -> str:
    return SQLITE if settings.database_url.startswith("sqlite") else POSTGRESQL


def sqlite_path(settings: Settings) -> Path:
    return Path(make_url(settings.database_url).database or "").resolve()


def create(
    settings: Settings,
    target: Path,
    *,
    passphrase: str | None,
    version: str,
    now: datetime,
    may_go_on: MayGoOn = always,
) -> Made:
    """Write an archive under a name that nothing has yet; needs room for the database twice.

    Raises ArchiveError with the reason, ArchiveBusy when another process makes one, OSError when
    the folder can't be written; then nothing is left behind.
    """
    _make_folder(target.parent, settings)
    if target.exists():
        raise ArchiveError(f"{target} is there already")
    with _only_one(settings.instance_path / _LOCK_FILE):
        for left in target.parent.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=target.parent) as work:
            return _create(settings, target, Path(work), passphrase, version, now, may_go_on)


def _create(
    settings: Settings,
    target: Path,
    work: Path,
    passphrase: str | None,
    version: str,
    now: datetime,
    may_go_on: MayGoOn,
) -> Made:
    kind = database_kind(settings)
    copy = work / DATABASE_FILES[kind]
    if kind == SQLITE:
        sqlite_copy.copy(sqlite_path(settings), copy, may_go_on)
        content = sqlite_copy.examine(copy, may_go_on)
    else:
        postgresql_copy.dump(settings.database_url, copy, may_go_on)
        content = postgresql_copy.examine(copy, may_go_on)
    files = [copy, *_copied_files(settings.instance_path, work)]
    manifest = Manifest(
        version, content.schema_revision, spelled(now), kind, tuple(entry_of(each) for each in files)
    )
    made = work / "archive"
    _write(made, manifest, work, passphrase, now, may_go_on)
    _publish(made, target)
    return Made(target, target.stat().st_size, content)


def _copied_files(folder: Path, work: Path) -> Iterator[Path]:
    for name in FILES:
        if (folder / name).exists():
            yield Path(shutil.copyfile(folder / name, work / name))


def _write(
    path: Path,
    manifest: Manifest,
    work: Path,
    passphrase: str | None,
    now: datetime,
    may_go_on: MayGoOn,
) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        with (
            sealing.sealed(file, passphrase) as stream,
            # Quick rather than small: the bodies in the database are compressed already.
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as tar,
        ):
            raw = manifest.as_json()
            _add(tar, Entry(MANIFEST, len(raw), ""), io.BytesIO(raw), now)
            for entry in manifest.files:
                with (work / entry.name).open("rb") as source:
                    _add(tar, entry, cast(BinaryIO, _Asking(source, may_go_on)), now)
        file.flush()
        os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, entry: Entry, source: BinaryIO, now: datetime) -> None:
    member = tarfile.TarInfo(entry.name)
    member.size, member.mode, member.mtime = entry.size_bytes, 0o600, int(now.timestamp())
    tar.addfile(member, source)


class _Asking(io.RawIOBase):
    """A file that is read in blocks, between which the reader may be told to stop."""

    def __init__(self, file: BinaryIO, may_go_on: MayGoOn) -> None:
        self._file = file
        self._may_go_on = may_go_on

    def read(self, size: int = -1) -> bytes:
        go_on(self._may_go_on)
        return self._file.read(size)


def _make_folder(folder: Path, settings: Settings) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = folder == keeping.folder_of(settings)  # wherever it is, the cron service writes there
        ownership.give_to_owner(folder, settings.instance_path if own else folder.parent)


def _publish(made: Path, target: Path) -> None:
    ownership.give_to_owner(made, target.parent)
    made.replace(target)
    sync_folder(target.parent)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with installation.lock_file(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveBusy("another process is making an archive just now") from None
        yield
