"""The name of this cron service, and a locked file by which others on the machine see that it lives."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import IO

from sqlalchemy.exc import SQLAlchemyError

from app import clock, lease
from app.db import Database

logger = logging.getLogger(__name__)

_LONGEST_HOST = 60
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Holder:
    """The lock ends with the process, however it ends: what an unlocked file names is dead for certain.

    Where no file can be written, nothing but time tells others that this service is gone.
    """

    def __init__(self, folder: Path) -> None:
        unique = f"{os.getpid()}:{secrets.token_hex(4)}"
        self._host = socket.gethostname()[:_LONGEST_HOST]
        self.name = f"{self._host}:{unique}"
        self._folder = folder
        self._path = folder / f"cron-{unique.replace(':', '-')}.lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> Holder:
        temporary = self._path.with_suffix(".new")
        try:
            self._file = temporary.open("w")
            self._file.write(f"{self.name}\n{_boot_id()}")
            self._file.flush()
            # Locked before it has its name: nobody ever sees the file of a living service unlocked.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.replace(self._path)
        except OSError as problem:
            logger.warning("%s can't be written (%s); a crash is noticed later", self._path, problem.strerror)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._file.close()

    def dead(self) -> dict[Path, str]:
        """Files of services of this folder that have ended without a word, and their names."""
        found = {}
        for path in self._folder.glob("cron-*.lock"):
            with contextlib.suppress(OSError), path.open(errors="replace") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                name, _line, boot_id = file.read().partition("\n")
                # On a network disk, another machine's lock may not be seen here.
                if boot_id == _boot_id() or name.startswith(f"{self._host}:"):
                    found[path] = name
        return found


def bury_dead(survivor: Holder, database: Database) -> None:
    """Take over at once what services of this machine held that were killed."""
    for path, name in survivor.dead().items():
        try:
            with database.writing() as session:
                lease.free(session, name, clock.utcnow())
            path.unlink(missing_ok=True)
        except (OSError, SQLAlchemyError) as problem:
            logger.error("what %s left behind can't be taken over yet: %s", name, problem)
        else:
            logger.info("took over from %s, which was killed", name)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
