"""Signs of life of the part that takes reports in, and the times in which there were none."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from app import deadline, overdue
from app.alerts import UNVERIFIED, News, record
from app.db import Database, insert_if_absent
from app.models import Downtime, Heartbeat, Job, Server

WEB = "web"
BEAT_SECONDS = 30
# Shorter than this is a restart, in which clients are not left alone for long.
GAP = timedelta(seconds=90)
MEMBERS_TOLD = 100
_OLDEST_FIRST = 200
_MOMENT = timedelta(seconds=1)


def beat(database: Database, now: datetime, silent_seconds: float | None = None) -> None:
    """Say that reports can be taken in, at most every `BEAT_SECONDS`; a silence before it is recorded.

    `silent_seconds` tells for how long at most this very process has not been there, whatever the database
    knows of it: reports could be taken in while no sign of life could be written, or the clock was set.
    """
    beat_at = last_beat_at(database)
    if beat_at is not None and timedelta() <= now - beat_at < timedelta(seconds=BEAT_SECONDS / 2):
        return
    with database.writing() as session:
        if insert_if_absent(session, Heartbeat, name=WEB, beat_at=now):
            return
        beat_at = session.scalar(select(Heartbeat.beat_at).where(Heartbeat.name == WEB).with_for_update())
        if beat_at is not None and silent_seconds is not None:
            beat_at = max(beat_at, now - timedelta(seconds=silent_seconds))
        if beat_at is not None and now - beat_at > GAP:
            _close(session, beat_at, now)
        else:
            _take_back(session)
        session.execute(update(Heartbeat).where(Heartbeat.name == WEB).values(beat_at=now))


def last_beat_at(database: Database) -> datetime | None:
    with database.reading() as session:
        return _beat_at(session)


def _beat_at(session: Session) -> datetime | None:
    return session.scalar(select(Heartbeat.beat_at).where(Heartbeat.name == WEB))


def _close(session: Session, began_at: datetime, now: datetime) -> None:
    insert_if_absent(session, Downtime, began_at=began_at)
    session.execute(update(Downtime).where(Downtime.ended_at.is_(None)).values(ended_at=now))


def _take_back(session: Session) -> None:
    """A check thought that nobody was there to take reports in."""
    session.execute(update(Downtime).where(Downtime.ended_at.is_(None)).values(ended_at=Downtime.began_at))


def has_work(silent_since_at: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether there may be something to `notice` or to `tell`; the moment is `GAP` ago."""
    is_silent = exists().where(Heartbeat.name == WEB, Heartbeat.beat_at < silent_since_at)
    return or_(is_silent, exists().where(Downtime.told_at.is_(None)))


def notice(database: Database, now: datetime) -> None:
    """Record that reports can't be taken in at present, once the silence is long enough to mean that; and
    have the check look at all that one which has just ended may concern: the digest tells of them."""
    is_over = (Downtime.told_at.is_(None), Downtime.ended_at.is_not(None))
    with database.reading() as session:
        beat_at = _beat_at(session)
        is_silent = beat_at is not None and now - beat_at > GAP
        is_known = is_silent and session.scalar(select(Downtime.id).where(Downtime.began_at == beat_at))
        ended_at = session.scalar(select(func.max(Downtime.ended_at)).where(*is_over))
    if is_silent and not is_known:
        with database.writing() as session:
            insert_if_absent(session, Downtime, began_at=beat_at)
    if ended_at is not None:
        with database.writing() as session:
            _look_at_waiting(session, ended_at, now)


def _look_at_waiting(session: Session, ended_at: datetime, now: datetime) -> None:
    """Those that were due before it ended, though their deadline may still be ahead."""
    # Spelled out: with a bound value SQLite would not take the partial index.
    not_ok: ColumnElement[bool] = literal_column("state <> 'ok'")
    waiting = and_(not_ok, Job.state.in_(("late", "failed")), Job.expected_at < ended_at)
    session.execute(
        update(Job).where(waiting, Job.attention_at >= now).values(attention_at=now - _MOMENT),
        execution_options={"synchronize_session": False},
    )


def since(session: Session, moment: datetime, now: datetime) -> list[deadline.Downtime]:
    """The downtimes that reach beyond `moment`, the newest ones if they are very many."""
    rows = session.scalars(
        select(Downtime)
        .where(or_(Downtime.ended_at.is_(None), Downtime.ended_at > moment), Downtime.began_at < now)
        .order_by(Downtime.id.desc())
        .limit(_OLDEST_FIRST)
    )
    return [
        deadline.Downtime(row.id, deadline.Span(row.began_at, row.ended_at or now), row.ended_at is None)
        for row in rows
    ]


def tell(database: Database, now: datetime) -> int:
    """After a pass: one digest for each downtime that has left jobs unverified; how many were recorded."""
    untold = select(Downtime).where(Downtime.told_at.is_(None)).order_by(Downtime.id)
    with database.reading() as session:
        if session.scalar(untold.limit(1)) is None:
            return 0
    told = 0
    with database.writing() as session:
        for row in session.scalars(untold.with_for_update(skip_locked=True)).all():
            affected = session.scalar(select(func.count()).where(Job.downtime_id == row.id)) or 0
            if affected:
                told += record(session, [News(None, UNVERIFIED, _digest(session, row, affected))], now)
            if affected or row.ended_at is not None:
                row.told_at = now
    return told


def _digest(session: Session, row: Downtime, affected: int) -> dict[str, object]:
    members = session.execute(
        select(Job.id, Job.name, Server.name.label("server"), Job.expected_at)
        .join(Server)
        .where(Job.downtime_id == row.id)
        .order_by(Server.name, Job.name)
        .limit(MEMBERS_TOLD)
    )
    return {
        **overdue.downtime_facts(row.began_at, row.ended_at),
        "count": affected,
        "members": [overdue.member_facts(*each) for each in members],
    }
