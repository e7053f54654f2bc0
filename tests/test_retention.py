"""Old things go, in small steps; what is still needed stays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, event, func, insert, select

from app import clearing, retention
from app.db import Base, Database
from app.models import (
    Alert,
    AuditEntry,
    Channel,
    Delivery,
    DeliveryAttempt,
    Job,
    LoginFailure,
    QuarantinedBody,
    Report,
    ReportBody,
    Server,
    TaskRun,
    User,
    UserSession,
)
from tests import databases

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
DAYS = 100


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = databases.with_schema(tmp_path)
    with made.writing() as session:
        session.add(Server(id=1, machine_id="m", name="m", created_at=ago(900)))
        session.flush()
        for number in (1, 2):
            session.add(
                Job(
                    id=number,
                    server_id=1,
                    backup_id=f"b{number}",
                    name=f"b{number}",
                    created_at=ago(900),
                    state_since_at=ago(900),
                )
            )
    yield made
    made.dispose()


def add_report(database: Database, job_id: int, days: float, *, ended_days: float | None = None) -> int:
    ended_at = ago(days if ended_days is None else ended_days)
    with database.writing() as session:
        report = Report(
            job_id=job_id,
            fingerprint=f"{job_id} {days} {ended_days}",
            received_at=ago(days),
            began_at=ended_at,
            ended_at=ended_at,
            time_source="report",
            outcome="Success",
            good=True,
            partial=False,
            interrupted=False,
            dry_run=False,
            salvaged=False,
        )
        session.add(report)
        session.flush()
        session.add(ReportBody(report_id=report.id, content_type="text/plain", size_bytes=1, compressed=b"x"))
        return report.id


def add_alert(database: Database, days: float, status: str) -> int:
    with database.writing() as session:
        alert = Alert(message_id=f"{days}{status}", job_id=1, kind="overdue", facts={}, created_at=ago(days))
        session.add(alert)
        if session.get(Channel, 1) is None:
            session.add(Channel(id=1, kind="ntfy", name="n", config={}, created_at=ago(900)))
        session.flush()
        delivery = Delivery(
            alert_id=alert.id,
            channel_id=1,
            job_id=1,
            status=status,
            next_attempt_at=NOW if status == "pending" else None,
        )
        session.add(delivery)
        session.flush()
        session.add(
            DeliveryAttempt(
                delivery_id=delivery.id, started_at=ago(days), duration_seconds=1, delivered=False, detail=""
            )
        )
        return alert.id


def ids(database: Database, model: type[Base], key: str = "id") -> list[object]:
    with database.reading() as session:
        return sorted(session.scalars(select(getattr(model, key))))


def remove(database: Database) -> dict[str, int]:
    return retention.remove_stored_data(database, DAYS, NOW)


def test_old_reports_go_with_their_bodies_and_the_newest_of_each_job_stays(database: Database) -> None:
    add_report(database, 1, 300)
    add_report(database, 1, 200)
    young = [add_report(database, 1, 99), add_report(database, 1, 1)]
    add_report(database, 2, 400)
    newest = add_report(database, 2, 350)
    assert remove(database)["reports"] == 3
    assert ids(database, Report) == ids(database, ReportBody, "report_id") == [*young, newest]


def test_the_newest_report_is_the_one_that_ended_last_not_the_one_that_came_last(database: Database) -> None:
    ended_last = add_report(database, 1, 300, ended_days=300)
    add_report(database, 1, 200, ended_days=310)
    assert remove(database)["reports"] == 1
    assert ids(database, Report) == [ended_last]


def test_an_alert_still_to_be_delivered_stays_however_old(database: Database) -> None:
    pending = add_alert(database, 300, "pending")
    add_alert(database, 300, "sent")
    add_alert(database, 200, "given_up")
    young = add_alert(database, 10, "sent")
    assert remove(database)["alerts"] == 2
    assert ids(database, Alert) == ids(database, Delivery, "alert_id") == [pending, young]
    assert len(ids(database, DeliveryAttempt)) == 2


def test_quarantined_bodies_age_like_reports(database: Database) -> None:
    with database.writing() as session:
        for number, days in ((1, 101), (2, 99)):
            session.add(
                QuarantinedBody(
                    id=number,
                    received_at=ago(days),
                    key_label="k",
                    address="-",
                    content_type="-",
                    reason="-",
                    missing_fields=[],
                    size_bytes=1,
                    compressed=b"",
                )
            )
    assert remove(database)["quarantined bodies"] == 1
    assert ids(database, QuarantinedBody) == [2]


def test_task_runs_go_after_90_days_but_the_last_of_each_task_stays(database: Database) -> None:
    with database.writing() as session:
        for number, (task, days) in enumerate([("a", 95), ("a", 91), ("b", 95), ("b", 89)], start=1):
            session.add(
                TaskRun(id=number, task=task, cause="manual", started_at=ago(days), finished_at=ago(days))
            )
        session.add(TaskRun(id=9, task="a", cause="manual", started_at=ago(90.5)))
    assert remove(database)["task runs"] == 3
    assert ids(database, TaskRun) == [2, 4]


@pytest.mark.sqlite("counts the steps of its machine")
def test_old_runs_go_at_the_same_cost_however_many_stay(database: Database) -> None:
    assert _steps_of_deleting_runs(database, 3000) < 2 * _steps_of_deleting_runs(database, 30)


def _steps_of_deleting_runs(database: Database, kept: int) -> int:
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    with database.writing() as session:
        session.execute(delete(TaskRun))
        runs = [
            {"task": "a", "cause": "schedule", "started_at": ago(days), "finished_at": ago(days)}
            for days in [91] * 30 + [1] * kept
        ]
        session.execute(insert(TaskRun), runs)
    database.dispose()
    event.listen(database.engine, "connect", lambda raw, _record: raw.set_progress_handler(step, 1))
    assert remove(database)["task runs"] == 30
    return steps[0]


def test_expired_sessions_and_forgotten_wrong_passwords_go(database: Database) -> None:
    with database.writing() as session:
        session.add(User(id=1, username="a", password_hash="", role="viewer", created_at=ago(9)))
        session.flush()
        for name, expires_at in (("old", ago(0.1)), ("new", ago(-1))):
            session.add(
                UserSession(
                    token_hash=name,
                    user_id=1,
                    created_at=ago(9),
                    seen_at=ago(9),
                    expires_at=expires_at,
                    address="-",
                )
            )
        session.add(LoginFailure(username="old", count=2, last_at=ago(2)))
        session.add(LoginFailure(username="new", count=2, last_at=ago(0.5)))
        session.add(LoginFailure(username="locked", count=2, last_at=ago(2), locked_until_at=ago(-1)))
    removed = remove(database)
    assert (removed["sessions"], removed["login failures"]) == (1, 1)
    assert ids(database, UserSession, "token_hash") == ["new"]
    assert ids(database, LoginFailure, "username") == ["locked", "new"]


def fill_audit_log(database: Database, count: int) -> None:
    entry = {"happened_at": ago(366), "actor": "a", "action": "b", "target": "c", "address": "-"}
    with database.writing() as session:
        session.execute(insert(AuditEntry), [entry] * count)
        session.add(AuditEntry(**entry | {"happened_at": ago(364)}))


def count_entries(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count(AuditEntry.id))) or 0


class Watch:
    """Stands in for the module `time`: each look at it takes so long, and pauses are noted."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.pauses = seconds, 0.0, list[float]()

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def seen_between_transactions(database: Database) -> list[int]:
    left: list[int] = []
    fill_audit_log(database, 1201)
    may_go_on = lambda: left.append(count_entries(database)) is None  # noqa: E731
    assert retention.remove_audit_entries(database, 365, NOW, may_go_on) == 1201
    assert count_entries(database) == 1
    return left


