"""What each path costs does not grow with what is stored: its statements and rows, counted at two sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import event, func, insert, select, text, update

from app import audit_search, checks, clock, jobs, overview, retention
from app.checks import Policy
from app.db import Database
from app.models import Alert, AuditEntry, Channel, Delivery, DeliveryAttempt, Job, Report, TaskRun
from app.overview import Query
from app.prepared import Prepared
from tests import fleet
from tests.databases import Postgres
from tests.stage import backup_body
from tests.web import LoggedIn, Site, site

POLICY = Policy(3600, "every_day", group_limit=10)
DAY = timedelta(days=1)
DUE = 20
DAYS = 5000  # older than everything
# Enough for every list to be full, and five times as much.
FEW, MANY = 800, 4000
GROWS = {"job", "report", "report_body", "alert", "delivery", "delivery_attempt", "audit_entry", "task_run"}


@dataclass
class Installation:
    """With so many jobs, reports of the first job, alerts, deliveries, audit entries and runs of tasks."""

    here: Site
    admin: LoggedIn
    upload_key: str
    read_key: str
    jobs: int
    due: int = 0
    days: int = 0
    far_behind: dict[str, str] = field(default_factory=dict)  # the position of a page of each order

    @property
    def database(self) -> Database:
        return self.here.database

    def let_be_due(self) -> None:
        """So many good jobs more; the same number whatever the size."""
        past = clock.utcnow() - timedelta(hours=2)
        with self.database.writing() as rows:
            some = select(Job.id).where(Job.state == "ok", Job.id > 100).order_by(Job.id).limit(DUE)
            late = update(Job).where(Job.id.in_(rows.scalars(some).all()))
            rows.execute(late.values(expected_at=past, until_at=past, attention_at=past))

    def next_body(self) -> bytes:
        self.days += 1
        ended_at = clock.utcnow() - timedelta(minutes=60 - self.days)
        return backup_body(ended_at, machine="fleet-3", name="Mail 1", seconds=1)


def check(of: Installation) -> None:
    checks.run(of.database, POLICY, clock.utcnow())


def upload(of: Installation) -> None:
    headers = {"X-Api-Key": of.upload_key, "Content-Type": "application/json"}
    answer = of.here.stranger().post("/api/upload", data=of.next_body(), headers=headers)
    assert answer.json == {"success": True}


def clean(of: Installation) -> None:
    now = clock.utcnow()
    removed = retention.remove_stored_data(of.database, DAYS, now)
    assert retention.remove_audit_entries(of.database, DAYS, now) + sum(removed.values()) == 0


def page(path: str) -> Callable[[Installation], None]:
    def get(of: Installation) -> None:
        answer = of.admin.get(path)
        assert answer.status_code == 200, answer.text

    return get


def later_page(sort: str) -> Callable[[Installation], None]:
    """One of which most jobs are on the pages before."""

    def get(of: Installation) -> None:
        if sort not in of.far_behind:
            with of.database.reading() as rows:
                of.far_behind[sort] = overview.page(rows, Query(sort=sort), of.jobs * 3 // 4).following
        page(f"/?{urlencode({'sort': sort, 'after': of.far_behind[sort]})}")(of)

    return get


def read(path: str) -> Callable[[Installation], None]:
    def get(of: Installation) -> None:
        answer = of.here.stranger().get(path, headers={"X-Api-Key": of.read_key})
        assert answer.status_code in (200, 503), answer.text  # health: no cron service is there

    return get


PATHS: dict[str, Callable[[Installation], None]] = {
    "check, nothing due": check,
    "check": lambda of: (of.let_be_due(), check(of))[1],
    "upload": upload,
    "retention": clean,
    **{
        f"page {path}": page(path)
        for path in (
            "/",
            "/?sort=name",
            "/?sort=server",
            "/?sort=good",
            "/?sort=-good",
            "/?sort=expected",
            "/?state=ok",
            "/?state=overdue",
            "/?server=3",
            "/jobs/1",
            "/settings/monitoring",
            "/settings/audit",
        )
    },
    **{f"later page, {sort}": later_page(sort) for sort in ("good", "-good", "expected", "-expected")},
    **{
        f"read {path}": read(path)
        for path in (
            "/api/summary",
            "/api/lastbackup/server-0001",
            "/api/lastbackups/server-0001",
            "/api/health",
        )
    },
}


def fill(of: Installation) -> None:
    """Everything as many times as there are jobs, most of it about the first one."""
    now = clock.utcnow()
    fleet.add(of.database, now, servers=of.jobs // 10, jobs=10, runs=2)
    numbers = range(1, of.jobs + 1)
    with of.database.writing() as rows:
        rows.execute(update(Job).where(Job.id == 23).values(backup_id="DB-Mail 1", name="Mail 1"))
        rows.execute(insert(Channel).values(id=1, kind="ntfy", name="n", config={}, created_at=now))
        rows.execute(insert(Report), [_report(number, now) for number in numbers])
        last = rows.scalar(select(func.max(Report.id)).where(Report.job_id == 1))
        rows.execute(update(Job).where(Job.id == 1).values(last_report_id=last))
        rows.execute(insert(Alert), [_alert(number, now) for number in numbers])
        rows.execute(insert(Delivery), [_delivery(number, now) for number in numbers])
        rows.execute(insert(DeliveryAttempt), [_attempt(number, now) for number in numbers])
        entries = range(audit_search._KNOWN_FROM + of.jobs)
        rows.execute(insert(AuditEntry), [_entry(number, now) for number in entries])
        rows.execute(insert(TaskRun), [_run(number, now) for number in numbers])
        if not of.database.is_sqlite:  # which numbers rows by itself after those that were given
            for table in ("server", "job", "alert", "delivery", "channel"):
                rows.execute(text(f"SELECT setval('{table}_id_seq', 100000)"))
            rows.execute(text("ANALYZE"))


def _report(number: int, now: datetime) -> dict[str, Any]:
    ended_at = now - (number + 3) * DAY
    kept = {"partial": False, "interrupted": False, "dry_run": False, "salvaged": False, "good": True}
    times = {"received_at": ended_at, "began_at": ended_at, "ended_at": ended_at, "time_source": "report"}
    sizes = {"duration_seconds": 10.0, "examined_bytes": 10**9, "stored_bytes": 10**9}
    return {"job_id": 1, "fingerprint": f"f{number}", "outcome": "Success", **kept, **times, **sizes}


def _alert(number: int, now: datetime) -> dict[str, Any]:
    created_at = now - number * DAY / 4
    told = {"kind": "overdue", "facts": {"server": "server-0001", "job": "Documents 1"}}
    moments = {"created_at": created_at, "routed_at": created_at}
    return {"id": number, "message_id": f"{number:032x}", "job_id": number % 10 + 1, **told, **moments}


def _delivery(number: int, now: datetime) -> dict[str, Any]:
    sent = {"status": "sent", "attempts": 1, "finished_at": now - number * DAY / 4, "detail": "200"}
    return {"id": number, "alert_id": number, "channel_id": 1, "job_id": number % 10 + 1, **sent}


def _attempt(number: int, now: datetime) -> dict[str, Any]:
    outcome = {"duration_seconds": 0.1, "delivered": True, "detail": "200"}
    return {"delivery_id": number, "started_at": now - number * DAY / 4, **outcome}


def _entry(number: int, now: datetime) -> dict[str, Any]:
    what = {"actor": "admin", "action": "interval changed", "target": "cron.json", "address": "127.0.0.1"}
    return {"happened_at": now - timedelta(days=300) + timedelta(minutes=number), **what}


def _run(number: int, now: datetime) -> dict[str, Any]:
    started_at = now - timedelta(minutes=MANY + FEW - number)
    ended = {"finished_at": started_at, "succeeded": True, "message": "done"}
    return {"task": checks.TASK, "cause": "schedule", "holder": "a", "started_at": started_at, **ended}


@contextmanager
def installed(folder: Path, jobs_count: int, url: str = "") -> Iterator[Installation]:
    folder.mkdir()
    with site(folder, **({"VEILLEUR_DATABASE_URL": url} if url else {})) as here:
        keys = here.add_key("upload"), here.add_key("read")
        made = Installation(here, here.administrator(), *keys, jobs_count)
        fill(made)
        yield made


# SQLite: the steps of its own machine


@dataclass
class Work:
    """What a path did."""

    steps: Counter[str] = field(default_factory=Counter)  # by statement
    statements: Counter[str] = field(default_factory=Counter)
    plans: dict[str, list[str]] = field(default_factory=dict)


EVERY = 10  # steps of SQLite's machine in each tick


@contextmanager
def watched(database: Database) -> Iterator[Work]:
    """Every statement meanwhile, its plan, and the steps it took."""
    work, current = Work(), [""]

    def tick() -> int:
        work.steps[current[0]] += EVERY
        return 0

    def begin(connection: Any, _cursor: Any, statement: str, parameters: Any, _c: Any, many: bool) -> None:
        raw = connection.connection.dbapi_connection
        if statement not in work.plans and statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            current[0] = "EXPLAIN"
            given = parameters[0] if many else parameters
            work.plans[statement] = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
        work.statements[statement.partition("(")[0]] += 1
        current[0] = statement
        raw.set_progress_handler(tick, EVERY)

    def begin_and_run(self: Prepared, connection: Any, values: Mapping[str, Any]) -> list[Any]:
        compiled = self._compile(connection.dialect)
        begin(connection, None, compiled.text, [None] * len(compiled.order or ()), None, False)
        return run(self, connection, values)

    run = Prepared.run
    event.listen(database.engine, "before_cursor_execute", begin)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Prepared, "run", begin_and_run)
            yield work
    finally:
        event.remove(database.engine, "before_cursor_execute", begin)
        work.steps.pop("EXPLAIN", None)


def done(path: str, of: Installation) -> Work:
    PATHS[path](of)  # once before, so that nothing is done for the first time
    with watched(of.database) as work:
        PATHS[path](of)
    return work


# Table and beginning of the statement, and why that is no matter.
MAY_SCAN = {
    (
        "task_run",
        "SELECT task_run.id FROM task_run WHERE task_run.started_at <",
    ): "once a day, 90 days of runs",
}


def scans(plans: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Statements that read a table that grows as a whole; along an index until a page is full is allowed."""
    for statement, plan in plans.items():
        words = " ".join(statement.split())
        is_page = "LIMIT" in words and not any("TEMP B-TREE FOR ORDER BY" in each for each in plan)
        for table in (each.split()[1] for each in plan if each.startswith("SCAN ")):
            may = is_page or any(table == name and words.startswith(begin) for name, begin in MAY_SCAN)
            if table in GROWS and not may:
                yield words


