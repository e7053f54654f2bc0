"""What is asked of a database: every statement, whichever way it takes to the driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from app.db import Database
from app.prepared import Prepared


@contextmanager
def noted(database: Database) -> Iterator[list[str]]:
    """The statements of all threads, in the order in which they came."""
    found: list[str] = []
    run = Prepared.run

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found.append(statement)

    def note_and_run(self: Prepared, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        found.append(self._compile(connection.dialect).text)
        return run(self, connection, values)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Prepared, "run", note_and_run)
            yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
