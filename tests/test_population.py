"""What is filled in for measuring agrees with what reports would have left."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app import checks, reports, totals
from app.clock import utcnow
from app.db import Database
from app.models import Job, Report, ReportBody, ReportTotal, Server, Total
from app.record import take
from app.upload import Body, Sender
from tests import population
from tests.population import Population

POLICY = checks.Policy(3600, "every_day")
SIZE = Population(jobs=1000, has_reports=True, old_jobs=10, old_days=3, frequent=50)


@pytest.fixture
def filled(database: Database) -> Database:
    population.add(database, SIZE)
    return database


def test_each_job_is_in_the_state_its_columns_lead_to_and_nothing_is_due(filled: Database) -> None:
    now = utcnow()
    states = set()
    with filled.reading() as rows:
        for job in rows.scalars(select(Job)):
            decided = checks.judge(job, POLICY, now)
            found = (job.state, job.state_since_at, job.attention_at or job.reminder_at, job.why)
            attention_at = job.reminder_at if job.state == "overdue" else decided.attention_at
            assert found == (decided.state, decided.since_at, attention_at, decided.why)
            states.add(job.state)
    assert states == {"ok", "overdue", "failed", "late", "paused"}
    assert checks.run(filled, POLICY, now + timedelta(hours=5)).alerts == 0


def test_the_running_totals_and_the_newest_reports_are_right(filled: Database) -> None:
    with filled.reading() as rows:
        count, uploaded = rows.execute(select(func.count(), func.sum(Report.uploaded_bytes))).one()
        sizes = rows.execute(select(func.sum(Job.stored_bytes), func.sum(Job.examined_bytes))).one()
        sums = [func.sum(getattr(ReportTotal, name)) for name in totals.Change.__dataclass_fields__]
        assert tuple(map(int, rows.execute(select(*sums)).one())) == tuple(
            map(int, (count, uploaded, *sizes))
        )
        assert count == SIZE.reports == rows.scalar(select(func.count()).select_from(ReportBody))
        told, states = totals.read(rows)
        servers = rows.scalar(select(func.count()).select_from(Server))
        assert told == {"jobs": SIZE.jobs, "servers": servers} == {"jobs": SIZE.jobs, "servers": SIZE.servers}
        by_state = select(Job.state, func.count()).group_by(Job.state)
        counted = {row[0]: row[1] for row in rows.execute(by_state)}
        assert {state: count for state, count in states.items() if count} == counted
        newest = select(Report.id).where(Report.job_id == Job.id).order_by(Report.ended_at.desc()).limit(1)
        wrong = select(func.count()).where(Job.last_report_id != newest.scalar_subquery())
        assert rows.scalar(wrong) == 0


def test_one_more_report_is_taken_in_as_that_of_a_known_job(filled: Database) -> None:
    with filled.reading() as rows:
        before = {each.slot: sums_of(each) for each in rows.scalars(select(ReportTotal))}
        job = rows.get_one(Job, 7)
        identity = {"machine-id": "machine-2", "backup-id": job.backup_id, "backup-name": job.name}
    content = json.loads(population.SAMPLE.read_text())
    content["Extra"] |= identity | {"machine-name": "machine-2"}
    now = utcnow()
    content["Data"] |= {"BeginTime": (now - timedelta(minutes=9)).isoformat(), "EndTime": now.isoformat()}
    body = Body(json.dumps(content).encode(), "application/json")
    report = reports.parse(body.raw(), body.content_type)
    assert take(filled, report, body, Sender(None, "-", "-"), policy=POLICY, now=now)
    with filled.reading() as rows:
        after = {each.slot: sums_of(each) for each in rows.scalars(select(ReportTotal))}
        assert after[7]["runs_count"] == before[7]["runs_count"] + 1
        assert rows.scalar(select(Total.value).where(Total.name == "jobs")) == SIZE.jobs
        assert rows.scalar(select(func.max(Report.id))) == rows.get_one(Job, 7).last_report_id > SIZE.reports


def sums_of(row: ReportTotal) -> dict[str, int]:
    return {name: getattr(row, name) for name in totals.Change.__dataclass_fields__}
