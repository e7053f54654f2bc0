"""The interval between machines that share no folder: what one tells the others, and what it follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from app import durable_file, interval
from app.interval import CronConfig, IntervalFileDamaged

_LONGEST_NAME = 80


def received(raw: bytes) -> CronConfig:
    """What another machine says its file holds; IntervalFileDamaged when that is not what a file holds."""
    config = interval.parsed(raw)
    if config.in_force_at is None:
        raise IntervalFileDamaged("its updatedAt is no time with a zone")
    return replace(config, updated_by=(config.updated_by or "")[:_LONGEST_NAME] or None)


def content(path: Path) -> bytes:
    """What the file holds, for `received` on another machine; errors as `interval.read`."""
    return interval.spelled(interval.stored(path))


def to_pass_on(path: Path, now: datetime) -> bytes | None:
    """As `content`, for machines that may know something newer.

    None for what does not tell when it was saved, or tells a time ahead: it would win over all that is saved
    until then.
    """
    own = interval.stored(path)
    saved_at = own.in_force_at
    return interval.spelled(own) if saved_at is not None and saved_at <= now + interval.SKEW else None


def take_over(path: Path, told: CronConfig, now: datetime) -> CronConfig | None:
    """Replace the file by what was saved on another machine, unless it is newer itself; what it said before.

    None when it stays: as a file that both machines share does. Raises OSError as `interval.save`.
    """
    if interval.stored_or_default(path) == told:
        return None
    with durable_file.exclusive(path):
        durable_file.remove_unfinished(path)
        own = interval.stored_or_default(path)
        if own == told or _is_newer(own, told, now):
            return None
        with durable_file.replacing(path, interval.spelled(told)):
            pass
    return own


def says(path: Path, told: CronConfig) -> bool:
    """Whether the file holds just that; errors as `interval.read`, but for a damaged one."""
    return interval.stored_or_default(path) == told


def _is_newer(own: CronConfig, told: CronConfig, now: datetime) -> bool:
    own_at, told_at = own.in_force_at, told.in_force_at
    # What lies ahead was written before the clock was set back, and would win for long.
    return own_at is not None and told_at is not None and told_at < own_at <= now + interval.SKEW
