"""The pages: what they say, what they change, whom they let in."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select, text
from werkzeug.test import TestResponse

from app import accounts, clock, installation, interval, sentences, settings
from app.assembly import create_app
from app.db import EXTENSION, Database
from app.models import AuditEntry, Job, QuarantinedBody, Report
from app.reports.sections import DAMAGED
from app.version import VERSION
from tests import databases, factories
from tests.conftest import CHECKOUT, SAMPLES, unused_port

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """An application on a database of its own, and somebody in front of it."""

    app: Flask
    client: FlaskClient

    @property
    def database(self) -> Database:
        found: Database = self.app.extensions[EXTENSION]
        return found

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, **fields: Any) -> TestResponse:
        token = self.client.get("/api/csrf").get_json()["csrfToken"]
        return self.client.post(path, data={"csrf_token": token, **fields})

    def log_in(self, username: str) -> Site:
        client = self.app.test_client()
        site = Site(self.app, client)
        assert site.post("/login", username=username, password=PASSWORD).status_code == 302
        return site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    environ = {
        "VEILLEUR_INSTANCE_PATH": str(tmp_path / "instance"),
        "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
        "VEILLEUR_TIMEZONE": "Europe/Paris",
        "CRON_PORT": str(unused_port()),
        **databases.environ_of(tmp_path / "instance"),
    }
    complete, _first = installation.prepare(settings.load(environ), clock.utcnow())
    app = create_app(complete)
    site = Site(app, app.test_client())
    with site.database.writing() as rows:
        factories.add_user(rows, "vera", PASSWORD, accounts.VIEWER)
    yield site
    site.database.dispose()


@pytest.fixture
def admin(site: Site) -> Site:
    return site.log_in("admin")


@pytest.fixture
def viewer(site: Site) -> Site:
    return site.log_in("vera")


@pytest.fixture
def job_id(site: Site) -> int:
    with site.database.writing() as rows:
        return factories.add_job(rows, "Documents", now=clock.utcnow()).id


def job_of(site: Site, job_id: int) -> Job:
    with site.database.reading() as rows:
        return rows.get_one(Job, job_id)


def audited(site: Site) -> list[tuple[str, str, str | None, str | None]]:
    with site.database.reading() as rows:
        entries = rows.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(each.actor, each.action, each.before, each.after) for each in entries]


def heading(answer: TestResponse) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_headline_says_that_nothing_has_reported(viewer: Site) -> None:
    answer = viewer.get("/", base_url="https://backups.example")
    assert answer.status_code == 302  # the cookie belongs to another host
    answer = viewer.get("/")
    assert heading(answer) == "No backup has reported yet"


def test_the_headline_says_that_all_are_good(viewer: Site) -> None:
    with viewer.database.writing() as rows:
        for number in range(3):
            factories.add_job(rows, f"job {number}")
    assert heading(viewer.get("/")) == "All 3 backups were good by their last reports"
    with viewer.database.writing() as rows:
        factories.add_check(rows)
    assert heading(viewer.get("/")) == "All 3 backups are good"


def test_the_headline_names_the_worst_first(viewer: Site) -> None:
    with viewer.database.writing() as rows:
        for state in ("ok", "paused", "failed", "overdue", "overdue", "ok", "ok"):
            factories.add_job(rows, state, state)
    assert heading(viewer.get("/")) == "2 overdue, 1 failing, 1 paused, 3 good"


def test_the_worst_jobs_come_first_and_each_page_continues_the_one_before(viewer: Site) -> None:
    states = ["overdue", "failed", "late", "new", "paused", "ok"]
    with viewer.database.writing() as rows:
        server = factories.add_server(rows)
        for number in range(120):
            # Some names are the same, so that the id has to decide.
            factories.add_job(rows, f"{number // 12}. a&b/c", states[number % 6], server)
        expected = list(rows.scalars(select(Job.id).order_by(Job.state_rank, Job.name, Job.id)))
    seen, path, pages = [], "/", 0
    while path:
        text_ = viewer.get(path).text
        seen += [int(each) for each in re.findall(r'main-link" href="/jobs/(\d+)"', text_)]
        following = re.search(r'rel="next" href="([^"]+)"', text_)
        path, pages = following.group(1).replace("&amp;", "&") if following else "", pages + 1
    assert (seen, pages) == (expected, 3)


def test_a_state_can_be_looked_at_alone(viewer: Site) -> None:
    with viewer.database.writing() as rows:
        factories.add_job(rows, "the good one", "ok")
        factories.add_job(rows, "the bad one", "failed")
    answer = viewer.get("/?state=failed")
    assert "the bad one" in answer.text
    assert "the good one" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "state=nonsense",
        "after=1",
        "after=1.2",
        "after=x.1.name",
        "after=1." + "9" * 30 + ".name",
        "after=²..",
        "after=1.2.a%00b",
    ],
)
def test_a_made_up_query_is_not_found(viewer: Site, query: str) -> None:
    assert viewer.get(f"/?{query}").status_code == 404


def test_the_first_page_takes_the_same_queries_for_one_job_and_for_fifty(viewer: Site) -> None:
    def queries() -> int:
        ran: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            ran.append(statement)

        event.listen(viewer.database.engine, "before_cursor_execute", note)
        assert viewer.get("/").status_code == 200
        event.remove(viewer.database.engine, "before_cursor_execute", note)
        return sum(each.startswith("SELECT") for each in ran)

    with viewer.database.writing() as rows:
        factories.add_job(rows, "first")
    before = queries()
    with viewer.database.writing() as rows:
        for number in range(49):
            factories.add_job(rows, f"job {number}", "late")
    assert queries() == before <= 10


def test_a_check_that_stopped_running_is_said_loudly(viewer: Site) -> None:
    assert "No check has run yet." in viewer.get("/").text
    with viewer.database.writing() as rows:
        factories.add_check(rows, clock.utcnow() - timedelta(minutes=40))
    assert "is too long ago" not in viewer.get("/").text
    with viewer.database.writing() as rows:
        rows.execute(text("DELETE FROM task_run"))
        factories.add_check(rows, clock.utcnow() - timedelta(minutes=42))
    assert "is too long ago" in viewer.get("/").text


def test_a_disabled_and_a_damaged_interval_are_said_loudly(viewer: Site) -> None:
    path = Path(viewer.app.instance_path) / interval.FILE_NAME
    interval.save(path, "disabled", updated_by="admin", now=clock.utcnow())
    assert "Monitoring is disabled." in viewer.get("/").text
    path.write_text("{")
    assert "is damaged" in viewer.get("/").text
    answer = viewer.get("/settings/monitoring")
    assert "is damaged or can't be read" in answer.text
    assert "writes the file anew and repairs it" in answer.text


def test_the_monitoring_page_says_when_the_cron_service_is_gone(viewer: Site, admin: Site) -> None:
    answer = viewer.get("/settings/monitoring")
    assert "The cron service is not running." in answer.text
    assert answer.text.count('type="radio"') == 9
    assert "Save" not in answer.text
    assert "Check now" not in answer.text
    assert "Check now" in admin.get("/settings/monitoring").text


HOSTILE = "<script>alert(1)</script>\"'&"


def test_names_from_reports_are_shown_as_text(admin: Site) -> None:
    with admin.database.writing() as rows:
        server = factories.add_server(rows, HOSTILE)
        facts = factories.why("failed", error=HOSTILE, outcome=HOSTILE)
        job = factories.add_job(rows, HOSTILE, "failed", server, why=facts)
        report = factories.add_report(rows, job, HOSTILE.encode(), error=HOSTILE, duplicati_version=HOSTILE)
        alert = factories.add_alert(rows, job)
        factories.add_delivery(rows, alert, factories.add_channel(rows, HOSTILE), detail=HOSTILE)
        factories.add_quarantined(rows, reason=HOSTILE, key_label=HOSTILE, missing_fields=[HOSTILE])
        page, number = f"/jobs/{job.id}", report.id
    for path in ("/", page, f"{page}/reports/{number}", f"{page}/delete", "/quarantine"):
        answer = admin.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text, path
        assert "&lt;script&gt;alert" in answer.text, path


def test_a_job_shows_state_reports_alerts_and_deliveries(viewer: Site) -> None:
    with viewer.database.writing() as rows:
        job = factories.add_job(rows, "Documents", "overdue", why=factories.why("overdue"))
        report = factories.add_report(rows, job, outcome="Fatal", good=False)
        alert = factories.add_alert(rows, job)
        factories.add_delivery(rows, alert, factories.add_channel(rows), detail="200 accepted by ntfy")
        job_id, report_id = job.id, report.id
    page = viewer.get(f"/jobs/{job_id}").text
    assert "Expected Sun 22 Nov, 22:00 Europe/Paris, from Duplicati&#39;s own schedule; tolerance 1 h" in page
    assert "last good backup Fri 20 Nov 2026, 21:58; no report since." in page
    assert "Fatal error" in page
    assert f"/jobs/{job_id}/reports/{report_id}" in page
    assert "200 accepted by ntfy" in page
    assert "Delete this job" not in page


def test_the_reports_of_a_job_are_paged_without_gap_or_repeat(viewer: Site, job_id: int) -> None:
    with viewer.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        same_at = clock.utcnow() - timedelta(days=3)
        for number in range(60):
            # Two and two end in the same instant, so that the id has to decide.
            factories.add_report(rows, job, ended_at=same_at - timedelta(hours=number // 2))
        newest = select(Report.id).order_by(Report.ended_at.desc(), Report.id.desc())
        expected = list(rows.scalars(newest))
    seen, path = [], f"/jobs/{job_id}"
    while path:
        page = viewer.get(path).text
        seen += [int(each) for each in re.findall(rf"/jobs/{job_id}/reports/(\d+)", page)]
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following.group(1).replace("&amp;", "&") if following else ""
    assert seen == expected
    assert viewer.get(f"/jobs/{job_id}?before=yesterday_1").status_code == 404


def test_a_report_shows_its_log_and_hands_its_body_to_administrators_only(
    admin: Site, viewer: Site, job_id: int
) -> None:
    body = (SAMPLES / "069-live-2.0.7.1-backup-unreadable-warning.json").read_bytes()
    with admin.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        path = f"/jobs/{job_id}/reports/{factories.add_report(rows, job, body).id}"
        other_id = factories.add_job(rows, "Other").id
    page = viewer.get(path)
    assert "A good backup." in page.text
    assert "The report carries none." not in page.text
    assert viewer.get(f"{path}/raw").status_code == 403
    raw = admin.get(f"{path}/raw")
    assert raw.data == body
    assert raw.mimetype == "text/plain"
    assert raw.headers["Content-Disposition"].startswith("attachment")
    assert viewer.get(path.replace(f"/jobs/{job_id}/", f"/jobs/{other_id}/")).status_code == 404


def test_what_does_not_exist_is_not_found(admin: Site) -> None:
    for path in (
        "/jobs/77",
        "/jobs/" + "9" * 40,
        "/jobs/77/delete",
        "/quarantine/5/raw",
        "/jobs/7/reports/1",
    ):
        assert admin.get(path).status_code == 404


def test_a_job_is_paused_until_a_time_of_the_viewer_and_resumed(admin: Site, job_id: int) -> None:
    assert admin.post(f"/jobs/{job_id}/pause", until="2030-07-01T08:00").status_code == 302
    job = job_of(admin, job_id)
    assert (job.state, job.paused_until_at) == ("paused", datetime(2030, 7, 1, 6, 0, tzinfo=UTC))
    page = admin.get(f"/jobs/{job_id}").text
    assert "Paused until Mon 1 Jul 2030, 08:00" in page
    assert admin.post(f"/jobs/{job_id}/resume").status_code == 302
    assert job_of(admin, job_id).paused_at is None
    assert job_of(admin, job_id).state == "ok"
    assert ("admin", "job paused", None, "2030-07-01T06:00:00Z") in audited(admin)
    assert ("admin", "job resumed", None, None) in audited(admin)


def test_a_pause_into_the_past_is_refused_beside_the_field(admin: Site, job_id: int) -> None:
    answer = admin.post(f"/jobs/{job_id}/pause", until="2020-01-01T08:00")
    assert answer.status_code == 400
    assert "This time is over already." in answer.text
    assert job_of(admin, job_id).paused_at is None


def test_tolerance_and_reminder_are_set_and_given_back_to_the_global_ones(admin: Site, job_id: int) -> None:
    admin.post(f"/jobs/{job_id}/tolerance", minutes="90")
    admin.post(f"/jobs/{job_id}/reminder", reminder="every_week")
    job = job_of(admin, job_id)
    assert (job.tolerance_seconds, job.reminder) == (5400, "every_week")
    admin.post(f"/jobs/{job_id}/tolerance", minutes="")
    admin.post(f"/jobs/{job_id}/reminder", reminder="")
    job = job_of(admin, job_id)
    assert (job.tolerance_seconds, job.reminder) == (None, None)
    assert ("admin", "tolerance changed", "global", "5400 s") in audited(admin)
    for wrong in ("-1", "soon", "999999"):
        assert admin.post(f"/jobs/{job_id}/tolerance", minutes=wrong).status_code == 400
    assert admin.post(f"/jobs/{job_id}/reminder", reminder="hourly").status_code == 400


def test_a_job_is_deleted_after_a_page_that_says_what_is_lost(admin: Site, job_id: int) -> None:
    assert "lost for good" in admin.get(f"/jobs/{job_id}/delete").text
    answer = admin.post(f"/jobs/{job_id}/delete")
    assert (answer.status_code, answer.location) == (302, "/")
    assert admin.get(f"/jobs/{job_id}").status_code == 404
    assert heading(admin.get("/")) == "No backup has reported yet"
    assert ("admin", "job deleted", "Documents", None) in audited(admin)


ACTIONS = ("pause", "resume", "tolerance", "reminder", "schedule", "schedule/remove", "delete")


@pytest.mark.parametrize("action", ACTIONS)
def test_settings_of_a_job_are_for_administrators(
    site: Site, viewer: Site, admin: Site, job_id: int, action: str
) -> None:
    path = f"/jobs/{job_id}/{action}"
    assert site.post(path).location.startswith("/login")
    assert viewer.post(path).status_code == 403
    assert admin.client.post(path).status_code == 400  # no CSRF token
    assert job_of(site, job_id).state == "ok"
    assert [each[1] for each in audited(site) if each[1] != "login"] == []


def test_the_quarantine_shows_hands_out_and_deletes_bodies(admin: Site, viewer: Site) -> None:
    with admin.database.writing() as rows:
        kept = factories.add_quarantined(rows, b"message=\xff\x00<b>", reason="It is no report.").id
    page = admin.get("/quarantine").text
    assert "It is no report." in page
    assert "backup-name, ParsedResult" in page
    assert "--allow-paths-in-log-messages" not in page
    raw = admin.get(f"/quarantine/{kept}/raw")
    assert (raw.data, raw.mimetype) == (b"message=\xff\x00<b>", "text/plain")
    assert raw.headers["Content-Disposition"].startswith("attachment")
    for path in ("/quarantine", f"/quarantine/{kept}/raw"):
        assert viewer.get(path).status_code == 403
    assert viewer.post(f"/quarantine/{kept}/delete").status_code == 403
    assert admin.post(f"/quarantine/{kept}/delete").status_code == 302
    with admin.database.reading() as rows:
        assert rows.scalars(select(QuarantinedBody)).all() == []


def test_the_quarantine_names_the_option_where_duplicati_broke_its_report(admin: Site) -> None:
    with admin.database.writing() as rows:
        for _number in range(51):
            factories.add_quarantined(rows, reason=DAMAGED)
    page = admin.get("/quarantine").text
    assert "<code>--allow-paths-in-log-messages=true</code>" in page
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following is not None
    assert admin.get(following.group(1)).text.count("Download") == 1


def test_an_error_page_needs_no_database(viewer: Site) -> None:
    with viewer.database.writing() as rows:
        rows.execute(text("DROP TABLE user_session"))
    answer = viewer.get("/")
    assert answer.status_code == 503
    assert "can&#39;t be used right now" in answer.text


def test_pages_hold_no_inline_script_or_style(admin: Site, job_id: int) -> None:
    for path in ("/", f"/jobs/{job_id}", "/settings/monitoring", "/quarantine", "/logout", "/nowhere"):
        page = admin.get(path).text
        assert "<style" not in page
        assert " style=" not in page
        assert not re.search(r"<script(?![^>]* src=)", page)
        assert not re.search(r"\son[a-z]+=", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize("why", [{}, None, [], {"reason": "unheard"}, {"expectedAt": 5, "reason": "late"}])
def test_a_reason_of_any_shape_is_told_or_left_out(site: Site, why: Any) -> None:
    with site.app.test_request_context("/"):
        told = sentences.reason(Job(name="x", why=why))
    assert isinstance(told, str)
    assert "None" not in told


def test_every_state_has_a_reason_in_words(site: Site) -> None:
    with site.app.test_request_context("/"):
        for state in sentences.STATES:
            empty = dict.fromkeys(factories.why(state)) | {"reason": state}
            for facts in (factories.why(state), empty):
                told = sentences.reason(Job(name="x", why=facts))
                assert told.endswith("."), state
                assert "None" not in told


def test_the_version_shown_is_the_version_of_the_package() -> None:
    package = configparser.ConfigParser()
    package.read(CHECKOUT / "setup.cfg")
    assert package["metadata"]["version"] == VERSION
