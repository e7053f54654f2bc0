"""The last runs of some jobs, read in one query whose work is bounded however many reports are stored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Select, bindparam, literal, select, union_all
from sqlalchemy.orm import Session

from app.models import Report

RUNS_SHOWN = 14
# SQLite takes 500 parts in one statement; the fewer shapes there are, the more often a plan is used again.
_JOBS_AT_ONCE = 60


@dataclass(frozen=True, slots=True)
class Run:
    """What a mark in a strip needs to know of a run."""

    ended_at: datetime
    outcome: str
    good: bool
    partial: bool
    interrupted: bool
    dry_run: bool
    stored_bytes: int | None
    examined_bytes: int | None


def last_runs(session: Session, job_ids: Sequence[int]) -> dict[int, list[Run]]:
    """The newest runs of each job, the oldest of them first."""
    found: dict[int, list[Run]] = {each: [] for each in job_ids}
    for some in _chunks(list(found)):
        numbers = {f"job_{place}": job_id for place, job_id in enumerate(some)}
        for place, *columns in session.execute(_newest(len(some)), numbers):
            found[some[place]].append(Run(*columns))
    for runs in found.values():
        runs.reverse()
    return found


def _chunks(job_ids: Sequence[int]) -> Iterator[list[int]]:
    waiting = iter(job_ids)
    while some := list(islice(waiting, _JOBS_AT_ONCE)):
        yield some


@functools.lru_cache(maxsize=_JOBS_AT_ONCE)
def _newest(jobs: int) -> Select[*tuple[Any, ...]]:
    """One LIMITed walk down the index for each job; the same object each time, to be compiled once."""
    parts = [_of_one(place) for place in range(jobs)]
    everything = union_all(*parts).subquery("runs")
    order = (everything.c.place, everything.c.ended_at.desc(), everything.c.id.desc())
    columns = [column for column in everything.c if column.name != "id"]
    return select(*columns).order_by(*order)


def _of_one(place: int) -> Select[*tuple[Any, ...]]:
    newest = (
        select(
            literal(place).label("place"),
            Report.ended_at,
            Report.outcome,
            Report.good,
            Report.partial,
            Report.interrupted,
            Report.dry_run,
            Report.stored_bytes,
            Report.examined_bytes,
            Report.id,
        )
        .where(Report.job_id == bindparam(f"job_{place}"))
        .order_by(Report.ended_at.desc(), Report.id.desc())
        .limit(RUNS_SHOWN)
    )
    # SQLite takes an ORDER BY of one part of a UNION inside a subquery only.
    return select(newest.subquery(f"of_{place}"))
