"""Column types and indexes that the tables share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, text

# SQLite hands out row numbers only for a column that is spelled INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


def partial_index(name: str, *columns: str, where: str) -> Index:
    """An index of some of the rows. The migrations make it, and tell PostgreSQL the same: to tell it here
    would load its dialect into every process."""
    return Index(name, *columns, sqlite_where=text(where))