@pytest.mark.sqlite("counts its steps and reads its plans")
def test_on_sqlite_no_path_costs_more_when_more_is_stored(tmp_path: Path) -> None:
    grown: list[object] = []
    with installed(tmp_path / "few", FEW) as small, installed(tmp_path / "many", MANY) as large:
        for path in PATHS:
            few, many = done(path, small), done(path, large)
            grown += [(path, few.statements, many.statements)] * (few.statements != many.statements)
            grown += [
                (path, "steps", few.steps[statement], steps, statement)
                for statement, steps in many.steps.items()
                if steps > 1.5 * few.steps[statement] + 300
            ]
            grown += [(path, "whole table", words) for words in scans(many.plans)]
    assert grown == []


# PostgreSQL: the rows it reads


def rows_read(database: Database, path: str, of: Installation) -> Counter[str]:
    """Rows of each table, read through an index or not."""
    PATHS[path](of)
    before = _counted(database)
    PATHS[path](of)
    return _counted(database) - before


def _counted(database: Database) -> Counter[str]:
    database.dispose()  # a session tells what it has counted when it ends
    query = (
        "SELECT t.relname, t.seq_tup_read + coalesce(sum(i.idx_tup_read), 0) FROM pg_stat_user_tables t"
        " LEFT JOIN pg_stat_user_indexes i ON i.relid = t.relid GROUP BY t.relname, t.seq_tup_read"
    )
    with database.reading() as rows:
        while rows.scalar(text(_OTHERS)):
            # Within a transaction all else would stay as it was first seen.
            rows.execute(text("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()"))
        counted = {row[0]: int(row[1]) for row in rows.execute(text(query))}
    return Counter({name: number for name, number in counted.items() if name in GROWS})


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_on_postgresql_no_path_reads_more_rows_when_more_are_stored(
    tmp_path: Path, postgres: Postgres
) -> None:
    grown = []
    with ExitStack() as both:
        made = []
        for jobs_count in (FEW, MANY):
            # Small tables would be read whole by the plan: now only those are for which there is no index.
            url = f"{postgres.url()}?options=-c%20enable_seqscan%3Doff"
            made.append(both.enter_context(installed(tmp_path / str(jobs_count), jobs_count, url)))
        few, many = made
        for path in PATHS:
            before = rows_read(few.database, path, few)
            grown += [
                (path, table, before[table], number)
                for table, number in rows_read(many.database, path, many).items()
                if number > 1.5 * before[table] + 50
            ]
    assert grown == []


# The totals


def test_the_jobs_of_each_state_are_as_many_as_the_totals_say(tmp_path: Path) -> None:
    with installed(tmp_path / "some", 200) as of:
        for path in ("check", "upload"):
            PATHS[path](of)
        assert of.admin.post("/jobs/7/pause", data={"until": ""}).status_code == 302
        with of.database.writing() as rows:
            jobs.forget(rows, rows.get_one(Job, 40))
        with of.database.reading() as rows:
            counted = select(Job.state, func.count()).group_by(Job.state)
            stored = {row[0]: row[1] for row in rows.execute(counted)}
            told = overview.counts(rows)
    assert len(stored) > 4
    assert {state: count for state, count in told.items() if count} == stored
