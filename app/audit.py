"""Who did what, when, from where."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict, Unpack, cast

from sqlalchemy import Connection, Table, insert
from sqlalchemy.orm import Session

from app.models import AuditEntry
from app.prepared import Prepared

_TABLE = cast(Table, AuditEntry.__table__)
_INSERT = Prepared(insert(_TABLE), [each.name for each in _TABLE.c if each.name != "id"])


class Facts(TypedDict):
    """Of one entry. They must hold no secrets: `before` and `after` are shown to every administrator."""

    actor: str
    action: str
    target: str
    now: datetime
    before: NotRequired[str | None]
    after: NotRequired[str | None]
    address: NotRequired[str]


def note(session: Session, **facts: Unpack[Facts]) -> AuditEntry:
    """Write one entry in the caller's transaction; an action and its trace are kept or lost together."""
    entry = AuditEntry(**_columns(facts))
    session.add(entry)
    return entry


def write(connection: Connection, **facts: Unpack[Facts]) -> None:
    """As `note`, without the ORM."""
    _INSERT.run(connection, _columns(facts))


def _columns(facts: Facts) -> dict[str, Any]:
    return {
        "happened_at": facts["now"],
        "actor": facts["actor"][:80],
        "action": facts["action"],
        "target": facts["target"][:200],
        "before": facts.get("before"),
        "after": facts.get("after"),
        "address": facts.get("address", "")[:64],
    }
