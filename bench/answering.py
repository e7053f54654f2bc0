"""The first page and the page of a job, with very many jobs and reports: time and queries."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping

import requests

from app.assembly import create_app
from app.db import EXTENSION, Database
from bench import processes
from bench.ground import Ground, Installed
from bench.table import Row
from tests import statements
from tests.processes import PASSWORD
from tests.web import LoggedIn, log_in

ROUNDS = 9
FIRST_PAGE_TARGET = "≤ 150"


def pages(ground: Ground) -> list[Row]:
    """Each address by turns with few and with many jobs and reports."""
    few, many = ground.few(), ground.many()
    jobs, frequent = many.population.jobs, many.population.frequent
    job = jobs // 2 + 1
    asked = {
        f"first page, {jobs} jobs": ("/", "/", FIRST_PAGE_TARGET),
        f"first page by name, {jobs} jobs": ("/?sort=name", "/?sort=name", ""),
        f"first page by last backup, {jobs} jobs": ("/?sort=-good", "/?sort=-good", ""),
        f"search for a machine, {jobs} jobs": (f"/?q=machine-{jobs // 6}", "/?q=machine-166", ""),
        f"page of a job with one report, {many.population.reports} stored": (
            f"/jobs/{job}",
            "/jobs/5",
            "≤ 1.5×",
        ),
        f"page of a job with {frequent} reports": ("/jobs/1", "/jobs/5", ""),
        "GET /api/summary": ("/api/summary", "/api/summary", "≤ 1.5×"),
    }
    taken = {title: (list[float](), list[float]()) for title in asked}
    with _visiting(few) as ask_few, _visiting(many) as ask_many:
        for _ in range(ROUNDS):
            for title, (path, usual, _target) in asked.items():
                taken[title][0].append(_milliseconds(ask_many, path))
                taken[title][1].append(_milliseconds(ask_few, usual))
    queries = _queries(many, {title: path for title, (path, _usual, _target) in asked.items()})
    return [
        Row(
            title,
            statistics.median(of_many),
            "ms",
            statistics.median(of_few),
            f"{few.population.jobs} jobs",
            asked[title][2],
            note=f"{queries[title]} queries",
            runs=ROUNDS,
        )
        for title, (of_many, of_few) in taken.items()
    ]


@contextlib.contextmanager
def _visiting(place: Installed) -> Iterator[tuple[requests.Session, str]]:
    """Somebody who is logged in, at the real web application."""
    with processes.web(place.veilleur), requests.Session() as session:
        login = {"username": "admin", "password": PASSWORD}
        session.post(f"{place.veilleur.url}/api/auth/login", json=login, timeout=30).raise_for_status()
        yield session, place.veilleur.url


def _milliseconds(visit: tuple[requests.Session, str], path: str) -> float:
    session, url = visit
    begin = time.perf_counter()
    session.get(url + path, timeout=60).raise_for_status()
    return (time.perf_counter() - begin) * 1000


def _queries(place: Installed, paths: Mapping[str, str]) -> dict[str, int]:
    """How many each answer asks, counted in this process."""
    app = create_app(place.settings)
    database: Database = app.extensions[EXTENSION]
    counted = {}
    client = app.test_client()
    assert log_in(client, "admin", PASSWORD).status_code == 200
    visitor = LoggedIn(client)
    with statements.noted(database) as asked:
        for title, path in paths.items():
            asked.clear()
            assert visitor.get(path).status_code == 200, path
            counted[title] = len(asked)
    database.dispose()
    return counted
