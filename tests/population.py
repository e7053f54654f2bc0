"""Any number of servers, jobs and reports straight in the database, as reports would have left them.

Made by the database itself, a statement for each table: a million jobs take about a minute.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Text,
    case,
    create_engine,
    delete,
    false,
    func,
    insert,
    literal,
    null,
    select,
    text,
)
from sqlalchemy import cast as sql_cast

from app.clock import utcnow
from app.db import Base, Database
from app.models import STATE_RANKS, Job, Report, ReportBody, ReportTotal, Server, Total
from app.totals import JOBS, SERVERS, SLOTS

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
RUN_SECONDS = 845
JOBS_A_SERVER = 5
# Expected from 6 hours ahead on, so that nothing becomes due by itself while somebody measures or counts.
FIRST_AHEAD_SECONDS = 6 * HOUR_SECONDS
SPREAD_SECONDS = 14 * HOUR_SECONDS
# So long ago the last of them was over, and every report from then on is newer.
AFTER_THE_LAST = timedelta(hours=3, minutes=30)
# Of a thousand jobs so many are in each state, if any may be in trouble.
TROUBLES = (("overdue", 10), ("failed", 10), ("late", 5), ("paused", 5))
LONG_TOLERANCE_SECONDS = 3 * DAY_SECONDS
SAMPLE = Path(__file__).parent / "samples" / "056-live-2.0.7.1-backup-nochange.json"
STORED_BYTES, EXAMINED_BYTES, UPLOADED_BYTES = 201_000_000_000, 184_300_000_000, 91_400_000


@dataclass(frozen=True)
class Population:
    """`jobs`, each with its newest report if `has_reports`; before those, `old_days` daily ones of the first
    `old_jobs`, which end `old_after_days` ago; and `frequent` more of job 1, one every quarter of an hour."""

    jobs: int
    has_reports: bool = False
    old_jobs: int = 0
    old_days: int = 0
    old_after_days: int = 100
    frequent: int = 0
    has_troubles: bool = True

    @property
    def old_reports(self) -> int:
        return self.old_jobs * self.old_days

    @property
    def reports(self) -> int:
        return self.old_reports + self.frequent + self.jobs * self.has_reports

    @property
    def servers(self) -> int:
        return -(-self.jobs // JOBS_A_SERVER)


def add(database: Database, population: Population, now: datetime | None = None) -> None:
    """Fill a database that has none of these yet; nothing of it is durable before the end."""
    filling = _Filling(population, (now or utcnow()).replace(microsecond=0), database.is_sqlite)
    engine = create_engine(database.engine.url)
    database.dispose()  # a connection that is open would keep SQLite in its usual mode
    try:
        with engine.connect() as connection:
            _hurry(connection)
            filling.fill(connection)
            connection.commit()
            _settle(connection)
    finally:
        engine.dispose()


def _hurry(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-500000"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
    else:
        connection.execute(text("SET session_replication_role = replica"))  # no foreign keys to look up
        connection.execute(text("SET work_mem = '256MB'"))


def _settle(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for command in ("PRAGMA synchronous=FULL", "PRAGMA journal_mode=WAL", "ANALYZE"):
            connection.exec_driver_sql(command)
        connection.commit()
    else:
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))


class _Filling:
    """The statements for one population; a row's number is its id."""

    def __init__(self, population: Population, now: datetime, is_sqlite: bool) -> None:
        self._of = population
        self._now = now
        self._is_sqlite = is_sqlite

    def fill(self, rows: Connection) -> None:
        self._servers(rows)
        self._jobs(rows)
        for reports in (self._old_reports, self._frequent_reports, self._newest_reports):
            reports(rows)
        self._bodies(rows)
        self._totals(rows)
        if not self._is_sqlite:
            for table in ("server", "job", "report"):
                rows.execute(text(f"SELECT setval('{table}_id_seq', (SELECT max(id) + 1 FROM {table}))"))

    def _servers(self, rows: Connection) -> None:
        n = _numbers(self._of.servers)
        name = "machine-" + _text(n)
        _insert(rows, Server, id=n, machine_id=name, name=name, created_at=self._at(-900 * DAY_SECONDS))

    def _jobs(self, rows: Connection) -> None:
        n = _numbers(self._of.jobs)
        state = self._state(n)
        expected = self._expected(n, state)
        began = expected - DAY_SECONDS
        ended = began + RUN_SECONDS
        is_failed = state == "failed"
        tolerance = case((state == "late", LONG_TOLERANCE_SECONDS), else_=HOUR_SECONDS)
        good = case((is_failed, ended - DAY_SECONDS), else_=ended)
        outcome = case((is_failed, "Error"), else_="Success")
        since = case(
            (state == "overdue", expected + tolerance),
            (state == "late", expected),
            (state == "paused", literal(-DAY_SECONDS)),
            else_=ended,
        )
        attention = case(
            (state == "overdue", 12 * HOUR_SECONDS + n % HOUR_SECONDS),
            (state.in_(("failed", "late")), expected + tolerance),
            else_=expected,
        )
        _insert(
            rows,
            Job,
            id=n,
            server_id=(n - 1) // JOBS_A_SERVER + 1,
            backup_id="DB-" + _text(n),
            name="job " + _text(n),
            created_at=self._at(-900 * DAY_SECONDS),
            state=state,
            state_rank=case(*((state == name, rank) for name, rank in STATE_RANKS.items())),
            state_since_at=self._at(since),
            why=self._why(state, since, expected, tolerance, good, ended, outcome),
            expected_at=self._at(expected),
            until_at=self._at(expected),
            expected_source=literal("declared"),
            declared_next_at=self._at(expected),
            declared_gap_seconds=literal(DAY_SECONDS),
            attention_at=case((state == "paused", null()), else_=self._at(attention)),
            reminder_at=case((state == "overdue", self._at(attention))),
            last_good_at=self._at(good),
            last_began_at=self._at(began),
            last_ended_at=self._at(ended),
            last_outcome=outcome,
            last_run_good=~is_failed,
            told=case((state.in_(("overdue", "failed")), state)),
            tolerance_seconds=case((state == "late", LONG_TOLERANCE_SECONDS)),
            paused_at=case((state == "paused", self._at(-DAY_SECONDS))),
            is_published=false(),
            **self._sizes(n),
        )

    def _sizes(self, n: ColumnElement[int]) -> dict[str, Any]:
        if not self._of.has_reports:
            return {}
        return {
            "last_report_id": n + self._of.old_reports + self._of.frequent,
            "stored_bytes": STORED_BYTES + n,
            "examined_bytes": EXAMINED_BYTES + n,
        }

    def _state(self, n: ColumnElement[int]) -> ColumnElement[str]:
        """Of each thousand the first are in trouble, spread by a step that shares no factor with it."""
        place = n * 389 % 1000
        whens, up_to = [], 0
        for state, of_thousand in TROUBLES if self._of.has_troubles else ():
            up_to += of_thousand
            whens.append((place < up_to, state))
        return case(*whens, else_="ok") if whens else literal("ok")

    def _expected(self, n: ColumnElement[int], state: ColumnElement[str]) -> ColumnElement[int]:
        ahead = FIRST_AHEAD_SECONDS + n * SPREAD_SECONDS // self._of.jobs
        behind = case((state == "overdue", 2 * DAY_SECONDS), (state == "late", DAY_SECONDS), else_=0)
        return ahead - behind

    def _why(
        self,
        state: ColumnElement[str],
        since: ColumnElement[int],
        expected: ColumnElement[int],
        tolerance: ColumnElement[int],
        good: ColumnElement[int],
        ended: ColumnElement[int],
        outcome: ColumnElement[str],
    ) -> ColumnElement[Any]:
        times = {"sinceAt": since, "expectedAt": expected, "untilAt": expected}
        times |= {"overdueAt": expected + tolerance, "lastGoodAt": good, "lastReportAt": ended}
        whole = '{"source": "declared", "pausedUntilAt": null, "reason": "' + state
        whole += '", "outcome": "' + outcome + '", "toleranceSeconds": ' + _text(tolerance)
        for name, seconds in times.items():
            whole += f', "{name}": "' + self._iso(seconds) + '"'
        return sql_cast(whole + "}", Text if self._is_sqlite else JSON)

    def _old_reports(self, rows: Connection) -> None:
        """A day of all jobs after the other, as they would have come."""
        if self._of.old_reports:
            n = _numbers(self._of.old_reports)
            day, place = (n - 1) // self._of.old_jobs, (n - 1) % self._of.old_jobs
            first = -(self._of.old_after_days + self._of.old_days) * DAY_SECONDS
            ended = first + day * DAY_SECONDS + place * (DAY_SECONDS // 2) // self._of.old_jobs
            self._reports(rows, n, place + 1, ended)

    def _frequent_reports(self, rows: Connection) -> None:
        if self._of.frequent:
            n = _numbers(self._of.frequent)
            ended = (n - self._of.frequent) * (HOUR_SECONDS // 4) - 2 * DAY_SECONDS
            self._reports(rows, n + self._of.old_reports, sql_cast(literal(1), BigInteger), ended)

    def _newest_reports(self, rows: Connection) -> None:
        if self._of.has_reports:
            n = _numbers(self._of.jobs)
            state = self._state(n)
            ended = self._expected(n, state) - DAY_SECONDS + RUN_SECONDS
            number = n + self._of.old_reports + self._of.frequent
            self._reports(rows, number, n, ended, is_failed=state == "failed")

    def _reports(
        self,
        rows: Connection,
        number: ColumnElement[int],
        job_id: ColumnElement[int],
        ended: ColumnElement[int],
        is_failed: ColumnElement[bool] | None = None,
    ) -> None:
        is_failed = false() if is_failed is None else is_failed
        _insert(
            rows,
            Report,
            id=number,
            job_id=job_id,
            fingerprint=_text(number * 7_919_473 + 1_000_000_000_000) + "0123456789abcdef" * 3 + "abc",
            received_at=self._at(ended),
            began_at=self._at(ended - RUN_SECONDS),
            ended_at=self._at(ended),
            time_source=literal("report"),
            duration_seconds=literal(float(RUN_SECONDS)),
            outcome=case((is_failed, "Error"), else_="Success"),
            good=~is_failed,
            partial=false(),
            interrupted=false(),
            dry_run=false(),
            salvaged=false(),
            duplicati_version=literal("2.0.7.1 (2.0.7.1_beta_2023-05-25)"),
            warnings_count=literal(0),
            errors_count=case((is_failed, 1), else_=0),
            messages_count=literal(12),
            examined_files=literal(20_114),
            opened_files=literal(31),
            added_files=literal(3),
            modified_files=literal(11),
            deleted_files=literal(1),
            examined_bytes=EXAMINED_BYTES + job_id,
            uploaded_bytes=literal(UPLOADED_BYTES),
            stored_bytes=STORED_BYTES + job_id,
            versions=literal(30),
        )

    def _bodies(self, rows: Connection) -> None:
        if self._of.reports:
            raw = SAMPLE.read_bytes()[:3700]
            _insert(
                rows,
                ReportBody,
                report_id=_numbers(self._of.reports),
                content_type=literal("application/json"),
                size_bytes=literal(len(raw)),
                compressed=literal(zlib.compress(raw, 1)),
            )

    def _totals(self, rows: Connection) -> None:
        rows.execute(delete(Total).where(Total.name.in_((JOBS, SERVERS))))
        for name, value in ((JOBS, self._of.jobs), (SERVERS, self._of.servers)):
            rows.execute(insert(Total).values(name=name, value=value))
        in_trouble = select(Job.id % SLOTS, Job.state, func.count()).where(Job.state != "ok")
        for slot, state, count in rows.execute(in_trouble.group_by(text("1"), Job.state)):
            rows.execute(insert(Total).values(name=f"state:{state}:{slot}", value=count))
        sums = [func.coalesce(func.sum(each), 0) for each in (Job.stored_bytes, Job.examined_bytes)]
        by_slot, first = select(Job.id % SLOTS, *sums), text("1")
        sizes = {slot: sums for slot, *sums in rows.execute(by_slot.group_by(first))}
        by_slot = select(Report.job_id % SLOTS, func.count()).select_from(Report)
        runs = {row[0]: row[1] for row in rows.execute(by_slot.group_by(first))}
        rows.execute(delete(ReportTotal))
        for each in range(SLOTS):
            count, (stored_sum, examined_sum) = runs.get(each, 0), sizes.get(each, (0, 0))
            rows.execute(
                insert(ReportTotal).values(
                    slot=each,
                    runs_count=count,
                    uploaded_bytes=count * UPLOADED_BYTES,
                    stored_bytes=int(stored_sum),
                    examined_bytes=int(examined_sum),
                )
            )

    def _at(self, seconds: ColumnElement[int] | int) -> ColumnElement[Any]:
        """The moment so many seconds after now, as the column stores it."""
        epoch = sql_cast(
            literal(int(self._now.timestamp())) + seconds, Integer if self._is_sqlite else BigInteger
        )
        if self._is_sqlite:
            return func.strftime("%Y-%m-%d %H:%M:%S.000000", epoch, "unixepoch")
        return func.to_timestamp(epoch)

    def _iso(self, seconds: ColumnElement[int]) -> ColumnElement[str]:
        epoch = literal(int(self._now.timestamp())) + seconds
        if self._is_sqlite:
            return func.strftime("%Y-%m-%dT%H:%M:%SZ", epoch, "unixepoch")
        utc = func.timezone("UTC", func.to_timestamp(epoch))
        return func.to_char(utc, literal('YYYY-MM-DD"T"HH24:MI:SS"Z"'))


def _numbers(count: int) -> ColumnElement[int]:
    """1 to `count`, as a column of a table of its own."""
    numbers = select(sql_cast(literal(1), BigInteger).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))
    return numbers.c.n


def _text(number: ColumnElement[int]) -> ColumnElement[str]:
    return sql_cast(number, Text)


def _insert(rows: Connection, model: type[Base], **values: Any) -> None:
    rows.execute(insert(model).from_select(list(values), select(*values.values()), include_defaults=False))
