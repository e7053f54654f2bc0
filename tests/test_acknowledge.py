"""Acknowledging: quiet about what is known, until it recovers or until a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app import checks, record
from app.checks import Policy
from app.clock import utcnow
from app.db import Database
from app.models import Job
from tests.stage import NOON, POLICY, alert_kinds, backup_body, only_job, send
from tests.web import Site, site

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
DUE = NOON + DAY


def acknowledge(database: Database, until_at: datetime | None = None) -> None:
    with database.writing() as rows:
        columns = {"acknowledged_at": NOON, "acknowledged_until_at": until_at, "acknowledged_by": "admin"}
        rows.execute(update(Job).values(**columns))


def test_an_acknowledged_job_is_not_mentioned_again_until_it_recovers(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 2 * HOUR)
    acknowledge(database)
    for day in range(1, 40):
        checks.run(database, POLICY, DUE + 2 * HOUR + day * DAY)
    assert alert_kinds(database) == ["overdue"]
    send(database, backup_body(DUE + 41 * DAY), DUE + 41 * DAY)
    assert alert_kinds(database) == ["overdue", "recovered"]
    assert only_job(database).acknowledged_at is None
    checks.run(database, POLICY, DUE + 45 * DAY)
    assert alert_kinds(database) == ["overdue", "recovered", "overdue"]


def test_an_acknowledgement_with_an_end_is_over_then(database: Database) -> None:
    send(database, backup_body(NOON, seconds=0), NOON)
    checks.run(database, POLICY, DUE + 2 * HOUR)
    acknowledge(database, DUE + 5 * DAY)
    for day in range(1, 5):
        checks.run(database, POLICY, DUE + 2 * HOUR + day * DAY)
    assert alert_kinds(database) == ["overdue"]
    checks.run(database, POLICY, DUE + 5 * DAY + MINUTE)
    checks.run(database, POLICY, DUE + 5 * DAY + HOUR)
    assert alert_kinds(database) == ["overdue", "reminder"]


def test_an_acknowledged_failure_stays_quiet_night_after_night_and_when_it_falls_silent(
    database: Database,
) -> None:
    send(database, backup_body(NOON, ParsedResult="Fatal"), NOON)
    acknowledge(database)
    send(database, backup_body(DUE, ParsedResult="Fatal"), DUE)
    checks.run(database, POLICY, DUE + 3 * DAY)
    assert only_job(database).state == "overdue"
    assert alert_kinds(database) == ["failed"]
    send(database, backup_body(DUE + 4 * DAY), DUE + 4 * DAY)
    assert alert_kinds(database) == ["failed", "recovered"]


def test_what_became_overdue_in_quiet_is_told_once_the_acknowledgement_is_withdrawn(
    database: Database,
) -> None:
    """Even where nobody is reminded: it was never told that it is overdue."""
    policy = Policy(3600, "onetime")
    send(database, backup_body(NOON, ParsedResult="Fatal"), NOON)
    acknowledge(database)
    checks.run(database, policy, DUE + 2 * HOUR)
    assert alert_kinds(database) == ["failed"]
    with database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.acknowledged_at = None
        record.settings_changed(job, policy, DUE + 3 * HOUR)
    for day in range(1, 5):
        checks.run(database, policy, DUE + 3 * HOUR + day * DAY)
    assert len(alert_kinds(database)) == 2


# --- the page


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture
def overdue_job(here: Site) -> int:
    now = utcnow()
    send(here.database, backup_body(now - 3 * DAY), now)
    checks.run(here.database, POLICY, now)
    return only_job(here.database).id


def test_an_administrator_acknowledges_on_the_page_and_takes_it_back(here: Site, overdue_job: int) -> None:
    admin = here.administrator()
    page = f"/jobs/{overdue_job}"
    assert "I know: be quiet about it" in admin.get(page).text
    assert admin.post(f"{page}/acknowledge", data={"until": "2030-07-01T08:00"}).status_code == 302
    shown = admin.get(page).text
    assert "Acknowledged by admin on" in shown
    assert "quiet until Mon 1 Jul 2030, 08:00" in shown
    assert only_job(here.database).attention_at == datetime.fromisoformat("2030-07-01T06:00:00Z")
    assert admin.post(f"{page}/acknowledge/withdraw").status_code == 302
    assert only_job(here.database).attention_at < utcnow() + DAY
    assert [each.after for each in here.audit("alert acknowledged")] == ["2030-07-01T06:00:00Z"]
    assert len(here.audit("acknowledgement withdrawn")) == 1


def test_a_time_that_is_over_is_refused_beside_the_field(here: Site, overdue_job: int) -> None:
    answer = here.administrator().post(f"/jobs/{overdue_job}/acknowledge", data={"until": "2020-01-01T00:00"})
    assert answer.status_code == 400
    assert "This time is over already." in answer.text
    assert only_job(here.database).acknowledged_at is None


def test_a_good_backup_has_nothing_to_acknowledge(here: Site) -> None:
    now = utcnow()
    send(here.database, backup_body(now), now)
    job_id = only_job(here.database).id
    admin = here.administrator()
    assert admin.post(f"/jobs/{job_id}/acknowledge").status_code == 302
    assert "Nothing to acknowledge" in admin.get(f"/jobs/{job_id}").text
    assert only_job(here.database).acknowledged_at is None


def test_a_viewer_sees_it_and_may_not_change_it(here: Site, overdue_job: int) -> None:
    here.administrator().post(f"/jobs/{overdue_job}/acknowledge")
    viewer = here.viewer()
    shown = viewer.get(f"/jobs/{overdue_job}").text
    assert "quiet until it recovers" in shown
    assert "/acknowledge" not in shown
    assert viewer.post(f"/jobs/{overdue_job}/acknowledge").status_code == 403


# --- maintenance windows


ONCE = {"name": "Rack", "zone": "Europe/Paris", "starts": "2030-01-05T20:00", "ends": "2030-01-06T02:00"}
WEEKLY = {"name": "Patching", "zone": "Europe/Paris", "days": ["sat"], "start": "22:00", "minutes": "240"}


def test_windows_are_added_shown_and_removed_on_their_page(here: Site, overdue_job: int) -> None:
    admin = here.administrator()
    assert admin.post("/settings/maintenance/once", data=ONCE).status_code == 302
    assert admin.post("/settings/maintenance/weekly", data=WEEKLY | {"server": "nas"}).status_code == 302
    assert admin.post("/settings/maintenance/weekly", data=WEEKLY | {"job": overdue_job}).status_code == 302
    page = admin.get("/settings/maintenance").text
    assert "Sat 5 Jan 2030, 20:00" in page
    assert "Saturday from 22:00 for 4 h" in page
    assert [each.after for each in here.audit("maintenance window added")] == [
        "2030-01-05T19:00Z to 2030-01-06T01:00Z, all",
        "sat 22:00 for 240 min, Europe/Paris, server 1",
        "sat 22:00 for 240 min, Europe/Paris, job 1",
    ]
    asked = admin.get("/settings/maintenance/1/remove").text
    assert "Remove the window Rack?" in asked
    assert "by their usual deadline" in asked
    assert admin.post("/settings/maintenance/1/remove").status_code == 302
    assert "Sat 5 Jan 2030, 20:00" not in admin.get("/settings/maintenance").text
    assert admin.post("/settings/maintenance/1/remove").status_code == 404


@pytest.mark.parametrize(
    ("path", "changed", "complaint"),
    [
        ("once", {"ends": "2030-01-05T20:00"}, 'id="once-ends-wrong"'),
        ("once", {"starts": ""}, 'id="once-starts-wrong"'),
        ("once", {"zone": "Mars/Olympus"}, 'id="once-zone-wrong"'),
        ("once", {"server": "nobody"}, 'id="once-server-wrong"'),
        ("weekly", {"days": []}, 'id="days-wrong"'),
        ("weekly", {"start": "25:00"}, 'id="start-wrong"'),
        ("weekly", {"minutes": "0"}, 'id="minutes-wrong"'),
        ("weekly", {"minutes": "a lot"}, 'id="minutes-wrong"'),
        ("weekly", {"name": ""}, 'id="name-wrong"'),
    ],
)
def test_a_wrong_window_is_refused_beside_its_field(
    here: Site, path: str, changed: dict[str, object], complaint: str
) -> None:
    entered = (ONCE if path == "once" else WEEKLY) | changed
    answer = here.administrator().post(f"/settings/maintenance/{path}", data=entered)
    assert answer.status_code == 400
    assert complaint in answer.text
    assert here.audit("maintenance window added") == []


def test_the_page_offers_a_window_for_the_job_it_was_opened_from(here: Site, overdue_job: int) -> None:
    admin = here.administrator()
    assert "Documents nightly" in admin.get(f"/settings/maintenance?job={overdue_job}").text
    for number in ("77", "0", "-1", "9" * 30):
        assert admin.get(f"/settings/maintenance?job={number}").status_code == 404
    assert "Add</button>" not in here.viewer().get("/settings/maintenance").text


def test_windows_can_be_handled_from_the_command_line(here: Site, overdue_job: int) -> None:
    run = here.app.test_cli_runner().invoke
    weekly = [
        "maintenance",
        "weekly",
        "Patching",
        "--days",
        "sat,sun",
        "--start",
        "22:00",
        "--minutes",
        "240",
    ]
    once = ["maintenance", "once", "Rack", "--from", "2030-01-05T19:00Z", "--until", "2030-01-06T01:00Z"]
    assert run(args=[*weekly, "--server", "nas"]).output == (
        "Added 1: Patching, sat,sun 22:00 for 240 min, Europe/Paris, server 1.\n"
    )
    assert run(args=[*once, "--job", str(overdue_job)]).exit_code == 0
    listed = run(args=["maintenance", "list"]).output.splitlines()
    assert listed[1] == "2\tRack\t2030-01-05T19:00Z to 2030-01-06T01:00Z, job 1"
    assert "there is no job 9" in run(args=[*once, "--job", "9"]).output
    assert "none is called web" in run(args=[*weekly, "--server", "web"]).output
    assert "start_time: expected a time" in run(args=[*weekly[:-3], "9", "--minutes", "4"]).output
    assert run(args=["maintenance", "remove", "1"]).output == "Removed 1.\n"
    assert "there is no window 1" in run(args=["maintenance", "remove", "1"]).output


def test_the_reason_names_maintenance_and_our_own_downtime(here: Site) -> None:
    now = utcnow()
    send(here.database, backup_body(now - DAY - 2 * HOUR), now - DAY - 2 * HOUR)
    with here.database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        job.state, job.state_rank = "late", 2
        job.why = {
            **job.why,
            "reason": "late",
            "overdueAt": "2026-12-02T18:00:00Z",
            "maintenanceUntilAt": "2026-12-02T17:00:00Z",
            "unverified": {"beganAt": "2026-12-02T11:00:00Z", "endedAt": "2026-12-02T12:00:00Z"},
        }
    shown = here.viewer().get(f"/jobs/{job.id}").text
    assert "maintenance until Wed 2 Dec 2026, 18:00" in shown
    assert "unverified: Veilleur could not take reports from Wed 2 Dec 2026, 12:00 to" in shown
    assert "overdue from Wed 2 Dec 2026, 19:00" in shown


def test_what_no_name_can_hold_is_taken_out_of_it(here: Site) -> None:
    admin = here.administrator()
    given = {**ONCE, "name": "disk\0s\r\nnew"}
    assert admin.post("/settings/maintenance/once", data=given).status_code == 302
    (added,) = here.audit("maintenance window added")
    assert added.target.endswith(": disks new")
    assert admin.post("/settings/maintenance/once", data={**ONCE, "name": "\0"}).status_code == 400
    assert admin.post("/settings/maintenance/once", data={**ONCE, "server": "no\0ne"}).status_code == 400
