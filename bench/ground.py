"""Installations to measure on, filled as large as asked for: on SQLite, or on a PostgreSQL of their own."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app import clock, installation
from app.db import Database
from app.settings import Settings, load
from bench.load import Moments
from tests import population, postgres
from tests.databases import Postgres
from tests.population import Population
from tests.processes import Veilleur

SQLITE, POSTGRESQL = "sqlite", "postgresql"
TOKEN = "only for measuring"
# As a server of its own would be set up on a machine of this size; what is committed survives a power cut.
SERVER_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "autovacuum": "on",
}
REPORT_BYTES = 2200  # of a stored report with its indexes and its body, on the larger of the two databases
JOB_BYTES = 1200


@dataclass(frozen=True)
class Scale:
    """How large it is measured."""

    few_jobs: int
    many_jobs: int
    old_jobs: int  # each with 100 reports that have grown old
    frequent: int  # reports of one job
    due: int
    due_rounds: int
    rounds: int

    @property
    def many(self) -> Population:
        return Population(
            self.many_jobs, has_reports=True, old_jobs=self.old_jobs, old_days=100, frequent=self.frequent
        )

    @property
    def few(self) -> Population:
        return Population(self.few_jobs, has_reports=True)

    @property
    def disk_bytes(self) -> int:
        """What the files of one database take at most, with what is written while measuring."""
        return 2 * (self.many.reports * REPORT_BYTES + self.many.jobs * JOB_BYTES) + 2**30


SMALL = Scale(1_000, 100_000, old_jobs=1_000, frequent=20_000, due=1_000, due_rounds=5, rounds=5)
FULL = Scale(1_000, 1_000_000, old_jobs=10_000, frequent=100_000, due=10_000, due_rounds=3, rounds=5)
UPLOAD_JOBS = 10_000


@dataclass
class Installed:
    """An installation and what is needed to talk to it."""

    veilleur: Veilleur
    settings: Settings
    upload_key: str
    population: Population

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        made = Database(self.settings.database_url)
        try:
            yield made
        finally:
            made.dispose()

    def with_settings(self, **settings: str) -> Veilleur:
        """The same installation under other settings, on the same ports."""
        mine = self.veilleur
        return Veilleur(mine.folder, {**mine.settings, **settings}, (), mine.port, mine.cron_port)


@dataclass
class Ground:
    """Makes each installation when it is first asked for."""

    kind: str
    scale: Scale
    folder: Path
    server: Postgres | None = None
    _made: dict[str, Installed] = field(default_factory=dict)

    def few(self) -> Installed:
        return self._installed("few", self.scale.few)

    def many(self) -> Installed:
        return self._installed("many", self.scale.many)

    def bare(self) -> Installed:
        return self._installed("bare", Population(UPLOAD_JOBS))

    def one_report_each(self) -> Installed:
        return self._installed("reports", Population(UPLOAD_JOBS, has_reports=True))

    def _installed(self, name: str, size: Population) -> Installed:
        if name not in self._made:
            self._made[name] = self._install(name, size)
        return self._made[name]

    def _install(self, name: str, size: Population) -> Installed:
        folder = self.folder / name
        folder.mkdir()
        settings = {"VEILLEUR_CRON_TOKEN": TOKEN, "VEILLEUR_GROUP_LIMIT": "0"}
        settings["VEILLEUR_DOWNTIME_CREDIT_SECONDS"] = "0"
        settings["VEILLEUR_BACKUP_KEEP"] = "0"  # an archive in the middle of it would be measured as well
        if self.server:
            settings["VEILLEUR_DATABASE_URL"] = self.server.url()
        veilleur = Veilleur(folder, settings)
        complete, first = installation.prepare(load(veilleur.environ), clock.utcnow())
        assert first is not None
        (veilleur.instance / "cron.json").write_text(json.dumps({"interval": "2hours"}))
        made = Installed(veilleur, complete, first.upload_key, size)
        begin = time.monotonic()
        with made.database() as database:
            population.add(database, size)
        say(f"filled with {size.jobs} jobs and {size.reports} reports in {time.monotonic() - begin:.0f} s")
        return made


def say(what: str) -> None:
    """Progress, apart from the tables."""
    print(f"  {what}", file=sys.stderr, flush=True)


def moments() -> Moments:
    """For reports of the jobs that were filled in: each newer than the job's last, and of the past."""
    return Moments(population.AFTER_THE_LAST)


@contextlib.contextmanager
def prepared(kind: str, scale: Scale, folder: Path) -> Iterator[Ground]:
    """Where installations of that kind can be made; RuntimeError when there is no room for them."""
    free = shutil.disk_usage(folder).free
    if free < scale.disk_bytes:
        needed, found = scale.disk_bytes / 1e9, free / 1e9
        raise RuntimeError(
            f"{folder} needs {needed:.0f} GB and has {found:.0f}; TMPDIR can name another place"
        )
    if kind == SQLITE:
        yield Ground(kind, scale, folder)
    else:
        with postgres.running(**SERVER_SETTINGS) as server:
            yield Ground(kind, scale, folder, server)


def has_postgresql() -> bool:
    return postgres.binaries() is not None
