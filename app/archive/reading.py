"""Opens an archive, checks all that is in it, and lays its files into a folder."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from app import schema
from app.archive import postgresql_copy, sealing, sqlite_copy
from app.archive.content import MANIFEST, SQLITE, Content, Entry, Manifest, read_manifest
from app.archive.problems import ArchiveDamaged, ArchiveError, MayGoOn, always, go_on

_BLOCK = 1 << 20
_LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Proved:
    """An archive that would restore: what its manifest says, and what is really in its database."""

    manifest: Manifest
    content: Content


def verify(path: Path, passphrase: str | None) -> Proved:
    """Check the whole archive in a temporary folder; raises ArchiveError with the reason."""
    with tempfile.TemporaryDirectory(prefix="veilleur-verify-") as folder:
        return unpack(path, passphrase, Path(folder))


def unpack(path: Path, passphrase: str | None, folder: Path, may_go_on: MayGoOn = always) -> Proved:
    """Lay the files of an archive into an empty folder and check each, the database through and through."""
    try:
        manifest = _extract(path, passphrase, folder, may_go_on)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error):
        raise ArchiveDamaged("its content can't be read") from None
    database = folder / manifest.database_file
    if manifest.database == SQLITE:
        content = sqlite_copy.examine(database, may_go_on)
    else:
        content = postgresql_copy.examine(database, may_go_on)
    if not schema.is_known(content.schema_revision):
        raise ArchiveError(
            f"it has schema {content.schema_revision} (of Veilleur {manifest.version}), "
            "unknown to this version; use a newer one"
        )
    return Proved(manifest, content)


def _extract(path: Path, passphrase: str | None, folder: Path, may_go_on: MayGoOn) -> Manifest:
    with (
        sealing.opened(path, passphrase, may_go_on) as stream,
        gzip.GzipFile(fileobj=stream, mode="rb") as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        manifest = _manifest(tar)
        for entry in manifest.files:
            _extract_file(tar, entry, folder, may_go_on)
    return manifest


def _manifest(tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    file = tar.extractfile(member) if member and member.name == MANIFEST else None
    if file is None:
        raise ArchiveDamaged("it has no manifest")
    return read_manifest(file.read(_LARGEST_MANIFEST))


def _extract_file(tar: tarfile.TarFile, entry: Entry, folder: Path, may_go_on: MayGoOn) -> None:
    member = tar.next()
    file = tar.extractfile(member) if member and member.name == entry.name else None
    # No name may lead out of the folder.
    if file is None or Path(entry.name).name != entry.name:
        raise ArchiveDamaged(f"{entry.name} is missing")
    digest, size_bytes = hashlib.sha256(), 0
    handle = os.open(folder / entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        while block := file.read(_BLOCK):
            go_on(may_go_on)
            target.write(block)
            digest.update(block)
            size_bytes += len(block)
        target.flush()
        os.fsync(target.fileno())
    if (size_bytes, digest.hexdigest()) != (entry.size_bytes, entry.sha256):
        raise ArchiveDamaged(f"{entry.name} is not what the manifest says")
