"""Looks through the audit log, the newest entries first, a bounded part of it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import AuditEntry

PAGE_SIZE = 50
# Entries one look may read, however few of them fit: most filters have no index, and the log may be long.
READ_LIMIT = 20_000
_EXPORTED_AT_ONCE = 1000
_KNOWN_FROM = 2000
# Numbers follow the clock but for steps of the clock and transactions side by side.
_OUT_OF_ORDER = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; empty means everything. `until_at` is the first moment no longer meant."""

    actor: str = ""
    action: str = ""
    target: str = ""
    from_at: datetime | None = None
    until_at: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        if self.actor:
            yield AuditEntry.actor == self.actor
        if self.action:
            yield AuditEntry.action == self.action
        if self.target:
            yield AuditEntry.target.icontains(self.target, autoescape=True)
        if self.from_at is not None:
            yield AuditEntry.happened_at >= self.from_at
        if self.until_at is not None:
            yield AuditEntry.happened_at < self.until_at


@dataclass(frozen=True, slots=True)
class Found:
    """A part of the answer. `following` is where the next part begins; None when this was the last."""

    entries: list[AuditEntry]
    following: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """Who did what among the newest entries: what a filter offers."""

    actors: list[str]
    actions: list[str]


def look(session: Session, wanted: Filter, before: int | None = None, size: int = PAGE_SIZE) -> Found:
    """Entries with a number below `before`; even where none is found there may be a next part."""
    lowest, highest = _ends(session, wanted)
    start = highest + 1 if before is None else min(before, highest + 1)
    floor = max(lowest, start - READ_LIMIT)
    query = (
        select(AuditEntry)
        .where(AuditEntry.id < start, AuditEntry.id >= floor, *wanted.conditions())
        .order_by(AuditEntry.id.desc())
        .limit(size + 1)
    )
    entries = list(session.scalars(query))
    if len(entries) > size:
        return Found(entries[:size], entries[size - 1].id)
    return Found(entries, floor if floor > lowest else None)


def _ends(session: Session, wanted: Filter) -> tuple[int, int]:
    """The lowest and the highest number that may fit, found by the indexes alone."""
    lowest = session.scalar(select(func.min(AuditEntry.id))) or 0
    highest = session.scalar(select(func.max(AuditEntry.id))) or 0
    when = AuditEntry.happened_at
    if wanted.from_at is not None:
        first = session.scalar(select(AuditEntry.id).where(when >= wanted.from_at).order_by(when).limit(1))
        lowest = highest + 1 if first is None else max(lowest, first - _OUT_OF_ORDER)
    if wanted.until_at is not None:
        earlier = select(AuditEntry.id).where(when < wanted.until_at).order_by(when.desc()).limit(1)
        last = session.scalar(earlier)
        highest = lowest - 1 if last is None else min(highest, last + _OUT_OF_ORDER)
    return lowest, highest


def every(database: Database, wanted: Filter) -> Iterator[AuditEntry]:
    """All that fits, read in parts, so that no transaction stays open while somebody downloads slowly."""
    before: int | None = None
    while True:
        with database.reading() as rows:
            found = look(rows, wanted, before, _EXPORTED_AT_ONCE)
        yield from found.entries
        if found.following is None:
            return
        before = found.following


def known(session: Session) -> Known:
    newest = select(AuditEntry.actor, AuditEntry.action).order_by(AuditEntry.id.desc()).limit(_KNOWN_FROM)
    recent = newest.subquery()
    pairs = session.execute(select(recent.c.actor, recent.c.action).distinct()).all()
    return Known(sorted({each[0] for each in pairs}), sorted({each[1] for each in pairs}))
