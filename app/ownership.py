"""Who owns what is made in a folder: typed by root, a command must leave nothing the services can't use."""

from __future__ import annotations

import os
from pathlib import Path

_LOCK_MODE = 0o644


def give_to_owner(file: Path | int, folder: Path) -> None:
    """Made by root, a file or an open one still belongs to whoever runs the services: the folder's owner."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(file, int))


def open_lock(path: Path) -> int:
    """A file to take locks on, made when it is missing; also one that somebody else made."""
    try:
        handle = _open(path, os.O_RDWR)  # NFS gives an exclusive lock to nobody who may only read
    except OSError:  # not ours to write, or on a read-only disk
        handle = _open(path, os.O_RDONLY)
    status = os.fstat(handle)
    # Of several names, another may be a file that is none of ours.
    if status.st_uid == 0 and status.st_nlink == 1:
        give_to_owner(handle, path.parent)
    return handle


def _open(path: Path, how: int) -> int:
    # The owner of the folder must not have root follow a link of his.
    return os.open(path, how | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _LOCK_MODE)
