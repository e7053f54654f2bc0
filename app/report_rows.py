"""Writes a report's rows without the ORM, and knows the one that is stored already."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, insert, select

from app.db import dialect_insert
from app.models import Report as ReportRow
from app.models import ReportBody
from app.prepared import Prepared
from app.reports import Report
from app.upload import Body, Sender

_SAME_WITHIN = timedelta(minutes=10)

# Columns that carry the same name in the parsed report and in the row.
# fmt: off
_COPIED = (
    "duration_seconds", "good",
    "outcome", "partial", "interrupted", "dry_run", "salvaged", "error", "duplicati_version",
    "next_scheduled_at", "warnings_count", "errors_count", "messages_count", "examined_files",
    "opened_files", "added_files", "modified_files", "deleted_files", "files_with_error",
    "examined_bytes", "opened_bytes", "added_bytes", "modified_bytes", "uploaded_bytes",
    "downloaded_bytes", "stored_bytes", "stored_files", "versions", "free_quota_bytes",
    "total_quota_bytes", "assigned_quota_bytes",
)
# fmt: on
_copied = attrgetter(*_COPIED)

_ROWS, _BODIES = cast(Table, ReportRow.__table__), cast(Table, ReportBody.__table__)
_INSERT_BODY = Prepared(insert(_BODIES), _BODIES.c.keys())
_SAME_LATELY = (
    select(_ROWS.c.id)
    .where(
        _ROWS.c.job_id == bindparam("job"),
        _ROWS.c.fingerprint > bindparam("above"),
        _ROWS.c.fingerprint < bindparam("below"),
        _ROWS.c.received_at > bindparam("after_at"),
        _ROWS.c.received_at < bindparam("before_at"),  # one that waited in the spool comes after later ones
    )
    .limit(1)
)


@functools.cache
def _insert_unless_same(dialect_name: str) -> Prepared:
    # The unique key tells what is there already: asking first would be one statement more for every report.
    return Prepared(
        dialect_insert(dialect_name)(_ROWS)
        .on_conflict_do_nothing(index_elements=[_ROWS.c.job_id, _ROWS.c.fingerprint])
        .returning(_ROWS.c.id),
        [each.name for each in _ROWS.c if each is not _ROWS.c.id],
    )


@dataclass(frozen=True, slots=True)
class Times:
    """When the run was, by its own word where that can be right, else by its arrival."""

    began_at: datetime
    ended_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is made of a report before its transaction begins: other writers need not wait for that."""

    row: dict[str, Any]
    body: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, report: Report, body: Body, sender: Sender, times: Times, now: datetime) -> Incoming:
        row = dict(zip(_COPIED, _copied(report), strict=True))
        row |= {"key_id": sender.key_id, "received_at": now}
        row |= {"began_at": times.began_at, "ended_at": times.ended_at, "time_source": times.source}
        kept = {
            "content_type": body.content_type[:100],
            "size_bytes": body.size_bytes,
            "compressed": body.compressed,
        }
        return cls(row, kept, report.fingerprint)


def add(connection: Connection, job_id: int, report: Report, incoming: Incoming, now: datetime) -> int | None:
    """Store the rows; the number of the report, or None when the same one is there already.

    A report that carries neither times nor log lines looks the same after every run: it counts as
    repeated for some minutes only.
    """
    fingerprint = incoming.fingerprint
    if not (report.has_own_time or report.log_lines):
        if _is_same_there_lately(connection, job_id, fingerprint, now):
            return None
        fingerprint = f"{fingerprint}@{now:%Y%m%d%H%M%S}"
    identity = {"job_id": job_id, "fingerprint": fingerprint}
    added = _insert_unless_same(connection.dialect.name).run(connection, incoming.row | identity)
    if not added:
        return None
    report_id: int = added[0][0]
    _INSERT_BODY.run(connection, {"report_id": report_id, **incoming.body})
    return report_id


def _is_same_there_lately(connection: Connection, job_id: int, fingerprint: str, now: datetime) -> bool:
    range_of_it = {"above": f"{fingerprint}@", "below": f"{fingerprint}A"}
    lately = {"after_at": now - _SAME_WITHIN, "before_at": now + _SAME_WITHIN}
    return connection.scalar(_SAME_LATELY, {"job": job_id, **range_of_it, **lately}) is not None
