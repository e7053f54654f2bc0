"""The folder of the scheduled archives: their names, which there are, and which have to go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.archive import sealing
from app.settings import Settings

_FOLDER = "backups"
_NAME = re.compile(r"veilleur-\d{8}T\d{6}Z\.tar\.gz(\.enc)?")


@dataclass(frozen=True, slots=True)
class Kept:
    path: Path
    size_bytes: int
    is_encrypted: bool


def folder_of(settings: Settings) -> Path:
    """Where archives go that are made without a name."""
    given = settings.backup_path
    return Path(given).resolve() if given else settings.instance_path / _FOLDER


def name_for(now: datetime, *, encrypted: bool) -> str:
    return f"veilleur-{now:%Y%m%dT%H%M%SZ}.tar.gz{'.enc' if encrypted else ''}"


def kept(folder: Path) -> list[Kept]:
    """The archives there, the newest first; files with other names are none of ours."""
    if not folder.exists():
        return []
    paths = sorted((each for each in folder.iterdir() if _NAME.fullmatch(each.name)), reverse=True)
    return [Kept(each, each.stat().st_size, sealing.is_encrypted(each)) for each in paths]


def remove_old(folder: Path, keep: int) -> int:
    """Delete all but the newest; returns how many."""
    old = kept(folder)[keep:]
    for each in old:
        each.path.unlink(missing_ok=True)
    return len(old)
