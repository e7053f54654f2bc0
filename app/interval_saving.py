"""Saves the interval: its file, its trace and word to the cron services, which saves at one time share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import current_app

from app import audit, clock, interval, service_health
from app.cron_client import Answer, CronServiceUnavailable
from app.db import database
from app.interval import CronConfig
from app.together import Group, Together

EXTENSION = "interval_saves"
_MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Save:
    """What is wanted, by whom, and where he called from."""

    change: CronConfig
    address: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What was in force before, and what the cron service answered, if it did."""

    before: CronConfig
    answer: Answer | CronServiceUnavailable


Saves = Together[Save]


def saves() -> Saves:
    """For the application to keep: one for all threads of a process."""
    return Together(_MOST_TOGETHER)


def path() -> Path:
    reader: interval.Reader = current_app.extensions["interval"]
    return reader.path


def save(change: CronConfig, address: str = "") -> Saved:
    """Write what `interval.wanted` has made, with its trace in the audit log, and have the services obey it.

    Raises OSError and SQLAlchemyError; then nothing has changed.
    """
    together: Saves = current_app.extensions[EXTENSION]
    saved: Saved = together.run(Save(change, address), _save)
    return saved


def _save(group: Group[Save]) -> None:
    before = _write([each.work for each in group])
    answer: Answer | CronServiceUnavailable
    try:
        answer = service_health.tell_interval(path())
    except CronServiceUnavailable as problem:
        answer = problem
    for each, replaced in zip(group, before, strict=True):
        each.value = Saved(replaced, answer)


def _write(together: Sequence[Save]) -> list[CronConfig]:
    """Each change leaves a trace of its own, also one that the next of them replaces at once."""
    changes = [each.change for each in together]
    with interval.replacing(path(), changes) as before, database().changing() as rows:
        now = clock.utcnow()
        for each, replaced in zip(together, before, strict=True):
            audit.write(
                rows,
                actor=each.change.updated_by or "-",
                action="interval changed",
                target="check interval",
                before=replaced.in_words,
                after=each.change.in_words,
                now=now,
                address=each.address,
            )
    return before
