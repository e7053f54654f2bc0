"""Rows on their way from one database to the other: how they are named, cleaned, compared and counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, LargeBinary, Table

Row = dict[str, Any]
Key = tuple[Any, ...]

_DIGEST_BYTES = 16


def key_of(table: Table, row: Mapping[str, Any]) -> Key:
    return tuple(row[each.name] for each in table.primary_key)


def name_of(table: Table, row: Mapping[str, Any]) -> str:
    """How a row is called in messages: its table and what its key says."""
    told = ", ".join(f"{each.name} {row[each.name]!r}" for each in table.primary_key)
    return f"{table.name}, row with {told}"


def own_references(table: Table) -> list[str]:
    """Columns that name other rows of the same table, which may come later than the row itself."""
    return [
        each.parent.name for each in table.foreign_keys if each.column.table is table and each.parent.nullable
    ]


def integer_key(table: Table) -> Column[int] | None:
    """The key by whose order both databases agree; None for keys of text, which have an order of their own
    in each database, and for those of several columns."""
    columns = list(table.primary_key)
    is_integer = len(columns) == 1 and columns[0].type.python_type is int
    return columns[0] if is_integer else None


def holds_bodies(table: Table) -> bool:
    return any(isinstance(each.type, LargeBinary) for each in table.columns)


def cleaned(row: Row) -> list[str]:
    """Take NUL characters, which PostgreSQL stores in no text, out of a row, as every upload does; from
    which columns."""
    found = [name for name, value in row.items() if isinstance(value, str) and "\0" in value]
    for name in found:
        row[name] = row[name].replace("\0", "")
    return found


def size_of(row: Row) -> int:
    """About how much memory its long values take."""
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))


def difference(wanted: Row, found: Mapping[str, Any], *, may_lack: list[str]) -> str | None:
    """The first column in which two rows are not the same."""
    for name, value in wanted.items():
        if found[name] != value and not (name in may_lack and found[name] is None):
            return name
    return None


@dataclass(slots=True)
class Digest:
    """Count and checksum of a table, whatever the order in which its rows come."""

    count: int = 0
    _sum: int = 0

    def take(self, row: Mapping[str, Any]) -> None:
        text = json.dumps(list(row.values()), default=_spelled, sort_keys=True)
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES])
        self.count += 1
        self._sum = (self._sum + number) % (1 << 8 * _DIGEST_BYTES)

    @property
    def text(self) -> str:
        return f"{self._sum:0{2 * _DIGEST_BYTES}x}"


def _spelled(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"no column holds a {type(value).__name__}")
