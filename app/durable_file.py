"""A small file that several processes replace: one at a time, whole, and kept through a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app import ownership


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait until nobody else replaces the file, and keep all others from it."""
    # flock, not lockf: the latter does not keep threads of one process apart.
    lock = ownership.open_lock(path.with_suffix(".lock"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_unfinished(path: Path) -> None:
    """What writers that were killed have left behind; nobody else may write meanwhile."""
    for name in os.listdir(path.parent):  # noqa: PTH208  (Path.glob takes several times as long)
        if name.startswith(f".{path.name}."):
            (path.parent / name).unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path, content: bytes) -> Iterator[None]:
    """The new file is on the disk before the block and takes the old one's place after it, unless that
    raises."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with contextlib.ExitStack() as unless_replaced:
        unless_replaced.callback(Path(temporary).unlink, missing_ok=True)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            ownership.give_to_owner(file.fileno(), path.parent)
            file.flush()
            os.fsync(file.fileno())
        yield
        Path(temporary).replace(path)
        unless_replaced.pop_all()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """So that the names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
