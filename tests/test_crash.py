"""kill -9 at random moments: nothing lost, and repeated only what was on its way, under the same id."""

from __future__ import annotations

from pathlib import Path

from tests import databases
from tests.crash import kill_cron
from tests.web_crash import kill_web


def test_a_cron_service_killed_at_any_moment_loses_no_alert_and_no_message(tmp_path: Path) -> None:
    kills = 6 if databases.RUN.postgres else 10
    found = kill_cron(tmp_path, kills, seed=7, jobs=200)
    assert found.kills.total() == kills
    assert found.recorded == found.expected, found.table()
    assert (found.lost, found.unknown) == (0, 0), found.table()
    assert not found.repeats - found.in_flight, found.table()
    assert len(found.messages) == found.expected.total()


def test_a_web_application_killed_at_any_moment_keeps_what_it_answered(tmp_path: Path) -> None:
    found = kill_web(tmp_path, 3, seed=7)
    assert found.kills == 3
    assert len(found.answered) >= 3, found.table()
    assert found.saves, found.table()
    wrong = (found.lost, found.damaged, found.forgotten, found.unfinished)
    assert wrong == (0, 0, 0, 0), found.table()
