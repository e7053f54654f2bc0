"""The page about retention, and the quarantine's pages: nothing is lost without a warning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app import holdings, quarantine, retention
from app.clock import utcnow
from app.models import Alert, Job, QuarantinedBody, Report, StoredSetting
from tests import factories
from tests.stage import backup_body
from tests.web import LoggedIn, Site, site

PAGE = "/settings/retention"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, LoggedIn]]:
    with site(tmp_path_factory.mktemp("retention")) as made:
        yield made, made.administrator()


@pytest.fixture
def here(shared: tuple[Site, LoggedIn]) -> Site:
    """Without what a test before has left."""
    with shared[0].database.writing() as rows:
        for model in (StoredSetting, Alert, Report, Job, QuarantinedBody):
            rows.query(model).delete()
    return shared[0]


@pytest.fixture
def admin(here: Site, shared: tuple[Site, LoggedIn]) -> LoggedIn:
    return shared[1]


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def stored(here: Site) -> dict[str, str]:
    with here.database.reading() as rows:
        return {row.name: row.value for row in rows.scalars(select(StoredSetting))}


def add_reports(here: Site, *days_ago: int) -> None:
    with here.database.writing() as rows:
        job = factories.add_job(rows, now=utcnow())
        for days in days_ago:
            factories.add_report(rows, job, ended_at=utcnow() - timedelta(days=days))


# Retention


def test_longer_is_saved_at_once(here: Site, admin: LoggedIn) -> None:
    answer = admin.post(PAGE, data={"report_days": "1000", "audit_days": "400"})
    assert (answer.status_code, answer.location) == (302, PAGE)
    assert stored(here) == {"report_retention_days": "1000", "audit_retention_days": "400"}
    assert 'value="1000"' in admin.get(PAGE).text
    assert here.audit("retention of reports changed")[-1].after == "1000"


def test_shorter_is_saved_after_somebody_has_seen_what_is_lost(here: Site, admin: LoggedIn) -> None:
    add_reports(here, 5, 40, 50, 60)
    asked = admin.post(PAGE, data={"report_days": "30", "audit_days": "365"})
    assert asked.location == f"{PAGE}/confirm?report_days=30&audit_days=365"
    assert stored(here) == {}
    page = admin.get(asked.location).text
    assert re.search(r"Reports older than [^<]+</dt><dd><strong>3<", page)
    assert "Entries of the audit log" not in page
    done = admin.post(PAGE, data={"report_days": "30", "audit_days": "365", "confirmed": "1"})
    assert done.location == PAGE
    assert stored(here)["report_retention_days"] == "30"
    removed = retention.remove_stored_data(here.database, 30, utcnow())
    assert removed["reports"] == 3


def test_counting_what_is_lost_has_an_end(
    here: Site, admin: LoggedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "MOST_COUNTED", 2)
    add_reports(here, 5, 40, 50, 60, 70)
    page = admin.get(f"{PAGE}/confirm?report_days=30&audit_days=365").text
    assert "more than 2" in page


def test_the_newest_report_of_a_job_is_not_counted_as_lost(here: Site, admin: LoggedIn) -> None:
    add_reports(here, 100)
    page = admin.get(f"{PAGE}/confirm?report_days=30&audit_days=365").text
    assert re.search(r"Reports older than [^<]+</dt><dd><strong>0<", page)


@pytest.mark.parametrize("wrong", ["0", "-1", "36501", "", "x", "1.5"])
def test_a_time_that_makes_no_sense_is_refused(here: Site, admin: LoggedIn, wrong: str) -> None:
    answer = admin.post(PAGE, data={"report_days": wrong, "audit_days": "365"})
    assert answer.status_code == 400
    assert 'id="report_days-wrong"' in answer.text
    assert f'value="{wrong}"' in answer.text
    assert admin.get(f"{PAGE}/confirm?report_days={wrong}&audit_days=5").location == PAGE
    assert stored(here) == {}


def test_the_page_tells_how_much_there_is_and_what_was_deleted(here: Site, admin: LoggedIn) -> None:
    add_reports(here, 1, 33)
    with here.database.writing() as rows:
        factories.add_check(rows, task="retention-cleanup", statistics={"reports": 7, "sessions": 0})
        factories.add_check(
            rows, task="audit-log-cleanup", succeeded=False, message="OperationalError: disk is full"
        )
    page = text_of(admin.get(PAGE).text)
    assert "Deleted: 7 reports." in page
    assert "failed OperationalError: disk is full" in page
    assert re.search(r"Size of the database \d+(\.\d)? [kM]B", page)
    assert re.search(r"Oldest report \w{3} \d+ \w{3} \d{4}, \d\d:\d\d \d+ \w+ ago", page)
    assert "unknown: the cron service is not running" in page


def test_a_viewer_sees_it_and_changes_nothing(here: Site) -> None:
    viewer = here.viewer()
    page = viewer.get(PAGE)
    assert page.status_code == 200
    assert ">Save<" not in page.text
    assert viewer.post(PAGE, data={"report_days": "1", "audit_days": "1"}).status_code == 403


def test_a_time_that_a_variable_has_set_stays(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_REPORT_RETENTION_DAYS="90") as here:
        admin = here.administrator()
        assert "Set by VEILLEUR_REPORT_RETENTION_DAYS." in admin.get(PAGE).text
        assert admin.post(PAGE, data={"report_days": "80", "audit_days": "365"}).status_code == 400
        done = admin.post(PAGE, data={"report_days": "90", "audit_days": "500"})
        assert done.status_code == 302
        assert stored(here) == {"audit_retention_days": "500"}


# Quarantine


def add_body(here: Site, body: bytes, **columns: object) -> int:
    with here.database.writing() as rows:
        return factories.add_quarantined(rows, body, **columns).id


def test_a_body_can_be_looked_at_bounded_and_without_what_hides_in_it(here: Site, admin: LoggedIn) -> None:
    body = b"<script>alert(1)</script>\x00\x1b[2J\xe2\x80\xae" + b"x" * 200_000
    page = admin.get(f"/quarantine/{add_body(here, body)}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\u2400\u241b[2J\ufffd" in page
    assert len(page) < 100_000
    assert "This is its beginning" in page
    assert admin.get("/quarantine/99999").status_code == 404


def test_what_can_be_read_by_now_is_taken_in_as_if_it_had_been_then(here: Site, admin: LoggedIn) -> None:
    came_at = utcnow() - timedelta(days=3)
    report = backup_body(came_at - timedelta(hours=1))
    number = add_body(here, report, content_type="application/json", received_at=came_at)
    assert admin.post(f"/quarantine/{number}/retry").location == "/quarantine"
    with here.database.reading() as rows:
        assert rows.scalars(select(QuarantinedBody)).all() == []
        assert rows.scalars(select(Report)).one().received_at == came_at
    assert "the report of Documents nightly is stored" in admin.get("/quarantine").text
    again = add_body(here, report, content_type="application/json", received_at=came_at)
    admin.post(f"/quarantine/{again}/retry")
    assert "the same report was stored before" in admin.get("/quarantine").text
    assert len(here.audit("quarantined body taken in")) == 2


def test_what_still_can_not_be_read_stays_with_the_reason_of_today(here: Site, admin: LoggedIn) -> None:
    number = add_body(here, b"no report", reason="An old reason.", content_type="text/plain")
    assert admin.post(f"/quarantine/{number}/retry").location == f"/quarantine/{number}"
    page = admin.get(f"/quarantine/{number}").text
    assert "It still can&#39;t be read" in page
    assert "An old reason." not in page


def test_a_report_about_no_backup_leaves_the_quarantine_and_is_not_kept(here: Site, admin: LoggedIn) -> None:
    content = json.loads(backup_body(utcnow()))
    content["Data"]["MainOperation"] = content["Extra"]["OperationName"] = "Restore"
    number = add_body(here, json.dumps(content).encode(), content_type="application/json")
    admin.post(f"/quarantine/{number}/retry")
    assert "is about no backup (Restore)" in admin.get("/quarantine").text
    with here.database.reading() as rows:
        assert rows.scalars(select(Report)).all() == []


def test_the_key_that_carried_it_stands_for_the_machine_as_it_would_have(here: Site) -> None:
    with here.database.reading() as rows:
        assert quarantine._key_id(rows, "first upload key") is not None
        assert quarantine._key_id(rows, "gone") is None


def test_deleting_asks_first_and_older_ones_can_go_together(here: Site, admin: LoggedIn) -> None:
    first, second, third = (add_body(here, b"x") for _number in range(3))
    assert "is lost for good" in admin.get(f"/quarantine/{second}/delete").text
    assert "1 body that came before" in admin.get(f"/quarantine/{second}/delete-older").text
    assert admin.post(f"/quarantine/{third}/delete-older").status_code == 302
    with here.database.reading() as rows:
        assert rows.scalars(select(QuarantinedBody.id)).all() == [third]
    assert here.audit("quarantined bodies deleted")[-1].before == "2"
    assert admin.get(f"/quarantine/{first}").status_code == 404
