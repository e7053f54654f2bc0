"""Many rows in one statement, where each has its price: on PostgreSQL, of messages and of planning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import cast as sql_cast

from app.db import Base

NUMBER = "number"  # names the row that is changed

Rows = Sequence[Mapping[str, Any]]


class Changes:
    """Of rows that are told by their `number`; all in the same columns."""

    def __init__(self, model: type[Base], columns: Sequence[str]) -> None:
        table = cast(Table, model.__table__)
        self._singly = update(table).where(table.c.id == bindparam(NUMBER))
        given = _given(table, columns)
        # Named twice: of a document PostgreSQL can't tell how many rows it has, and may read the whole table.
        numbers = bindparam("numbers", type_=ARRAY(BigInteger))
        is_told = and_(table.c.id == any_(numbers), table.c.id == given.pop(NUMBER))
        self._together = update(table).where(is_told).values(given)

    def run(self, connection: Connection, rows: Rows) -> None:
        if connection.dialect.name == "sqlite":
            connection.execute(self._singly, list(rows))
        else:
            numbers = [each[NUMBER] for each in rows]
            connection.execute(self._together, {"numbers": numbers, "document": _document(rows)})


class Additions:
    """Of rows with the same columns, in their order; what is `returned` of them comes in any order."""

    def __init__(self, model: type[Base], columns: Sequence[str], returned: Sequence[str] = ()) -> None:
        table = cast(Table, model.__table__)
        back = [table.c[name] for name in returned]
        given = [each for name, each in _given(table, columns).items() if name != NUMBER]
        singly, together = insert(table), insert(table).from_select(list(columns), select(*given))
        self._singly = singly.returning(*back) if back else singly
        self._together = together.returning(*back) if back else together

    def run(self, connection: Connection, rows: Rows) -> Sequence[Row[*tuple[Any, ...]]]:
        if connection.dialect.name == "sqlite":
            done = connection.execute(self._singly, list(rows))
        else:
            done = connection.execute(self._together, {"document": _document(rows)})
        return done.all() if done.returns_rows else ()


def _given(table: Table, columns: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """The rows as columns of a table of their own. They come as one document: that takes the driver a
    fraction of the time of thousands of values, or of arrays."""
    types = {NUMBER: table.c.id.type} | {name: table.c[name].type for name in columns}
    # JSON within it comes as text, and so is as free in what it holds as in its column.
    plain = [column(name, Text() if isinstance(each, JSON) else each) for name, each in types.items()]
    document = sql_cast(bindparam("document", type_=Text), JSON)
    rows = func.json_to_recordset(document).table_valued(*plain).render_derived(with_types=True)
    return {
        name: sql_cast(rows.c[name], JSON) if isinstance(each, JSON) else rows.c[name]
        for name, each in types.items()
    }


def _document(rows: Rows) -> str:
    return json.dumps([{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.isoformat()
    return json.dumps(value) if isinstance(value, dict) else value
