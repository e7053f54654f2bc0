"""Exchanges files of the installation for others: all of them, even when the process dies in the middle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app import ownership
from app.durable_file import sync_folder

JOURNAL = "restore.json"
_ASIDE, _PLACE = "aside", "place"


@dataclass(frozen=True, slots=True)
class Step:
    """`place` goes `aside`, if it is there; then `staged` goes to `place`, if there is one."""

    place: str
    aside: str
    staged: str | None


def begin(folder: Path, steps: Sequence[Step]) -> None:
    """Exchange them. From the first moment on there is no way back, only `finish`."""
    _write(folder / JOURNAL, _ASIDE, steps)
    finish(folder)


def finish(folder: Path) -> bool:
    """Complete an exchange that was cut off; False when there is none. May be cut off itself."""
    journal = folder / JOURNAL
    if not journal.exists():
        return False
    content = json.loads(journal.read_text())
    steps = [Step(**each) for each in content["steps"]]
    if content["phase"] == _ASIDE:
        for each in steps:
            if Path(each.place).exists():
                aside = Path(each.aside).parent
                aside.mkdir(mode=0o700, exist_ok=True)
                ownership.give_to_owner(aside, aside.parent)
                _move(each.place, each.aside)
        _write(journal, _PLACE, steps)
    for each in steps:
        if each.staged and Path(each.staged).exists():
            _move(each.staged, each.place)
    journal.unlink()
    sync_folder(folder)
    for each in steps:
        if each.staged:
            shutil.rmtree(Path(each.staged).parent, ignore_errors=True)
    return True


def _write(journal: Path, phase: str, steps: Sequence[Step]) -> None:
    temporary = journal.with_suffix(".new")
    with temporary.open("w") as file:
        json.dump({"phase": phase, "steps": [asdict(each) for each in steps]}, file)
        ownership.give_to_owner(file.fileno(), journal.parent)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(journal)
    sync_folder(journal.parent)


def _move(source: str, target: str) -> None:
    Path(source).replace(target)
    sync_folder(Path(source).parent)
    sync_folder(Path(target).parent)
