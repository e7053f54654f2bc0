"""Everything in turn, against processes of its own in a temporary folder; then the table."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from app.settings import SETTINGS
from bench import monitoring, processes, web
from bench.load import GENERATOR, Moments
from bench.table import Row, text, write_json
from tests.conftest import CHECKOUT, unused_port
from tests.processes import Veilleur

LEGEND = """
Load by {generator}; medians of {rounds} runs; all on this machine, {cores} cores, {seconds:.0f} s.
Baselines: d duplistatus 1.4.2, h Healthchecks, both measured on another day on a machine like this one;
"empty" an empty Flask view under the same gunicorn settings, "direct" and "few jobs" from this very run."""


def main() -> int:
    for setting in SETTINGS:
        os.environ.pop(setting.variable, None)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="veilleur-bench-") as name:
        rows = _measure(Path(name))
    seconds = time.monotonic() - begin
    write_json(rows, CHECKOUT / "build" / "bench.json", GENERATOR, seconds)
    print(text(rows))
    print(LEGEND.format(generator=GENERATOR, rounds=web.ROUNDS, cores=os.cpu_count(), seconds=seconds))
    return 0


def _measure(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for title, part in (
        ("served", _served),
        ("check", monitoring.checking),
        ("alerts", monitoring.delivering),
    ):
        print(f"measuring: {title}", file=sys.stderr, flush=True)
        (folder / title).mkdir()
        rows += part(folder / title)
    return rows


def _served(folder: Path) -> list[Row]:
    veilleur, moments = Veilleur(folder), Moments()
    starts = processes.starts(veilleur)
    with processes.web(veilleur) as (web_process, _), processes.cron(veilleur) as (cron_process, _):
        time.sleep(2)  # the first check and the first look at the deliveries are part of idling
        idle = processes.memory_mib(web_process, cron_process)
        empty_port = unused_port()
        with processes.empty_application(folder, empty_port):
            rows = web.reading(veilleur, empty_port, moments)
        rows.append(processes.disk(folder))
        rows += web.saving(veilleur, moments)
        rows += web.proxying(veilleur, moments)
        uploads = web.uploading(veilleur, moments)
        rows += uploads
        stored = _stored_reports(veilleur)
        rows.append(web.uploading_again(veilleur, moments, uploads[1], stored))
        loaded = processes.memory_mib(web_process, cron_process)
    memory = [
        Row("memory, web + cron, idle (PSS)", idle, "MiB", 151, "d", "≤ 120"),
        Row("memory, web + cron, after this load (PSS)", loaded, "MiB", idle, "idle", "≤ 120"),
    ]
    return rows + memory + starts


def _stored_reports(veilleur: Veilleur) -> int:
    with closing(sqlite3.connect(veilleur.instance / "veilleur.db", timeout=30)) as connection:
        count: int = connection.execute("SELECT count(*) FROM report").fetchone()[0]
    return count


if __name__ == "__main__":
    sys.exit(main())
