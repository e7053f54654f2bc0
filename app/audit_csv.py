"""The audit log as CSV after RFC 4180, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from app import clock
from app.models import AuditEntry

# Without it Excel takes UTF-8 for the encoding of the machine; others read past it.
_BYTE_ORDER_MARK = "\ufeff"
_COLUMNS = ("number", "happened_at", "actor", "action", "target", "before", "after", "address")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LINES_AT_ONCE = 200


def lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """The file in parts of many lines each."""
    buffer = io.StringIO()
    buffer.write(_BYTE_ORDER_MARK)
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for number, entry in enumerate(entries, 1):
        writer.writerow(_row(entry))
        if number % _LINES_AT_ONCE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _row(entry: AuditEntry) -> list[str]:
    told = (entry.actor, entry.action, entry.target, entry.before, entry.after, entry.address)
    return [str(entry.id), clock.iso(entry.happened_at) or "", *(defused(each or "") for each in told)]


def defused(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet could take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
