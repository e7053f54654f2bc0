"""Puts an archive in the place of the installation: wholly or not at all, with what was there kept aside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Executable, delete, insert, update
from sqlalchemy.exc import SQLAlchemyError

from app import installation, ownership, schema
from app.archive import making, postgresql_copy, reading, sqlite_copy, swap
from app.archive.content import POSTGRESQL, SQLITE, Content, Manifest
from app.archive.problems import ArchiveError
from app.archive.swap import Step
from app.db import Database
from app.models import Alert, AuditEntry, Delivery, Lease, UserSession
from app.outbox import GIVEN_UP
from app.settings import Settings

_FIRST_SCHEMA = "0001"  # knew neither leases nor alerts that wait for their deliveries
_STAGED = ".veilleur-restoring-"
_SQLITE_COMPANIONS = ("-wal", "-shm", "-journal")
_KIND_NAMES = {SQLITE: "SQLite", POSTGRESQL: "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class Restored:
    """Where what was there before is now: a folder, and on PostgreSQL a schema."""

    aside: Path | None
    aside_schema: str | None


@dataclass(frozen=True, slots=True)
class Restore:
    """An archive that is proved and laid ready; nothing of the installation is touched before `carry_out`."""

    settings: Settings
    manifest: Manifest
    archived: Content
    current: Content | None
    staged: Path
    actor: str
    now: datetime

    @property
    def overwrites(self) -> list[str]:
        """What is there now and would go aside."""
        there = [name for name in making.FILES if (self.settings.instance_path / name).exists()]
        if self.manifest.database == SQLITE:
            path = making.sqlite_path(self.settings)
            return [*([path.name] if path.exists() else []), *there]
        return [*(["the tables in PostgreSQL"] if self.current else []), *there]

    def carry_out(self) -> Restored:
        """Exchange the installation for the archive; on ArchiveError everything is as it was before."""
        if self.manifest.database == SQLITE:
            return self._with_sqlite()
        return self._with_postgresql()

    def _with_sqlite(self) -> Restored:
        copy = self.staged / self.manifest.database_file
        _settle(copy, self._corrections())
        path = making.sqlite_path(self.settings)
        # A rename must not leave the file system.
        stage = Path(tempfile.mkdtemp(prefix=_STAGED, dir=path.parent))
        try:
            shutil.move(copy, stage / path.name)
            steps = [_step(path, stage / path.name, self.now)]
            steps += [_step(Path(f"{path}{each}"), None, self.now) for each in _SQLITE_COMPANIONS]
            return Restored(self._exchange(steps), None)
        except OSError:
            if not (self.settings.instance_path / swap.JOURNAL).exists():
                shutil.rmtree(stage, ignore_errors=True)
            raise

    def _with_postgresql(self) -> Restored:
        url, aside = self.settings.database_url, f"veilleur_before_{self.now:%Y%m%dt%H%M%Sz}"
        moved = postgresql_copy.bring_back(
            url, self.staged / self.manifest.database_file, aside, self._corrections()
        )
        try:
            schema.upgrade(url)
            return Restored(self._exchange([]), aside if moved else None)
        except (SQLAlchemyError, schema.MigrationFailed, OSError) as problem:
            if (self.settings.instance_path / swap.JOURNAL).exists():
                raise
            postgresql_copy.put_back(url, aside)
            raise ArchiveError(f"the schema can't be brought up to date ({problem})") from None

    def _exchange(self, steps: Sequence[Step]) -> Path | None:
        folder = self.settings.instance_path
        steps = [*steps, *(self._file_step(name) for name in making.FILES)]
        asides = [Path(each.aside).parent for each in steps if Path(each.place).exists()]
        for each in steps:
            if each.staged:
                # The folder around it too: a restore that is cut off is completed by the services.
                for staged in (Path(each.staged), Path(each.staged).parent):
                    ownership.give_to_owner(staged, Path(each.place).parent)
        swap.begin(folder, steps)
        return asides[0] if asides else None

    def _file_step(self, name: str) -> Step:
        staged = self.staged / name
        return _step(self.settings.instance_path / name, staged if staged.exists() else None, self.now)

    def _corrections(self) -> list[Executable]:
        """What of the past must not come alive again, and the trace of it."""
        told = f"Not sent: Veilleur was restored from an archive of {self.manifest.created_at}."
        found: list[Executable] = []
        if self.archived.schema_revision != _FIRST_SCHEMA:
            found += [
                update(Alert).where(Alert.routed_at.is_(None)).values(routed_at=self.now),
                delete(Lease),
            ]
        # Valid for every schema there ever was: an older one is upgraded only afterwards.
        return [
            *found,
            delete(UserSession),
            update(Delivery)
            .where(Delivery.next_attempt_at.is_not(None))
            .values(status=GIVEN_UP, next_attempt_at=None, finished_at=self.now, detail=told),
            insert(AuditEntry).values(
                happened_at=self.now,
                actor=self.actor,
                action="archive restored",
                target=f"archive of {self.manifest.created_at}",
                before=self.current and f"{self.current.jobs} jobs, {self.current.reports} reports",
                after=f"{self.archived.jobs} jobs, {self.archived.reports} reports",
                address="",
            ),
        ]


@contextmanager
def prepared(
    settings: Settings, path: Path, passphrase: str | None, *, actor: str, now: datetime
) -> Iterator[Restore]:
    """Lay an archive ready to be restored, with every other process kept out.

    Raises InstallationInUse, or ArchiveError with what is wrong with the archive.
    """
    folder = settings.instance_path
    with installation.alone(folder):
        swap.finish(folder)  # one that was cut off comes first, or its files would get mixed with ours
        for left in folder.glob(f"{_STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=folder))
        try:
            proved = reading.unpack(path, passphrase, staged)
            _demand_kind(settings, proved.manifest)
            current = _current(settings)
            yield Restore(settings, proved.manifest, proved.content, current, staged, actor, now)
        finally:
            if not (folder / swap.JOURNAL).exists():
                shutil.rmtree(staged, ignore_errors=True)


def _demand_kind(settings: Settings, manifest: Manifest) -> None:
    kind = making.database_kind(settings)
    if manifest.database != kind:
        raise ArchiveError(
            f"it holds a {_KIND_NAMES[manifest.database]} database, "
            f"but VEILLEUR_DATABASE_URL names {_KIND_NAMES[kind]}"
        )
    if kind == POSTGRESQL and (others := postgresql_copy.others_connected(settings.database_url)):
        raise ArchiveError(f"the database is in use: {others} other connections; end them first")


def _current(settings: Settings) -> Content | None:
    if making.database_kind(settings) == POSTGRESQL:
        return postgresql_copy.look(settings.database_url)
    path = making.sqlite_path(settings)
    return sqlite_copy.look(path) if path.exists() else None


def _step(place: Path, staged: Path | None, now: datetime) -> Step:
    aside = place.parent / f"before-restore-{now:%Y%m%dT%H%M%SZ}"
    return Step(str(place), str(aside / place.name), str(staged) if staged else None)


def _settle(copy: Path, corrections: Sequence[Executable]) -> None:
    """Correct and upgrade a copy, and leave it as one file that is safely on disk."""
    url = f"sqlite:///{copy}"
    database = Database(url)
    try:
        with database.writing() as rows:
            for each in corrections:
                rows.execute(each)
    finally:
        database.dispose()
    try:
        schema.upgrade(url)
    except (SQLAlchemyError, schema.MigrationFailed) as problem:
        raise ArchiveError(f"its schema can't be brought up to date ({problem})") from None
    sqlite_copy.finish(copy)
