"""What is in an archive: the manifest, and the numbers that a database is known by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.archive.problems import ArchiveDamaged

FORMAT = 1
MANIFEST = "manifest.json"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
DATABASE_FILES = {SQLITE: "veilleur.db", POSTGRESQL: "veilleur.dump"}


def spelled(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds. `newest_report_at` is ISO 8601, None without any report."""

    schema_revision: str
    jobs: int
    reports: int
    newest_report_at: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Written first into every archive; `files` names all the others."""

    version: str
    schema_revision: str
    created_at: str
    database: str
    files: tuple[Entry, ...]
    format: int = FORMAT

    @property
    def database_file(self) -> str:
        return DATABASE_FILES[self.database]

    def as_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def read_manifest(raw: bytes) -> Manifest:
    """Raises ArchiveDamaged for anything that `Manifest.as_json` did not write."""
    try:
        content: dict[str, Any] = json.loads(raw)
        if content["format"] != FORMAT:
            raise ArchiveDamaged(
                f"its format is {content['format']}, unknown to this version; use a newer one"
            )
        files = tuple(
            Entry(str(each["name"]), int(each["size_bytes"]), str(each["sha256"]))
            for each in content["files"]
        )
        manifest = Manifest(
            str(content["version"]),
            str(content["schema_revision"]),
            str(content["created_at"]),
            str(content["database"]),
            files,
        )
    except (ValueError, KeyError, TypeError):
        raise ArchiveDamaged("its manifest can't be read") from None
    if manifest.database not in DATABASE_FILES or manifest.database_file not in {each.name for each in files}:
        raise ArchiveDamaged("its manifest names no database")
    return manifest


def entry_of(path: Path) -> Entry:
    """Name, size and checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(path.name, path.stat().st_size, digest)
