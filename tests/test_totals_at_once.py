"""Running totals under writers that come at once: reports, deletions and retention, on both databases."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from app import jobs, retention, summary, totals
from app.db import Database
from app.models import Job, Report, Server
from app.totals import SLOTS
from tests import databases, factories
from tests.processes import until
from tests.stage import NOON, backup_body, send

MINUTE = timedelta(minutes=1)
SERVERS, JOBS, RUNS = 4, 5, 4


def test_whoever_writes_at_once_the_totals_are_those_of_the_rows(database: Database) -> None:
    bodies = [
        (NOON + run * MINUTE, backup_body(NOON + run * MINUTE, machine=f"nas {server}", name=f"job {job}"))
        for run in range(RUNS)
        for job in range(JOBS)
        for server in range(SERVERS)
    ]

    def report(given: tuple[datetime, bytes]) -> bool:
        ended_at, content = given
        return send(database, content, ended_at)

    def forget(number: int) -> None:
        with database.writing() as rows:
            named = select(Job).where(Job.name == f"job {number}").limit(1)
            found = rows.scalar(named.with_for_update(of=Job))
            if found is not None:
                jobs.forget(rows, found)

    def clean(minutes: int) -> dict[str, int]:
        return retention.remove_stored_data(database, 100, NOON + minutes * MINUTE + timedelta(days=100))

    with ThreadPoolExecutor(8) as pool:
        tasks: list[Future[object]] = [pool.submit(report, each) for each in bodies]
        tasks += [pool.submit(forget, number % JOBS) for number in range(2 * JOBS)]
        tasks += [pool.submit(clean, minutes) for minutes in range(RUNS)]
        tasks += [pool.submit(report, each) for each in bodies[-2 * JOBS :]]
        for each in tasks:
            each.result(timeout=120)
    with database.reading() as rows:
        told = summary.read(rows)
        runs, uploaded = rows.execute(select(func.count(Report.id), func.sum(Report.uploaded_bytes))).one()
        found, stored = rows.execute(select(func.count(Job.id), func.sum(Job.stored_bytes))).one()
        servers = rows.scalar(select(func.count(Server.id)))
    assert (told.runs_count, told.uploaded_bytes) == (runs, int(uploaded))
    assert (told.jobs_count, told.stored_bytes, told.servers_count) == (found, int(stored), servers)


@pytest.mark.usefixtures("postgres")  # on SQLite one writes at a time
def test_a_first_report_and_a_job_that_is_forgotten_never_wait_for_each_other(database: Database) -> None:
    """Both move the total of jobs and that of one state, which has its parts by the number of the job."""
    with database.writing() as rows:
        server = factories.add_server(rows)
        made = [factories.add_job(rows, f"job {number}", "new", server) for number in range(SLOTS)]
        first = made[0].id

    with ThreadPoolExecutor(1) as pool, database.writing() as rows:
        forgotten = rows.get_one(Job, first, with_for_update={"of": Job})
        totals.count(rows.connection(), totals.JOBS, 0)  # the first of what it will do
        reporting = pool.submit(send, database, backup_body(NOON, name="first"), NOON)
        until(lambda: databases.waiting_count(database) == 1, "the report")
        jobs.forget(rows, forgotten)
    assert reporting.result(30)
    with database.reading() as rows:
        newest = rows.scalar(select(func.max(Job.id))) or 0
        assert newest % SLOTS == first % SLOTS
        assert totals.read(rows)[1] == {**dict.fromkeys(totals.read(rows)[1], 0), "new": SLOTS - 1, "ok": 1}
