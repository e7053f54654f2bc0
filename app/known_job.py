"""A job as reports move it: the part of its row that a run can change, read and written without the ORM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Self, cast

from sqlalchemy import Connection, Table, and_, bindparam, select, update

from app.models import Job, JobSchedule, Server
from app.prepared import Prepared

_JOBS = cast(Table, Job.__table__)
_SERVERS = cast(Table, Server.__table__)
_SCHEDULES = cast(Table, JobSchedule.__table__)

# Read, compared with what was read, and written where they differ.
# fmt: off
_MOVED = (
    "name", "state", "state_rank", "state_since_at", "expected_at", "until_at", "expected_source",
    "declared_next_at", "declared_gap_seconds", "attention_at", "reminder_at", "last_good_at",
    "last_began_at", "last_ended_at", "last_outcome", "last_run_good", "last_report_id", "stored_bytes",
    "examined_bytes", "told", "acknowledged_at", "acknowledged_until_at", "acknowledged_by", "downtime_id",
)
# fmt: on
_STATE_AT = _MOVED.index("state")
_READ = ("id", "server_id", *_MOVED, "tolerance_seconds", "reminder", "paused_at", "paused_until_at")
_SCHEDULE = ("source", "repeat", "days", "zone", "anchor_at")

# Built once: building a statement costs more than asking it.
_IS_IT = and_(_SERVERS.c.machine_id == bindparam("machine"), _JOBS.c.backup_id == bindparam("backup"))
_LOCK = Prepared(select(_JOBS.c.id).join_from(_JOBS, _SERVERS).where(_IS_IT).with_for_update(of=_JOBS))
_FIND = Prepared(
    select(
        *(_JOBS.c[name] for name in _READ),
        _SERVERS.c.name.label("server_name"),
        *(_SCHEDULES.c[name].label(f"schedule_{name}") for name in _SCHEDULE),
    )
    .join_from(_JOBS, _SERVERS, _JOBS.c.server_id == _SERVERS.c.id)
    .join(_SCHEDULES, _SCHEDULES.c.job_id == _JOBS.c.id, isouter=True)
    .where(_IS_IT)
)
_RENAME_SERVER = Prepared(update(_SERVERS).where(_SERVERS.c.id == bindparam("number")), ["name"])
_moved = attrgetter(*_MOVED)


@dataclass(frozen=True, slots=True)
class KnownSchedule:
    source: str
    repeat: str
    days: str
    zone: str
    anchor_at: datetime


@dataclass(slots=True)
class KnownJob:
    """Columns have the names they have in `Job`. `why` is not read; it is written when it is set."""

    id: int
    server_id: int
    name: str
    state: str
    state_rank: int
    state_since_at: datetime
    expected_at: datetime | None
    until_at: datetime | None
    expected_source: str | None
    declared_next_at: datetime | None
    declared_gap_seconds: int | None
    attention_at: datetime | None
    reminder_at: datetime | None
    last_good_at: datetime | None
    last_began_at: datetime | None
    last_ended_at: datetime | None
    last_outcome: str | None
    last_run_good: bool | None
    last_report_id: int | None
    stored_bytes: int | None
    examined_bytes: int | None
    told: str | None
    acknowledged_at: datetime | None
    acknowledged_until_at: datetime | None
    acknowledged_by: str | None
    downtime_id: int | None
    tolerance_seconds: int | None
    reminder: str | None
    paused_at: datetime | None
    paused_until_at: datetime | None
    server_name: str
    schedules: list[KnownSchedule] = field(default_factory=list)
    why: dict[str, Any] | None = None
    is_new: bool = False  # made for this very report: no total counts its state yet
    _before: tuple[object, ...] = ()
    _server_name_before: str = ""

    @classmethod
    def _of(cls, rows: Sequence[tuple[Any, ...]]) -> Self:
        """Of rows that differ in their schedule alone."""
        own = len(_READ) + 1
        made = cls(*rows[0][:own])
        made.schedules = [KnownSchedule(*row[own:]) for row in rows if row[own] is not None]
        made._before, made._server_name_before = _moved(made), made.server_name
        return made

    @property
    def state_before(self) -> str | None:
        """In which the totals have it: that of the row when it was read, none if it is new."""
        return None if self.is_new else str(self._before[_STATE_AT])

    def save(self, connection: Connection) -> None:
        """Write what has changed since it was read, if anything."""
        after = _moved(self)
        values = {name: new for name, old, new in zip(_MOVED, self._before, after, strict=True) if new != old}
        if self.why is not None:
            values["why"] = self.why
        if values:
            _save(tuple(values)).run(connection, {"number": self.id, **values})
        if self.server_name != self._server_name_before:
            _RENAME_SERVER.run(connection, {"number": self.server_id, "name": self.server_name})


def find(connection: Connection, machine_id: str, backup_id: str) -> KnownJob | None:
    """The job, locked until the transaction ends."""
    # Before it is read: where PostgreSQL waits for one row, it has read the others as they were before.
    if connection.dialect.name == "postgresql":
        _LOCK.run(connection, {"machine": machine_id, "backup": backup_id})
    rows = _FIND.run(connection, {"machine": machine_id, "backup": backup_id})
    return KnownJob._of(rows) if rows else None


@lru_cache(maxsize=256)
def _save(names: tuple[str, ...]) -> Prepared:
    # Only what has changed: SQLite writes every index that holds a column which is named.
    return Prepared(update(_JOBS).where(_JOBS.c.id == bindparam("number")), names)
