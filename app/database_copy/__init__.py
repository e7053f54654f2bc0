"""Moves an SQLite installation to PostgreSQL: every row copied once, read back, compared and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Table

from app.database_copy.problems import CopyError
from app.database_copy.rows import Digest, Row, difference, key_of, name_of, own_references
from app.database_copy.source import Source, tables
from app.database_copy.target import State, Target

# Called with how many rows more are done.
Told = Callable[[int], None]

_AT_FAULT = "Either the source or the target was changed since; copy again into a new, empty database"


@dataclass(slots=True)
class Copied:
    """What came of it: for each table the digest of the source, and of how many rows were new."""

    digests: dict[str, Digest] = field(default_factory=dict)
    new_count: int = 0
    cleaned: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(each.count for each in self.digests.values())


def row_count(source: Source) -> int:
    return sum(source.count(each) for each in tables())


def copy(source: Source, target: Target, told: Told) -> Copied:
    """Bring over what is not there yet, and compare every row with what the target then says it holds.

    Raises CopyError; whatever was copied until then stays, for the next try.
    """
    copied = Copied()
    for table in tables():
        copied.digests[table.name] = _copy_table(source, target, table, copied, told)
    source.demand_unchanged()
    return copied


def verify(target: Target, copied: Copied, told: Told) -> None:
    """Read the whole target once more: number of rows and digest of every table must be the source's."""
    for table in tables():
        wanted, found = copied.digests[table.name], Digest()
        for row in target.each(table):
            found.take(row)
            told(1)
        if found != wanted:
            raise CopyError(
                f"the target holds something else in {table.name}: {found.count} rows, digest {found.text}, "
                f"where the source has {wanted.count} rows, digest {wanted.text}. {_AT_FAULT}"
            )


def _copy_table(source: Source, target: Target, table: Table, copied: Copied, told: Told) -> Digest:
    digest, has_rows = Digest(), target.has_rows(table)
    links = own_references(table)
    for batch in source.batches(table, copied.cleaned):
        for row in batch:
            digest.take(row)
        copied.new_count += _copy_batch(target, table, batch, has_rows, links)
        told(len(batch))
    if links and target.state is not State.COMPLETE:
        for batch in source.batches(table, []):
            _link(target, table, links, batch)
    return digest


def _copy_batch(
    target: Target, table: Table, batch: Sequence[Row], has_rows: bool, links: Sequence[str]
) -> int:
    found = target.stored(table, batch) if has_rows else {}
    missing = [row for row in batch if key_of(table, row) not in found]
    if not missing:
        _compare(target, table, batch, found, links)
        return 0
    if target.state is State.COMPLETE:
        raise CopyError(
            f"the target holds something else: it lacks {name_of(table, missing[0])}. {_AT_FAULT}"
        )
    # Rows that are named here may come later; their names follow once they are there.
    target.add(table, [{**row, **dict.fromkeys(links)} for row in missing])
    _compare(target, table, batch, target.stored(table, batch), links)
    return len(missing)


def _compare(
    target: Target,
    table: Table,
    batch: Sequence[Row],
    found: dict[tuple[object, ...], Row],
    links: Sequence[str],
) -> None:
    may_lack = [] if target.state is State.COMPLETE else list(links)
    for row in batch:
        there = found.pop(key_of(table, row), None)
        if there is None:
            raise CopyError(f"the target lacks {name_of(table, row)}, which was just copied. {_AT_FAULT}")
        if column := difference(row, there, may_lack=may_lack):
            raise CopyError(
                f"the target holds something else in {name_of(table, row)}: its {column} is not the "
                f"source's. {_AT_FAULT}"
            )
    for row in found.values():
        raise CopyError(
            f"the target holds something else: {name_of(table, row)}, which the source has not. {_AT_FAULT}"
        )


def _link(target: Target, table: Table, links: Sequence[str], batch: Sequence[Row]) -> None:
    linked = [row for row in batch if any(row[name] is not None for name in links)]
    if linked:
        target.refer(table, links, linked)
        found = target.stored(table, batch)
        _compare(target, table, batch, found, [])
