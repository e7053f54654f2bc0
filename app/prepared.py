"""Statements for what happens often: compiled once for each kind of database, then straight to its driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

Statement = Select[*tuple[Any, ...]] | Insert | Update | Delete
_Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """For one kind of database: the text, what is known of its values beforehand, and how others are made."""

    text: str
    order: tuple[str, ...] | None  # None where values go by name
    known: dict[str, Any]
    to_driver: dict[str, _Convert]
    from_driver: tuple[tuple[int, _Convert], ...]


class Prepared:
    """SQLAlchemy's own way costs some ten times what SQLite needs for the work itself: of an upload it was
    the half. Nothing but the driver sees such a statement, so no event of SQLAlchemy tells of it."""

    def __init__(self, statement: Statement, columns: Sequence[str] = ()) -> None:
        """`columns` are those an INSERT or UPDATE gets values for; no default of Python fills others."""
        self._statement = statement
        self._columns = list(columns)
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows that come of it, in the transaction of the connection if that has begun one."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name) or self._compile(dialect)
        given = {**compiled.known, **values}
        for name, convert in compiled.to_driver.items():
            given[name] = convert(given[name])
        in_order = given if compiled.order is None else [given[name] for name in compiled.order]
        try:
            cursor = connection.connection.driver_connection.execute(compiled.text, in_order)  # type: ignore[union-attr]
            rows = cursor.fetchall() if cursor.description else []
        except dialect.loaded_dbapi.Error as problem:
            # It becomes what it would be of any other statement: wrapped, and looked at by who listens.
            connection._handle_dbapi_exception(problem, compiled.text, None, None, None)
        return [_converted(row, compiled.from_driver) for row in rows]

    def _compile(self, dialect: Dialect) -> _Compiled:
        statement = self._statement
        made = statement.compile(dialect=dialect, column_keys=self._columns or None)
        order = getattr(made, "positiontup", None)
        returned = statement.selected_columns if isinstance(statement, Select) else statement.exported_columns
        from_driver = ((place, _result(each.type, dialect)) for place, each in enumerate(returned))
        to_driver = ((name, _bind(bound.type, dialect)) for name, bound in made.binds.items())
        compiled = _Compiled(
            text=str(made),
            order=tuple(order) if order is not None else None,
            known={name: value for name, value in made.params.items() if value is not None},
            to_driver={name: convert for name, convert in to_driver if convert},
            from_driver=tuple((place, convert) for place, convert in from_driver if convert),
        )
        self._compiled[dialect.name] = compiled
        return compiled


def _bind(of: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return of.dialect_impl(dialect).bind_processor(dialect)


def _result(of: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return of.dialect_impl(dialect).result_processor(dialect, None)


def _converted(row: tuple[Any, ...], converts: tuple[tuple[int, _Convert], ...]) -> tuple[Any, ...]:
    if not converts:
        return row
    made = list(row)
    for place, convert in converts:
        made[place] = convert(made[place])
    return tuple(made)
