"""Somebody at a browser who sets Veilleur up: monitoring, retention, quarantine, health, status page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session

from app import clock, interval, stored_settings
from app.models import TaskRun
from tests import factories
from tests.browser import OPPOSITES, Visitor, clock_stopped, look, visit
from tests.processes import Veilleur

CHECK = "overdue-backup-check"


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    folder = tmp_path_factory.mktemp("settings")
    installed = Veilleur(folder, {"VEILLEUR_TIMEZONE": "Europe/Paris", "VEILLEUR_GROUP_LIMIT": "5"})
    with installed.web(), installed.cron():
        fill(installed)
        yield installed


def fill(veilleur: Veilleur) -> None:
    """Published jobs with a history, checks that went well and badly, and bodies nobody could read."""
    database, now = veilleur.database(), clock.utcnow()
    # So that hardly ever a check of its own comes between what a test does and what it then looks for.
    interval.save(veilleur.instance / interval.FILE_NAME, "2hours", updated_by="admin", now=now)
    with database.writing() as rows:
        attic, office = factories.add_server(rows, "nas-attic"), factories.add_server(rows, "office-pc")
        for name, public, state, server in (
            ("Photos", "Pictures", "ok", attic),
            ("Accounts & invoices <2026>", "Accounts", "overdue", office),
            ("Mail", None, "late", office),
            ("Virtual machines", None, "failed", attic),
            ("New laptop", None, "new", office),
        ):
            far = {"attention_at": now + timedelta(days=9), "public_name": public}
            job = factories.add_job(rows, name, state, server, now, is_published=True, **far)
            for day in range(28):
                if (day + job.id) % 11:
                    good = bool((day * job.id) % 7)
                    factories.add_report(rows, job, ended_at=now - timedelta(days=day, hours=2), good=good)
        for name in ("Archive", "Documents"):
            factories.add_job(rows, name, "ok", attic, now, attention_at=now + timedelta(days=9))
        add_runs(rows, now)
        factories.add_channel(rows)
        factories.add_channel(rows, "the office", "email", failing_since_at=now, last_error="refused")
        factories.add_quarantined(rows, b'{"Data": {"ParsedResult": "Success"},\n "Extra": {}}' * 40)
        factories.add_quarantined(rows, b"x" * 90_000, reason="The message is not a report.")
        names = {"enabled": "1", "title": "Backups of the workshop", "introduction": "Questions: ask Anna."}
        for name, value in names.items():
            stored_settings.store(rows, f"status_page_{name}", value, by="admin", now=now)
    database.dispose()


def add_runs(rows: Session, now: datetime) -> None:
    told = {"totalBackupConfigs": 7, "checkedBackups": 7, "overdueBackupsFound": 1, "notificationsSent": 0}
    for back in range(70, 0, -1):
        failed = back == 14
        at = now - timedelta(minutes=20 * back)
        message = "OperationalError: database or disk is full" if failed else "Checked 7 of 7"
        run = factories.add_check(
            rows,
            at,
            succeeded=not failed,
            message=message,
            statistics={} if failed else told,
            holder="nas-attic:812:5f2c90aa",
        )
        if back == 9:
            run.finished_at, run.succeeded = None, None
    for task, statistics in (
        ("retention-cleanup", {"reports": 12, "sessions": 2}),
        ("audit-log-cleanup", {}),
    ):
        factories.add_check(rows, now - timedelta(hours=5), task=task, statistics=statistics)  # type: ignore[arg-type]


PAGES = {
    "monitoring-settings": "/settings/monitoring",
    "monitoring-task": "/settings/monitoring?task=retention-cleanup",
    "retention": "/settings/retention",
    "retention-confirm": "/settings/retention/confirm?report_days=10&audit_days=365",
    "quarantine-list": "/quarantine",
    "quarantine-body": "/quarantine/1",
    "quarantine-delete": "/quarantine/2/delete-older",
    "about": "/settings/about",
    "status-settings": "/settings/status-page?q=",
    "status": "/status",
}


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_every_page_is_accessible_and_fits_the_screen(
    browser: Browser, veilleur: Veilleur, scheme: str, size: str
) -> None:
    problems: list[str] = []
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        for name, path in PAGES.items():
            page = visitor.go(path)
            page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
            problems += look(page, name, f"{size}-{scheme}")
    assert problems == []


def test_a_tolerance_for_all_jobs_is_saved_and_a_wrong_one_is_explained(visitor: Visitor) -> None:
    page = visitor.go("/settings/monitoring")
    page.get_by_label("Tolerance in minutes").fill("99999")
    # The browser itself would say so before.
    page.locator("form").evaluate_all("all => all.forEach(each => { each.noValidate = true })")
    page.get_by_role("button", name="Save Tolerance in minutes").click()
    expect(page.get_by_text("Expected: a whole number of minutes")).to_be_visible()
    expect(page.get_by_label("Tolerance in minutes")).to_have_value("99999")
    visitor.wrong.clear()  # the browser logs the answer 400
    page.get_by_label("Tolerance in minutes").fill("60")
    page.get_by_role("button", name="Save Tolerance in minutes").click()
    expect(page.get_by_text("Nothing has changed.")).to_be_visible()
    expect(page.get_by_text("Set by VEILLEUR_GROUP_LIMIT.")).to_be_visible()


def test_the_page_renews_itself_and_leaves_alone_whoever_types(visitor: Visitor, veilleur: Veilleur) -> None:
    page = visitor.go("/settings/monitoring")
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    page.get_by_label("Tolerance in minutes").fill("77")
    database = veilleur.database()
    with database.writing() as rows:
        rows.add(
            TaskRun(
                task=CHECK,
                cause="manual",
                started_at=clock.utcnow(),
                finished_at=clock.utcnow(),
                succeeded=False,
                message="a failure that has just happened",
            )
        )
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#history").get_by_text("a failure that has just happened")).to_be_visible()
    expect(page.locator("#troubles").get_by_text("The last check failed.")).to_be_visible()
    expect(page.get_by_label("Tolerance in minutes")).to_have_value("77")
    expect(page.get_by_label("Tolerance in minutes")).to_be_focused()
    with database.writing() as rows:
        rows.query(TaskRun).filter(TaskRun.message == "a failure that has just happened").delete()
    database.dispose()


def test_a_job_is_put_on_the_status_page_and_a_stranger_sees_it(
    browser: Browser, visitor: Visitor, veilleur: Veilleur
) -> None:
    page = visitor.go("/settings/status-page")
    page.get_by_label("Its name, or its server, begins with").fill("docu")
    page.get_by_role("button", name="Search").click()
    page.get_by_label("Public name of Documents").fill("Papers")
    page.get_by_role("button", name="Add Documents").click()
    expect(page.get_by_text("Saved: shown as Papers.")).to_be_visible()
    page.get_by_text("Badge Documents").click()
    with clock_stopped(page):
        page.locator("details[open]").get_by_role("button", name="Copy Markdown").click()
        expect(page.locator("details[open]").get_by_role("button", name="Copied")).to_be_visible()
    with visit(browser, veilleur.url, size="390") as stranger:
        shown = stranger.go("/status")
        expect(shown.get_by_text("Papers")).to_be_visible()
        expect(shown.get_by_text("nas-attic")).to_have_count(0)
        assert stranger.page.context.cookies() == []
    page.get_by_role("button", name="Remove Documents").click()
    expect(page.get_by_text("No longer shown on the status page.")).to_be_visible()


def test_a_shorter_time_asks_before_it_deletes(visitor: Visitor) -> None:
    page = visitor.go("/settings/retention")
    page.get_by_label("Days that reports are kept").fill("20")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Keep less?")).to_be_visible()
    page.get_by_role("link", name="Leave it as it is").click()
    expect(page.get_by_label("Days that reports are kept")).to_have_value("730")
