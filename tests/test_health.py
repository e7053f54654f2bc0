"""What Veilleur says of its own health."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from app import interval
from app.clock import utcnow
from app.models import Channel, TaskRun
from tests import databases
from tests.web import Site, site

TASK = "overdue-backup-check"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def ran(here: Site, ago: timedelta, *, succeeded: bool | None = True, task: str = TASK) -> None:
    finished_at = utcnow() - ago if succeeded is not None else None
    with here.database.writing() as rows:
        rows.add(
            TaskRun(
                task=task,
                cause="schedule",
                started_at=utcnow() - ago,
                finished_at=finished_at,
                succeeded=succeeded,
            )
        )


def state(here: Site) -> tuple[int, str]:
    answer = here.stranger().get("/api/health")
    well = answer.status_code == 200
    assert answer.json["status"] == ("ok" if well else "error")
    assert set(answer.json) == {
        "status",
        "database",
        "cron",
        "lastCheckAt",
        "channels",
        "spooledReports",
    }
    return answer.status_code, answer.json["cron"]


def test_a_ping_needs_nothing_at_all(here: Site) -> None:
    answer = here.stranger().get("/api/ping")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")
    assert answer.json["at"].endswith("Z")


def test_before_the_first_check_nothing_is_well(here: Site) -> None:
    assert state(here) == (503, "never ran")


def test_after_a_check_all_is_well(here: Site) -> None:
    with time_machine.travel(datetime(2026, 12, 1, 12, tzinfo=UTC), tick=False):
        ran(here, timedelta(minutes=5))
        assert here.stranger().get("/api/health").json == {
            "status": "ok",
            "database": "ok",
            "cron": "ok",
            "lastCheckAt": "2026-12-01T11:55:00Z",
            "channels": {"status": "none", "failingCount": 0, "failing": []},
            "spooledReports": 0,
        }


@pytest.mark.parametrize(
    ("value", "minutes", "expected"),
    [
        ("20min", 40, "ok"),
        ("20min", 42, "stale"),
        ("1min", 2, "ok"),
        ("1min", 4, "stale"),
        ("2hours", 240, "ok"),
        ("2hours", 242, "stale"),
    ],
)
def test_checks_are_stale_after_two_intervals_and_a_minute(
    here: Site, value: str, minutes: int, expected: str
) -> None:
    interval.save(here.interval_file, value, updated_by="test", now=utcnow() - timedelta(days=1))
    ran(here, timedelta(minutes=minutes))
    assert state(here) == (200 if expected == "ok" else 503, expected)


def test_a_shorter_interval_has_missed_no_check_yet(here: Site) -> None:
    ran(here, timedelta(minutes=100))
    interval.save(here.interval_file, "1min", updated_by="test", now=utcnow())
    assert state(here) == (200, "ok")


@pytest.mark.parametrize("succeeded", [False, None])
def test_a_check_that_failed_or_was_cut_off_does_not_count(here: Site, succeeded: bool | None) -> None:
    ran(here, timedelta(hours=3))
    ran(here, timedelta(minutes=1), succeeded=succeeded)
    assert state(here) == (503, "stale")


def test_runs_of_other_tasks_do_not_count(here: Site) -> None:
    ran(here, timedelta(minutes=1), task="audit-log-cleanup")
    assert state(here) == (503, "never ran")


def test_monitoring_that_was_disabled_on_purpose_is_well(here: Site) -> None:
    interval.save(here.interval_file, "disabled", updated_by="test", now=utcnow())
    assert state(here) == (200, "disabled")


def test_a_damaged_interval_file_is_told(here: Site) -> None:
    ran(here, timedelta(minutes=1))
    here.interval_file.write_bytes(b"{")
    assert state(here) == (503, "configuration damaged")


def test_without_its_database_it_says_so_and_still_answers_a_ping(here: Site) -> None:
    here.database.dispose()
    with databases.missing(here.settings.instance_path):
        answer = here.stranger().get("/api/health")
        assert here.stranger().get("/api/ping").status_code == 200
    assert answer.status_code == 503
    assert answer.json == {
        "status": "error",
        "database": "error",
        "cron": "unknown",
        "lastCheckAt": None,
        "spooledReports": 0,
    }


# Channels


def channels(here: Site, *failing: bool) -> None:
    with here.database.writing() as rows:
        for number, fails in enumerate(failing):
            told = {"failing_since_at": FAILED_AT, "last_error": "answered 500"} if fails else {}
            rows.add(Channel(kind="webhook", name=f"hook {number}", config={}, created_at=FAILED_AT, **told))


FAILED_AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
FAILURE = {
    "name": "hook 0",
    "kind": "webhook",
    "sinceAt": "2026-12-01T12:00:00Z",
    "detail": "answered 500",
}


@pytest.mark.parametrize(
    ("failing", "code", "status", "expected"),
    [
        ((), 200, "ok", {"status": "none", "failingCount": 0, "failing": []}),
        ((False, False), 200, "ok", {"status": "ok", "failingCount": 0, "failing": []}),
        ((True, False), 200, "degraded", {"status": "degraded", "failingCount": 1, "failing": [FAILURE]}),
        ((True,), 503, "error", {"status": "failing", "failingCount": 1, "failing": [FAILURE]}),
    ],
)
def test_failing_channels_are_told(
    here: Site, failing: tuple[bool, ...], code: int, status: str, expected: dict[str, object]
) -> None:
    ran(here, timedelta(minutes=5))
    channels(here, *failing)
    answer = here.stranger().get("/api/health")
    assert (answer.status_code, answer.json["status"]) == (code, status)
    assert answer.json["channels"] == expected


def test_without_public_reads_a_stranger_is_told_the_number_only(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_PUBLIC_READS="0") as here:
        ran(here, timedelta(minutes=5))
        channels(here, True, False)
        stranger = here.stranger().get("/api/health").json["channels"]
        assert stranger == {"status": "degraded", "failingCount": 1}
        assert here.viewer().get("/api/health").json["channels"]["failing"] == [FAILURE]
