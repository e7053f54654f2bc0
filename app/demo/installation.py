"""The whole made-up installation, from its first day to now, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.checks import Policy
from app.db import Database
from app.demo import decisions, fleet, messages, people, timeline, traces
from app.demo.bodies import Run
from app.demo.filling import Filling, in_haste, settle
from app.demo.fleet import Client
from app.demo.people import Guest
from app.models import Alert, Channel, Job


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to be."""

    servers: int
    jobs: int
    days: int
    seed: int


class Refused(Exception):
    """The database is not one to fill; the text says why."""


class Demo:
    """Made from a size and a moment; `fill` writes it."""

    def __init__(self, size: Size, now: datetime) -> None:
        self._size, self._now = size, now.replace(microsecond=0)
        self._began_at = self._now - timedelta(days=size.days, hours=1)
        self._clients: Sequence[Client] = fleet.clients(size.servers, size.jobs, size.days, self._now)
        self.runs: list[Run] = list(timeline.runs(list(self._clients), size.days, size.seed, self._now))

    def fill(self, database: Database, policy: Policy, told: Callable[[], None]) -> Guest | None:
        """Write everything, calling `told` after each report; the user that was made with it."""
        with in_haste(database.engine.url.render_as_string(hide_password=False)) as hasty:
            guest = self._fill(hasty, policy, told)
        settle(database)
        return guest

    def _fill(self, database: Database, policy: Policy, told: Callable[[], None]) -> Guest | None:
        with database.writing() as session:
            newest_alert = session.scalar(select(func.max(Alert.id))) or 0
            senders = people.add_keys(session, self._clients, self._began_at, self._now)
            ways = messages.add_channels(session, self._began_at, self._now)
            guest = people.add_viewer(session, self._began_at)
        everybody = senders[""]
        made = decisions.decisions(self._clients, self._now)
        filling = Filling(database, policy, self._now, senders, made)
        filling.take_all(self.runs, told)
        traces.add_unreadable(database, everybody, self._now)
        with database.writing() as session:
            messages.tell(session, ways, newest_alert, self._size.seed, self._now)
            people.add_notes(session, self._clients, self._now - timedelta(days=2, hours=3))
            people.note_logins(session, self._size.days, self._now)
            traces.add_task_runs(session, filling.results, self._now)
        return guest


def refuse_if_used(database: Database, *, force: bool) -> None:
    """Raises Refused for a database in which somebody has something to lose, or from which somebody
    could be told of backups that never were."""
    with database.reading() as session:
        has_jobs = session.scalar(select(Job.id).limit(1)) is not None
        enabled = session.scalar(select(Channel.name).where(Channel.enabled).limit(1))
    if enabled is not None:
        raise Refused(
            f"The channel {enabled} is on: people would be told of backups that never were. "
            "A demo belongs into an installation of its own."
        )
    if has_jobs and not force:
        raise Refused(
            "This installation has backup jobs already. The demo belongs into an empty one: point "
            "VEILLEUR_INSTANCE_PATH at a new folder, or add --force to mix it with what is here."
        )
