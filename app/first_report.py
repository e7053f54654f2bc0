"""Whether a report has come with a key since somebody began to wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, defer, joinedload

from app.models import ApiKey, Job, QuarantinedBody, Report


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came last: a report of a job, or only a body that could not be read; neither while none came."""

    report: Report | None = None
    unreadable: QuarantinedBody | None = None


def look(session: Session, key: ApiKey, since_at: datetime) -> Arrival:
    """At most two queries, each by an index over what has come since."""
    report = _report(session, key, since_at)
    return Arrival(report) if report else Arrival(unreadable=_unreadable(session, key, since_at))


def _report(session: Session, key: ApiKey, since_at: datetime) -> Report | None:
    query = (
        select(Report)
        .where(Report.received_at >= since_at, Report.key_id == key.id)
        .options(joinedload(Report.job).joinedload(Job.server))
        .order_by(Report.received_at.desc(), Report.id.desc())
        .limit(1)
    )
    return session.scalar(query)


def _unreadable(session: Session, key: ApiKey, since_at: datetime) -> QuarantinedBody | None:
    query = (
        select(QuarantinedBody)
        .where(QuarantinedBody.received_at >= since_at, QuarantinedBody.key_label == key.label)
        .options(defer(QuarantinedBody.compressed))
        .order_by(QuarantinedBody.received_at.desc())
        .limit(1)
    )
    return session.scalar(query)
