"""The check interval: its nine values and the one file where it lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from app import clock

FILE_NAME = "cron.json"
DISABLED = "disabled"
DEFAULT = "20min"

CRON_EXPRESSIONS = MappingProxyType(
    {
        DISABLED: "0 0 1 1 0",
        "1min": "*/1 * * * *",
        "5min": "*/5 * * * *",
        "10min": "*/10 * * * *",
        "15min": "*/15 * * * *",
        "20min": "*/20 * * * *",
        "30min": "*/30 * * * *",
        "1hour": "0 * * * *",
        "2hours": "0 */2 * * *",
    }
)

MINUTES = MappingProxyType(
    {
        "1min": 1,
        "5min": 5,
        "10min": 10,
        "15min": 15,
        "20min": 20,
        "30min": 30,
        "1hour": 60,
        "2hours": 120,
    }
)

_LARGEST_FILE_BYTES = 64 * 1024
_QUIET_NANOSECONDS = 2_000_000_000


class IntervalFileDamaged(Exception):
    """The file is there and does not hold an interval; nothing may be assumed in its place."""


@dataclass(frozen=True, slots=True)
class CronConfig:
    interval: str
    updated_at: str | None = None
    updated_by: str | None = None

    @property
    def enabled(self) -> bool:
        return self.interval != DISABLED

    @property
    def in_force_at(self) -> datetime | None:
        """Since when, if the file tells: until two intervals later no check can have been missed."""
        try:
            return clock.from_iso(self.updated_at) if self.updated_at else None
        except ValueError:
            return None

    def has_missed_checks(self, last_check_at: datetime, now: datetime) -> bool:
        """Whether no check has come for two intervals and a minute, counted from a change of the interval."""
        if not self.enabled:
            return False
        since_at = max(last_check_at, self.in_force_at or last_check_at)
        return now - since_at > timedelta(minutes=2 * MINUTES[self.interval] + 1)

    @property
    def cron_expression(self) -> str:
        return CRON_EXPRESSIONS[self.interval]


def is_interval(value: object) -> bool:
    return isinstance(value, str) and value in CRON_EXPRESSIONS


def read(path: Path) -> CronConfig:
    """What the file says; the default when there is none.

    Raises IntervalFileDamaged for content that is no interval and OSError when it can't be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return CronConfig(DEFAULT)
    return _parse(raw)


def _parse(raw: bytes) -> CronConfig:
    try:
        content = json.loads(raw[:_LARGEST_FILE_BYTES])
    except (ValueError, RecursionError):
        raise IntervalFileDamaged("it is not JSON") from None
    if not isinstance(content, dict) or not is_interval(content.get("interval")):
        raise IntervalFileDamaged(f"its interval is none of {', '.join(CRON_EXPRESSIONS)}")
    return CronConfig(content["interval"], _optional(content, "updatedAt"), _optional(content, "updatedBy"))


def _optional(content: dict[str, object], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def save(path: Path, interval: str, *, updated_by: str, now: datetime) -> CronConfig:
    """Replace the file in one durable step and return what it held before.

    The value before is read under the same lock, so that every change is told exactly once; a damaged
    file counts as the default. Raises ValueError for no interval and OSError when it can't be written;
    then the old file is untouched.
    """
    with replacing(path, interval, updated_by=updated_by, now=now) as before:
        return before


@contextlib.contextmanager
def replacing(path: Path, interval: str, *, updated_by: str, now: datetime) -> Iterator[CronConfig]:
    """As `save`, around a block: the new file is on the disk before it and takes the old one's place after
    it, unless the block raises."""
    if not is_interval(interval):
        raise ValueError(f"{interval!r} is no interval")
    text = json.dumps({"interval": interval, "updatedAt": clock.iso(now), "updatedBy": updated_by}) + "\n"
    with _exclusive(path):
        try:
            before = read(path)
        except IntervalFileDamaged:
            before = CronConfig(DEFAULT)
        with _replacing(path, text.encode()):
            yield before


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    # flock, not lockf: the latter does not keep threads of one process apart.
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _replacing(path: Path, content: bytes) -> Iterator[None]:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if os.geteuid() == 0:
                # Typed by root, the file still belongs to whoever runs the service.
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(file.fileno())
        yield
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Reader:
    """Reads the file again when its identity, time or size has changed, or it has changed just now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cached: tuple[tuple[int, int, int] | None, CronConfig] | None = None

    def read(self) -> CronConfig:
        """As `read`; the same errors."""
        stamp = self.stamp()
        cached = self._cached
        if cached is not None and cached[0] == stamp:
            return cached[1]
        config = read(self._path)
        self._cached = (stamp, config) if self._is_quiet(stamp) else None
        return config

    def _is_quiet(self, stamp: tuple[int, int, int] | None) -> bool:
        # Two saves within one tick of the file system's clock can leave the same stamp.
        return stamp is None or time.time_ns() - stamp[1] > _QUIET_NANOSECONDS

    def stamp(self) -> tuple[int, int, int] | None:
        """What tells one version of the file from the next; None when there is no file."""
        # The time of the last change of any kind: mended permissions count as a new version.
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_ctime_ns, status.st_size
