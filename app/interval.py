"""The check interval: its nine values and the one file where it lives."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from app import clock, durable_file
from app.refusal import Refusal

FILE_NAME = "cron.json"
DISABLED = "disabled"
DEFAULT = "20min"
VEILLEUR = "veilleur"  # who changes the interval when a disabled time ends
LONGEST_DISABLED_DAYS = 366

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
    {"1min": 1, "5min": 5, "10min": 10, "15min": 15, "20min": 20, "30min": 30, "1hour": 60, "2hours": 120}
)

_LARGEST_FILE_BYTES = 64 * 1024
SKEW = timedelta(minutes=2)  # between the clocks of machines, or a clock and its correction
_QUIET_NANOSECONDS = 2_000_000_000
_YEARS_END = 9999  # in that one, another time zone can already be past the end of the calendar


class IntervalFileDamaged(Exception):
    """The file is there and does not hold an interval; nothing may be assumed in its place."""


class EndRefused(Refusal):
    """Monitoring can't be disabled until then; the text says why."""


@dataclass(frozen=True, slots=True)
class CronConfig:
    """The interval. A disabled time with an end keeps it, and the interval of afterwards, beside it."""

    interval: str
    updated_at: str | None = None
    updated_by: str | None = None
    disabled_until: datetime | None = None
    resume_interval: str | None = None

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
        allowed = timedelta(minutes=2 * MINUTES[self.interval] + 1)
        # What lies far ahead was written before the clock was set back, and would hide a silence for long.
        known = [each for each in (last_check_at, self.in_force_at) if each and each - now <= allowed]
        return not known or now - max(known) > allowed

    def in_force(self, now: datetime) -> CronConfig:
        """What holds at that moment: after the end of a disabled time, the interval from before it."""
        if self.enabled or self.disabled_until is None or now < self.disabled_until:
            return self
        return CronConfig(
            self.resume_interval or DEFAULT, clock.iso(self.disabled_until), VEILLEUR, self.disabled_until
        )

    @property
    def has_resumed(self) -> bool:
        """Whether this holds because a disabled time has ended, which the file does not say yet."""
        return self.enabled and self.disabled_until is not None

    @property
    def in_words(self) -> str:
        """For logs, the audit log and the command line."""
        if self.enabled or self.disabled_until is None:
            return self.interval
        return f"{self.interval} until {clock.iso(self.disabled_until)}"

    @property
    def cron_expression(self) -> str:
        return CRON_EXPRESSIONS[self.interval]


def is_interval(value: object) -> bool:
    return isinstance(value, str) and value in CRON_EXPRESSIONS


def read(path: Path) -> CronConfig:
    """What is in force now by the file; the default when there is none.

    Raises IntervalFileDamaged for content that is no interval and OSError when it can't be read.
    """
    return stored(path).in_force(clock.utcnow())


