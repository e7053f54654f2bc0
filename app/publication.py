"""What strangers may see: the options of the status page, the jobs published on it, and their last days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    case,
    exists,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, joinedload

from app import stored_settings
from app.db import UtcDateTime
from app.models import STATE_RANKS, Job, Report, Server

PAGE_SIZE = 50
DAYS = 30
MOST_COUNTED = 10_000
FOUND_AT_ONCE = 20
LONGEST_NAME = 120
GOOD, BAD, NONE = "good", "bad", "none"

_WORST_FIRST = (Job.state_rank, Job.name, Job.id)
_PREFIX = "status_page_"
_NAMES = tuple(f"{_PREFIX}{each}" for each in ("enabled", "title", "introduction", "shows_servers"))
# Spelled out: with a bound value SQLite would not take the partial index.
_PUBLISHED: ColumnElement[bool] = literal_column("is_published")


@dataclass(frozen=True, slots=True)
class Options:
    """How the status page is set up; off until somebody switches it on."""

    enabled: bool = False
    title: str = ""
    introduction: str = ""
    shows_servers: bool = False


def options(session: Session) -> Options:
    found = stored_settings.values(session, _NAMES)
    return Options(
        enabled=found.get(f"{_PREFIX}enabled") == "1",
        title=found.get(f"{_PREFIX}title", ""),
        introduction=found.get(f"{_PREFIX}introduction", ""),
        shows_servers=found.get(f"{_PREFIX}shows_servers") == "1",
    )


def store(session: Session, chosen: Options, *, by: str, now: datetime) -> None:
    told = {
        "enabled": "1" if chosen.enabled else "0",
        "title": chosen.title,
        "introduction": chosen.introduction,
        "shows_servers": "1" if chosen.shows_servers else "0",
    }
    for name, value in told.items():
        stored_settings.store(session, f"{_PREFIX}{name}", value, by=by, now=now)


def public_name(job: Job) -> str:
    return job.public_name or job.name


def page(session: Session, after: int | None) -> list[Job]:
    """Published jobs, the worst first, one more than a page shows; after the job with this id.

    The place is named by the id alone: what a job is called inside is nobody's business outside.
    """
    query = select(Job).options(joinedload(Job.server)).where(_PUBLISHED)
    if after is not None:
        place = session.execute(select(*_WORST_FIRST).where(Job.id == after, Job.is_published)).first()
        if place is None:
            return []
        query = query.where(tuple_(*_WORST_FIRST) > tuple_(*place))
    return list(session.scalars(query.order_by(*_WORST_FIRST).limit(PAGE_SIZE + 1)))


def find(session: Session, job_id: int) -> Job | None:
    """A job that is published; None for any other."""
    return session.scalar(select(Job).where(Job.id == job_id, Job.is_published))


def counts(session: Session) -> dict[str, int]:
    """Published jobs by state, counted from the worst on up to MOST_COUNTED."""
    ranks = select(Job.state_rank).where(_PUBLISHED).order_by(*_WORST_FIRST).limit(MOST_COUNTED).subquery()
    found = session.execute(select(ranks.c.state_rank, func.count()).group_by(ranks.c.state_rank))
    by_rank = {row[0]: row[1] for row in found}
    return {state: by_rank.get(rank, 0) for state, rank in STATE_RANKS.items()}


def day_starts(now: datetime, zone: str) -> list[datetime]:
    """When each of the last days began, the oldest first, and when the last of them ends."""
    local = ZoneInfo(zone)
    today = now.astimezone(local).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -2, -1)]
    return [datetime(day.year, day.month, day.day, tzinfo=local) for day in days]


def strips(session: Session, job_ids: Sequence[int], starts: Sequence[datetime]) -> dict[int, list[str]]:
    """What each day brought to each of these jobs: a look at an index a day, however many runs there were."""
    if not job_ids:
        return {}
    days = union_all(
        *(
            select(
                literal(number, Integer).label("number"),
                literal(began_at, UtcDateTime).label("began_at"),
                literal(ended_at, UtcDateTime).label("ended_at"),
            )
            for number, (began_at, ended_at) in enumerate(pairwise(starts))
        )
    ).cte("day")
    run = and_(
        Report.job_id == Job.id,
        Report.ended_at >= days.c.began_at,
        Report.ended_at < days.c.ended_at,
        ~Report.dry_run,
    )
    came = case((exists().where(run, Report.good), 2), (exists().where(run), 1), else_=0)
    found = {number: [NONE] * (len(starts) - 1) for number in job_ids}
    query = select(Job.id, days.c.number, came).select_from(Job).join(days, literal(True))
    for job_id, number, what in session.execute(query.where(Job.id.in_(job_ids))):
        found[job_id][number] = (NONE, BAD, GOOD)[what]
    return found


def search(session: Session, words: str) -> list[Job]:
    """Jobs whose name, or whose server's name, begins so; a few of them, found by their indexes."""
    found: dict[int, Job] = {}
    jobs = select(Job).options(joinedload(Job.server))
    for start in _spellings(words):
        named = jobs.where(Job.name >= start).order_by(Job.name, Job.id).limit(FOUND_AT_ONCE)
        found |= {job.id: job for job in session.scalars(named) if _begins(job.name, words)}
        servers = select(Server).where(Server.name >= start).order_by(Server.name).limit(5)
        ids = [each.id for each in session.scalars(servers) if words and _begins(each.name, words)]
        if ids:
            theirs = jobs.where(Job.server_id.in_(ids)).order_by(Job.id).limit(FOUND_AT_ONCE)
            found |= {job.id: job for job in session.scalars(theirs)}
    return sorted(found.values(), key=lambda job: (job.name.casefold(), job.id))[:FOUND_AT_ONCE]


def _spellings(words: str) -> list[str]:
    """An index tells capitals from small letters; people who search do not."""
    return list(dict.fromkeys((words, words.lower(), words.capitalize(), words.upper())))


def _begins(name: str, words: str) -> bool:
    return name.casefold().startswith(words.casefold())


def publish(session: Session, job: Job, name: str | None) -> None:
    """Show a job to strangers under this name; without one, under its own."""
    job.is_published = True
    job.public_name = name or None
    session.flush()


def withdraw(session: Session, job: Job) -> None:
    job.is_published = False
    session.flush()
