"""What the first page shows: jobs by state, found, filtered, in any order, a page at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, select, tuple_, union, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, contains_eager, defer, joinedload

from app import totals
from app.db import UtcDateTime
from app.models import STATE_RANKS, Job, Server, User

TABLE, SERVERS = "table", "servers"
LAYOUTS = (TABLE, SERVERS)
PAGE_SIZE = 40
ATTENTION_SHOWN = 10
SERVERS_OFFERED = 50
LONGEST_SEARCH = 100
ATTENTION = "attention"
ATTENTION_STATES = ("overdue", "failed", "late")
STATES = (ATTENTION, *STATE_RANKS)

_LONGEST_POSITION = 4000
_LARGEST = 2**63 - 1
_LARGEST_RANK = max(STATE_RANKS.values())

Columns = tuple[InstrumentedAttribute[Any], ...]
WORST, BY_SERVER = "worst", "server"
SORTS: dict[str, Columns] = {
    WORST: (Job.state_rank, Job.name, Job.id),
    "name": (Job.name, Job.id),
    BY_SERVER: (Server.name, Server.id, Job.state_rank, Job.name, Job.id),
    "good": (Job.last_good_at, Job.id),
    "expected": (Job.expected_at, Job.id),
}


class BadQuery(ValueError):
    """A query that names no state, order or position there is."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which jobs, in which order; `after` is the position of the last job of the page before.

    A `sort` that begins with a minus turns its order round.
    """

    state: str = ""
    server_id: int | None = None
    words: str = ""
    sort: str = WORST
    after: str = ""

    def __post_init__(self) -> None:
        known = self.state in ("", *STATES) and self.sort.removeprefix("-") in SORTS
        if not known or self.sort.startswith("--"):
            raise BadQuery(self.state or self.sort)
        if "\0" in self.words or len(self.words) > LONGEST_SEARCH:
            raise BadQuery("words")

    @property
    def columns(self) -> Columns:
        return SORTS[self.sort.removeprefix("-")]

    @property
    def is_turned_round(self) -> bool:
        return self.sort.startswith("-")

    @property
    def is_narrowed(self) -> bool:
        """Whether it leaves jobs out for another reason than their state."""
        return bool(self.words or self.server_id is not None)


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and the position to go on from if there are more."""

    jobs: Sequence[Job]
    following: str


def counts(session: Session) -> dict[str, int]:
    """Jobs by state, the worst first, without counting any row by row."""
    return totals.read(session)[1]


def page(session: Session, query: Query, size: int = PAGE_SIZE) -> Page:
    """Raises BadQuery for a position that is none."""
    found: list[Job] = []
    for part in _parts(query):
        if len(found) <= size:
            found += session.scalars(part.limit(size + 1 - len(found)))
    following = _position(query, found[size - 1]) if len(found) > size else ""
    return Page(found[:size], following)


def _parts(query: Query) -> list[Select[Job]]:
    """One after the other, they are what there is from the position on."""
    everything = _with_servers(query).where(*_conditions(query)).order_by(*_order(query))
    if not query.after:
        return [everything]
    return [everything.where(each) for each in _after(query, _read_position(query))]


def _with_servers(query: Query) -> Select[Job]:
    jobs = select(Job).options(defer(Job.notes))
    if query.columns[0] is Server.name:
        # All names are so; it lets SQLite begin with the servers and stop when the page is full.
        named = Server.name >= ""
        return jobs.join(Job.server).where(named).options(contains_eager(Job.server))
    return jobs.options(joinedload(Job.server))


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    # As a sum it is in no index: of one server's jobs the few are looked at, not all that are in this state.
    rank = Job.state_rank if query.server_id is None else Job.state_rank + 0
    if query.state == ATTENTION:
        conditions.append(rank <= max(STATE_RANKS[each] for each in ATTENTION_STATES))
    elif query.state:
        conditions.append(rank == STATE_RANKS[query.state])
    if query.server_id is not None:
        conditions.append(Job.server_id == query.server_id)
    return conditions + [_mentions(word) for word in query.words.split()]


def _mentions(word: str) -> ColumnElement[bool]:
    """In the name of the job or of its server, upper or lower case; each found in its own index."""
    other = aliased(Job)
    servers = select(Server.id).where(Server.name.icontains(word, autoescape=True))
    named = select(other.id).where(other.name.icontains(word, autoescape=True))
    return Job.id.in_(union(named, select(other.id).where(other.server_id.in_(servers))))