def stored(path: Path) -> CronConfig:
    """What the file says, whether or not it is over; errors as `read`."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return CronConfig(DEFAULT)
    return parsed(raw)


def parsed(raw: bytes) -> CronConfig:
    """Raises IntervalFileDamaged."""
    try:
        content = json.loads(raw[:_LARGEST_FILE_BYTES])
    except (ValueError, RecursionError):
        raise IntervalFileDamaged("it is not JSON") from None
    if not isinstance(content, dict) or not is_interval(content.get("interval")):
        raise IntervalFileDamaged(f"its interval is none of {', '.join(CRON_EXPRESSIONS)}")
    config = CronConfig(content["interval"], _optional(content, "updatedAt"), _optional(content, "updatedBy"))
    if config.enabled or content.get("disabledUntil") is None:
        return config
    return replace(config, disabled_until=_end(content["disabledUntil"]), resume_interval=_resumed(content))


def _optional(content: dict[str, object], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def _end(value: object) -> datetime:
    with contextlib.suppress(TypeError, ValueError):
        end_at = clock.from_iso(value)  # type: ignore[arg-type]  # what is no text is refused by it
        if end_at.year < _YEARS_END:
            return end_at
    raise IntervalFileDamaged("its disabledUntil is no time with a zone")


def _resumed(content: dict[str, object]) -> str:
    value = _optional(content, "resumeInterval")
    if value is None or value not in MINUTES:
        raise IntervalFileDamaged(f"its resumeInterval is none of {', '.join(MINUTES)}")
    return value


def checked_end(interval: str, end_at: datetime | None, now: datetime) -> datetime | None:
    """The end of a disabled time in whole seconds, as it is stored. Raises EndRefused."""
    if end_at is None:
        return None
    if interval != DISABLED:
        raise EndRefused("only %(interval)s can have an end", interval=DISABLED)
    end_at = end_at.replace(microsecond=0)
    if end_at <= now:
        raise EndRefused("this time is over already")
    if end_at - now > timedelta(days=LONGEST_DISABLED_DAYS):
        raise EndRefused("at most %(days)s days from now", days=LONGEST_DISABLED_DAYS)
    return end_at


def wanted(
    value: str, *, updated_by: str, now: datetime, disabled_until: datetime | None = None
) -> CronConfig:
    """For `replacing`. Raises ValueError for no interval and EndRefused for a wrong end of a disabled
    time."""
    if not is_interval(value):
        raise ValueError(f"{value!r} is no interval")
    return CronConfig(value, clock.iso(now), updated_by, checked_end(value, disabled_until, now))


def save(
    path: Path, interval: str, *, updated_by: str, now: datetime, disabled_until: datetime | None = None
) -> CronConfig:
    """Replace the file in one durable step and return what was in force before; errors as `wanted` and
    `replacing`."""
    new = wanted(interval, updated_by=updated_by, now=now, disabled_until=disabled_until)
    with replacing(path, [new]) as [before]:
        return before


@contextlib.contextmanager
def replacing(path: Path, changes: Sequence[CronConfig]) -> Iterator[list[CronConfig]]:
    """Several changes, one after the other, in one durable step around a block; it gets what was in force
    before each of them.

    The new file is on the disk before the block and takes the old one's place after it, unless that raises.
    What was before is read under the same lock, so that every change is told exactly once; a damaged file
    counts as the default. Raises OSError when it can't be written; then the old file is untouched.
    """
    with durable_file.exclusive(path):
        durable_file.remove_unfinished(path)
        last, before = stored_or_default(path), []
        for each in changes:
            before.append(last.in_force(each.in_force_at or clock.utcnow()))
            last = _following(before[-1], each)
        with durable_file.replacing(path, spelled(last)):
            yield before


def _following(before: CronConfig, change: CronConfig) -> CronConfig:
    resumed = before.interval if before.enabled else before.resume_interval or DEFAULT
    return replace(
        change,
        updated_at=_later(before.in_force_at, change.updated_at),
        resume_interval=resumed if change.disabled_until else None,
    )


def _later(last_at: datetime | None, updated_at: str | None) -> str | None:
    """The time of a change, always later than that of the one it replaces: what the cron service is told of
    that one may be on its way still, and must not come back as the newer."""
    at = clock.from_iso(updated_at) if updated_at else None
    if at is None or last_at is None or not at <= last_at <= at + SKEW:
        return updated_at
    return (last_at + timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")


def stored_or_default(path: Path) -> CronConfig:
    """As `stored`; a damaged file counts as the default."""
    try:
        return stored(path)
    except IntervalFileDamaged:
        return CronConfig(DEFAULT)


@contextlib.contextmanager
def resuming(path: Path, now: datetime) -> Iterator[tuple[CronConfig, CronConfig] | None]:
    """Write down that a disabled time has ended, around a block as `replacing` does; it gets what the file
    said and says then.

    None when it says so already: of several that notice the end, one writes. Errors as `read` and `save`.
    """
    with durable_file.exclusive(path):
        before = stored(path)
        after = before.in_force(now)
        if not after.has_resumed:
            yield None
            return
        with durable_file.replacing(path, spelled(after)):
            yield before, after


def spelled(config: CronConfig) -> bytes:
    """As the file holds it."""
    content = {"interval": config.interval, "updatedAt": config.updated_at, "updatedBy": config.updated_by}
    if not config.enabled and config.disabled_until is not None:
        content["disabledUntil"] = clock.iso(config.disabled_until)
        content["resumeInterval"] = config.resume_interval
    return (json.dumps(content) + "\n").encode()


class Reader:
    """Reads the file again when its identity, time or size has changed, or it has changed just now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cached: tuple[tuple[int, int, int] | None, CronConfig] | None = None

    def read(self) -> CronConfig:
        """As `read`; the same errors."""
        return self._stored().in_force(clock.utcnow())

    def _stored(self) -> CronConfig:
        stamp = self.stamp()
        cached = self._cached
        if cached is not None and cached[0] == stamp:
            return cached[1]
        config = stored(self.path)
        self._cached = (stamp, config) if self._is_quiet(stamp) else None
        return config

    def _is_quiet(self, stamp: tuple[int, int, int] | None) -> bool:
        # Two saves within one tick of the file system's clock can leave the same stamp.
        return stamp is None or time.time_ns() - stamp[1] > _QUIET_NANOSECONDS

    def stamp(self) -> tuple[int, int, int] | None:
        """What tells one version of the file from the next; None when there is no file."""
        # The time of the last change of any kind: mended permissions count as a new version.
        try:
            status = os.stat(self.path)  # noqa: PTH116  (Path.stat takes three times as long)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_ctime_ns, status.st_size
