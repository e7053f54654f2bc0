"""The words that were put in place of our own, by kind of message and language."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Alert, Job, MessageTemplate, Server
from app.notify.templates import Wording, Wordings

# So many of the newest alerts are looked through for examples.
_LOOKED_THROUGH = 500
EXAMPLES = 20
_ALL = select(
    MessageTemplate.kind, MessageTemplate.language, MessageTemplate.title, MessageTemplate.body
)  # built once, since messages go out all the time


def all_wordings(database: Database) -> Wordings:
    """All of them at once, which is a handful: read once for many messages."""
    with database.reading() as session:
        rows = session.connection().execute(_ALL)
        return {(each.kind, each.language): Wording(each.title, each.body) for each in rows}


def store(session: Session, kind: str, language: str, wording: Wording, who: str, now: datetime) -> None:
    row = session.get(MessageTemplate, (kind, language))
    if row is None:
        row = MessageTemplate(kind=kind, language=language)
        session.add(row)
    row.title, row.body = wording.title, wording.body
    row.updated_at, row.updated_by = now, who


def examples(session: Session, kind: str) -> list[tuple[Alert, str, str]]:
    """The newest alert of this kind of some jobs, with the names of the job and its server."""
    newest = select(Alert.id).order_by(Alert.id.desc()).limit(_LOOKED_THROUGH)
    query = (
        select(Alert, Job.name, Server.name)
        .join(Job, Job.id == Alert.job_id)
        .join(Server, Server.id == Job.server_id)
        .where(Alert.id.in_(newest), Alert.kind == kind)
        .order_by(Alert.id.desc())
    )
    found: dict[int | None, tuple[Alert, str, str]] = {}
    for alert, job, server in session.execute(query):
        found.setdefault(alert.job_id, (alert, job, server))
        if len(found) == EXAMPLES:
            break
    return list(found.values())