def test_a_transaction_ends_after_some_milliseconds_and_a_pause_follows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(clearing.STATEMENT_SECONDS / 2)
    monkeypatch.setattr(clearing, "time", watch)
    left = seen_between_transactions(database)
    most = clearing.MOST_ROWS * math.ceil(clearing.LONGEST_WORK_SECONDS / watch.seconds)
    assert all(0 <= before - after <= most for before, after in itertools.pairwise(left))
    assert len(watch.pauses) >= 1201 / most
    assert min(watch.pauses) > 0.025, "a writer who asks every 25 ms must find SQLite free"


def test_where_rows_are_slow_to_delete_fewer_go_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "time", Watch(clearing.STATEMENT_SECONDS * 1.1))
    left = seen_between_transactions(database)
    steps = {before - after for before, after in itertools.pairwise(left)}
    assert max(steps) <= 2 * clearing.FEWEST_ROWS


def test_told_to_stop_it_leaves_the_rest_for_the_next_time(database: Database) -> None:
    fill_audit_log(database, 1201)
    answers = iter([True, False])
    removed = retention.remove_audit_entries(database, 365, NOW, lambda: next(answers))
    assert 0 < removed < 1201
    assert retention.remove_audit_entries(database, 365, NOW) == 1201 - removed


def test_rows_that_stay_are_passed_over_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest report of each job stays, however old, and all of them come before what may go."""
    monkeypatch.setattr(clearing, "STRETCH_ROWS", 10)
    monkeypatch.setattr(clearing, "time", Watch(0))
    report = {"time_source": "report", "outcome": "Success", "good": True, "partial": False}
    report |= {"interrupted": False, "dry_run": False, "salvaged": False}
    with database.writing() as session:
        job = {"server_id": 1, "created_at": ago(900), "state_since_at": ago(900)}
        jobs = [job | {"id": n, "backup_id": f"b{n}", "name": f"b{n}"} for n in range(3, 103)]
        session.execute(insert(Job), jobs)
        for first, last, days in ((3, 103, 500), (1, 51, 400)):
            rows = [
                {"job_id": n if days == 500 else 1, "fingerprint": f"{days} {n}"}
                | {name: ago(days - n / 1000) for name in ("received_at", "began_at", "ended_at")}
                for n in range(first, last)
            ]
            session.execute(insert(Report), [report | each for each in rows])
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "FROM report" in statement:
            statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    assert remove(database)["reports"] == 49
    # 150 rows in stretches of 10, each read and asked about once; 49 of them locked and deleted by fives.
    assert len(statements) <= 2 * 16 + 2 * 10


def test_nothing_old_means_nothing_deleted(database: Database) -> None:
    add_report(database, 1, 1)
    assert set(remove(database).values()) == {0}
