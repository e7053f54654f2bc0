"""What Veilleur itself leaves behind in the course of time: runs of its tasks, bodies it could not read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app import checks, quarantine
from app.check_result import CheckResult
from app.db import Database
from app.demo.filling import CHECK_EVERY
from app.demo.fleet import DAY
from app.models import TaskRun
from app.reports import UnusableReport, parse
from app.upload import Body, Sender

HISTORY = 14 * DAY
HOLDER = "demo:1"
_SECOND = timedelta(seconds=1)
_FAILED = "12 reports still wait in the spool; the next check goes on with them"
_UNREADABLE: tuple[tuple[timedelta, str, bytes], ...] = (
    (
        9 * DAY,
        "application/x-www-form-urlencoded",
        b"message=Backup%20of%20the%20choir%20is%20done%2C%20all%20well",
    ),
    (3 * DAY, "application/json", b'{"Data":{"MainOperation":"Backup","ParsedResult":"Success","EndTime":'),
    (
        26 * timedelta(hours=1),
        "application/json",
        json.dumps({"Extra": {"OperationName": "Backup"}, "Data": {"ParsedResult": "Success"}}).encode(),
    ),
)


def add_task_runs(session: Session, results: Sequence[tuple[datetime, CheckResult]], now: datetime) -> None:
    """A check every twenty minutes, most of which found nothing, one that failed; and the daily tasks."""
    found, waiting, rows = dict(results), list(results), []
    result = CheckResult(0, 0, 0, 0)
    at = now - HISTORY
    at += CHECK_EVERY - (at - datetime.min.replace(tzinfo=at.tzinfo)) % CHECK_EVERY
    number = 0
    while at <= now:
        while waiting and waiting[0][0] <= at:
            result = waiting.pop(0)[1]
        rows.append(_check(at, result, result.alerts if at in found else 0, failed=number == 431))
        if at.hour == 2 and at.minute == 0:
            rows.append(
                _task(
                    "audit-log-cleanup",
                    at,
                    "Deleted 0 entries of the audit log older than 365 days",
                    statistics={"auditEntries": 0},
                )
            )
            rows.append(
                _task(
                    "retention-cleanup",
                    at,
                    "Nothing was old enough to be deleted",
                    statistics={"reports": 0},
                )
            )
        if at.hour == 3 and at.minute == 0:
            rows.append(_task("installation-backup", at, "Made an archive, deleted 1 older ones"))
        at += CHECK_EVERY
        number += 1
    session.execute(insert(TaskRun), rows)


def _check(at: datetime, result: CheckResult, alerts: int, *, failed: bool) -> dict[str, object]:
    if failed:
        return _task(checks.TASK, at, _FAILED, succeeded=False)
    message = (
        f"Checked {result.checked_jobs} of {result.total_jobs} backup jobs: "
        f"{result.overdue_jobs} overdue, {alerts} new alerts"
    )
    statistics = {
        "totalBackupConfigs": result.total_jobs,
        "checkedBackups": result.checked_jobs,
        "overdueBackupsFound": result.overdue_jobs,
        "notificationsSent": alerts,
    }
    return _task(checks.TASK, at, message, statistics=statistics)


def _task(
    task: str,
    at: datetime,
    message: str,
    *,
    succeeded: bool = True,
    statistics: dict[str, int] | None = None,
) -> dict[str, object]:
    return {
        "task": task,
        "cause": "schedule",
        "holder": HOLDER,
        "started_at": at,
        "finished_at": at + _SECOND / 8,
        "succeeded": succeeded,
        "message": message,
        "statistics": statistics or {},
    }


def add_unreadable(database: Database, sender: Sender, now: datetime) -> None:
    """Bodies that came and were no reports."""
    for back, content_type, raw in _UNREADABLE:
        try:
            parse(raw, content_type)
        except UnusableReport as problem:
            quarantine.keep(database, Body(raw, content_type), problem, sender, now=now - back)