def _order(query: Query) -> list[ColumnElement[Any]]:
    first, *others = query.columns
    if query.is_turned_round:
        begin = first.desc().nulls_last() if _may_be_empty(query) else first.desc()
        return [begin, *(each.desc() for each in others)]
    begin = first.asc().nulls_first() if _may_be_empty(query) else first.asc()
    return [begin, *(each.asc() for each in others)]


def _may_be_empty(query: Query) -> bool:
    return bool(query.columns[0].property.columns[0].nullable)


def _after(query: Query, values: Sequence[Any]) -> list[ColumnElement[bool]]:
    """First those that differ from the position by their number alone, then those beyond; each is a walk
    along an index from one place on. Joined by OR, SQLite reads all called alike, PostgreSQL all there are.

    Jobs without a time stand before all that have one, whichever way round the order goes.
    """
    bound = [literal(value, column.type) for value, column in zip(values, query.columns, strict=True)]
    first, leading, number = query.columns[0], query.columns[:-1], query.columns[-1]
    alike = [
        column.is_(None) if value.value is None else column == value
        for column, value in zip(leading, bound, strict=False)
    ]
    parts = [and_(*alike, number < bound[-1] if query.is_turned_round else number > bound[-1])]
    if values[0] is None:
        return parts if query.is_turned_round else [*parts, first.is_not(None)]
    place, here = tuple_(*leading), tuple_(*bound[:-1])
    # The first column once more: of a comparison across two tables SQLite takes no index.
    if not query.is_turned_round:
        return [*parts, (place > here) & (first >= bound[0])]
    parts.append((place < here) & (first <= bound[0]))
    return [*parts, first.is_(None)] if _may_be_empty(query) else parts


def _position(query: Query, job: Job) -> str:
    """Of a job in the order of the query, as a link carries it."""
    values = [getattr(job.server if each.class_ is Server else job, each.key) for each in query.columns]
    told = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _read_position(query: Query) -> list[Any]:
    if len(query.after) > _LONGEST_POSITION:
        raise BadQuery("after")
    try:
        values = json.loads(query.after)
        if not isinstance(values, list) or len(values) != len(query.columns):
            raise BadQuery("after")
        return [_read(value, column) for value, column in zip(values, query.columns, strict=True)]
    except (ValueError, RecursionError):
        raise BadQuery("after") from None


def _read(value: object, column: InstrumentedAttribute[Any]) -> object:
    if isinstance(column.type, UtcDateTime):
        return None if value is None else _moment(_text(value))
    if column.type.python_type is str:
        return _text(value)
    # PostgreSQL refuses what its column of ranks can't hold.
    largest = _LARGEST_RANK if column is Job.state_rank else _LARGEST
    if type(value) is not int or not 0 <= value <= largest:
        raise ValueError("no number of a row")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    # Near the ends of the calendar another zone is outside it.
    if moment.tzinfo is None or not 1 < moment.year < 9999:
        raise ValueError("no time with a zone")
    return moment


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    value.encode()  # raises ValueError for halves of a character, which no database takes
    return value


def servers(session: Session, chosen_id: int | None) -> tuple[list[Server], Server | None]:
    """Those to choose from by name, none when there are too many; and the chosen one. Raises BadQuery."""
    query = select(Server).order_by(Server.name, Server.id).limit(SERVERS_OFFERED + 1)
    offered = list(session.scalars(query))
    chosen = session.get(Server, chosen_id) if chosen_id is not None else None
    if chosen_id is not None and chosen is None:
        raise BadQuery("server")
    return (offered if len(offered) <= SERVERS_OFFERED else []), chosen


def by_server(jobs: Sequence[Job]) -> list[tuple[Server, list[Job]]]:
    """Jobs that come in the order of their servers, together with those of the same one."""
    groups = itertools.groupby(jobs, key=lambda job: job.server_id)
    return [(mine[0].server, mine) for _server_id, jobs_of_one in groups if (mine := list(jobs_of_one))]


def keep_layout(session: Session, user_id: int, layout: str) -> None:
    """Remember how this user likes the first page."""
    session.execute(update(User).where(User.id == user_id).values(layout=layout))
