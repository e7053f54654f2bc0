"""Column types that the tables share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer

# SQLite hands out row numbers only for a column that is spelled INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")
