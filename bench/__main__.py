"""Everything in turn, against processes of its own in a temporary folder; then the tables."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import SubprocessError

from sqlalchemy.exc import SQLAlchemyError

from app.settings import SETTINGS
from bench import answering, checking, cleaning, ground, memory, processes, table, uploading, web
from bench.ground import FULL, POSTGRESQL, SMALL, SQLITE, Ground, Scale
from bench.load import GENERATOR, Moments
from bench.table import Row
from tests.conftest import CHECKOUT, unused_port
from tests.processes import Veilleur

BUILD = CHECKOUT / "build"
LEGEND = """
Load by {generator}; all on this machine, {cores} cores, {seconds:.0f} s; what a row means: bench/README.md.
Baselines: d duplistatus 1.4.2, h Healthchecks, measured on another day on a machine like this one;
"empty", "direct", "few jobs", "without" and the like are from this very run, taken by turns."""
_BREAKDOWNS = (AssertionError, OSError, RuntimeError, SubprocessError, SQLAlchemyError, ValueError)
MISSING = "PostgreSQL's server is not installed: its rows are missing"


@dataclass(frozen=True)
class Part:
    """What can be asked for by name; `is_of_database` if it is measured on each database."""

    name: str
    told: str
    measure: Callable[[Ground], list[Row]]
    is_of_database: bool = True
    is_of_full: bool = True


def _configuring(place: Ground) -> list[Row]:
    """Beside an empty view under the same gunicorn."""
    folder = place.folder / "config"
    folder.mkdir()
    veilleur, empty_port = Veilleur(folder), unused_port()
    with processes.web(veilleur), processes.cron(veilleur), processes.empty_application(folder, empty_port):
        return [*web.configuring(veilleur, empty_port, Moments()), processes.disk(folder)]


def _proxying(place: Ground) -> list[Row]:
    folder = place.folder / "proxy"
    folder.mkdir()
    veilleur = Veilleur(folder)
    with processes.web(veilleur), processes.cron(veilleur):
        return web.proxying(veilleur, Moments())


def _in_folder(measured: Callable[[Path], list[Row]]) -> Callable[[Ground], list[Row]]:
    def measure(place: Ground) -> list[Row]:
        folder = place.folder / measured.__name__
        folder.mkdir()
        return measured(folder)

    return measure


PARTS = (
    Part("config", "GET and POST /api/cron-config", _configuring, is_of_database=False, is_of_full=False),
    Part("proxy", "the proxy to the cron service", _proxying, is_of_database=False, is_of_full=False),
    Part("memory", "what is held idle and after load", _in_folder(memory.footprint), False, False),
    Part("start", "how soon each process answers", _in_folder(memory.starts), False, False),
    Part("check", "a check with nothing due", checking.passes),
    Part("cron-memory", "the cron service with few and many jobs", checking.holding),
    Part("pages", "first page, page of a job", answering.pages),
    Part("upload", "reports per second with few and many stored", uploading.rate),
    Part("large", "memory for a report of 20 MB", uploading.large),
    Part("alerts", "newly due jobs, recorded and delivered", checking.alerting),
    Part("retention", "uploads while old reports are deleted", cleaning.retention),
)


def main() -> int:
    asked = _arguments()
    if asked.show is not None:
        print(table.markdown(table.read_json(asked.show)))
        return 0
    for setting in SETTINGS:
        os.environ.pop(setting.variable, None)
    begin, scale = time.monotonic(), FULL if asked.full else SMALL
    chosen = [each for each in PARTS if each.name in asked.only or not asked.only]
    if asked.full and not asked.only:
        chosen = [each for each in chosen if each.is_of_full]
    rows: list[Row] = []
    for kind in asked.database:
        if kind == POSTGRESQL and not ground.has_postgresql():
            rows.append(Row(MISSING, 0, "", database=kind))
            print(f"\n{MISSING}")
            continue
        # What has nothing to do with the database is measured once.
        some = [each for each in chosen if each.is_of_database or kind == asked.database[0]]
        rows += _measured(kind, scale, some)
    seconds = time.monotonic() - begin
    table.write_json(rows, asked.json, generator=GENERATOR, scale=vars(scale), seconds=round(seconds, 1))
    print(LEGEND.format(generator=GENERATOR, cores=os.cpu_count(), seconds=seconds))
    print(f"Written to {asked.json}")
    return 0


def _measured(kind: str, scale: Scale, parts: Iterable[Part]) -> list[Row]:
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="veilleur-bench-", ignore_cleanup_errors=True) as name,
        ground.prepared(kind, scale, Path(name)) as place,
    ):
        for part in parts:
            begin = time.monotonic()
            print(f"{kind}: {part.name}: {part.told}", file=sys.stderr, flush=True)
            rows += [replace(each, database=kind) for each in _outcome(part, place)]
            ground.say(f"{time.monotonic() - begin:.0f} s")
    print(f"\n{kind}\n{table.text(rows)}", flush=True)
    return rows


def _outcome(part: Part, place: Ground) -> list[Row]:
    """One that breaks down is a row that has failed, and the others go on."""
    try:
        return part.measure(place)
    except _BREAKDOWNS as problem:
        traceback.print_exc()
        told = str(problem).strip().partition("\n")[0]
        return [Row(f"{part.name}: {part.told}", 0, "", note=f"BROKE DOWN: {told}", failed=True)]


def _arguments() -> argparse.Namespace:
    names = [each.name for each in PARTS]
    parts = "\n".join(f"  {each.name:12} {each.told}" for each in PARTS)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the real processes on this machine and prints a table for each database.",
        epilog=f"parts:\n{parts}\n\nFilled databases lie in a temporary folder (TMPDIR) and go at the end.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="with 1 000 000 jobs and 2 100 000 reports")
    parser.add_argument(
        "--only", action="append", default=[], choices=names, metavar="PART", help="again for more"
    )
    parser.add_argument(
        "--database", action="append", choices=[SQLITE, POSTGRESQL], help="one of the two; both by default"
    )
    parser.add_argument("--json", type=Path, help="where the figures go (build/bench.json, bench-full.json)")
    parser.add_argument(
        "--show", type=Path, metavar="JSON", help="print the table of an earlier run as Markdown"
    )
    asked = parser.parse_args()
    asked.database = asked.database or [SQLITE, POSTGRESQL]
    asked.json = asked.json or BUILD / ("bench-full.json" if asked.full else "bench.json")
    return asked


if __name__ == "__main__":
    sys.exit(main())
