"""A person at a browser: the real web application, the real cron service, a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from app import clock
from app.models import Job, MaintenanceWindow
from tests import factories
from tests.browser import Visitor, look
from tests.conftest import SAMPLES
from tests.processes import Veilleur, until


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    folder = tmp_path_factory.mktemp("browser")
    installed = Veilleur(folder, {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web(), installed.cron():
        yield installed


def test_an_interval_chosen_in_the_form_is_in_force_at_once(visitor: Visitor, veilleur: Veilleur) -> None:
    page = visitor.page
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Every 5 minutes").check()
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.get_by_text("Saved. In force: Every 5 minutes.")).to_be_visible()
    expect(page.get_by_label("Every 5 minutes")).to_be_checked()
    health = requests.get(f"{veilleur.url}/api/cron/health", timeout=30).json()
    assert health["interval"] == "5min"
    config = requests.get(f"{veilleur.url}/api/cron-config", timeout=30).json()
    assert config == {"cronExpression": "*/5 * * * *", "enabled": True}
    planned = clock.from_iso(health["nextRunTimes"]["overdue-backup-check"])
    assert planned - clock.utcnow() <= timedelta(minutes=5)


def test_check_now_runs_the_check_and_tells_what_it_found(visitor: Visitor) -> None:
    page = visitor.go("/settings/monitoring")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_text("messages sent.")).to_be_visible()
    expect(page.get_by_text("running", exact=True)).to_be_visible()


def test_a_page_left_by_logging_out_asks_for_the_password_again(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.page.wait_for_url("**/login")
    visitor.go("/quarantine")
    assert urlsplit(visitor.page.url).path == "/login"


def test_a_disabled_check_is_said_loudly_on_every_page_about_it(visitor: Visitor) -> None:
    page = visitor.go("/settings/monitoring")
    page.get_by_role("radio", name="Disabled").check()
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.get_by_text("Monitoring is disabled.")).to_be_visible()
    visitor.go("/")
    expect(page.get_by_text("Monitoring is disabled.")).to_be_visible()
    visitor.go("/settings/monitoring")
    page.get_by_label("Every 20 minutes").check()
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.get_by_text("Saved. In force: Every 20 minutes.")).to_be_visible()
    expect(page.get_by_text("Monitoring is disabled.")).to_have_count(0)


@pytest.fixture(scope="module")
def job_id(veilleur: Veilleur) -> int:
    return fill(veilleur)


def fill(veilleur: Veilleur) -> int:
    """One job in every state, with a history; the id of the overdue one."""
    database, now = veilleur.database(), clock.utcnow()
    body = (SAMPLES / "069-live-2.0.7.1-backup-unreadable-warning.json").read_bytes()
    with database.writing() as rows:
        attic, office = factories.add_server(rows, "nas-attic"), factories.add_server(rows, "office-pc")
        for name, state, server in (
            ("Accounts & invoices <2026>", "failed", office),
            ("Photos", "late", attic),
            ("New laptop", "new", office),
            ("Old archive", "paused", attic),
            ("Mail", "ok", office),
            ("Virtual machines", "ok", attic),
        ):
            # Nothing is due, so that a check in between leaves the picture as it is.
            factories.add_job(
                rows, name, state, server, now, why=_why(state), attention_at=now + timedelta(days=9)
            )
        job = factories.add_job(
            rows,
            "Documents",
            "overdue",
            attic,
            now,
            why=_why("overdue"),
            attention_at=now + timedelta(days=9),
            expected_at=now - timedelta(hours=12),
            last_good_at=now - timedelta(hours=60),
            tolerance_seconds=5400,
        )
        factories.add_schedule(rows, job)
        for day in range(30):
            ended_at = now - timedelta(days=day, hours=60)
            good = day % 9 != 4
            factories.add_report(
                rows,
                job,
                body,
                ended_at=ended_at,
                good=good,
                outcome="Success" if good else "Fatal",
                error=None if good else "UserInformationException: The destination is full",
            )
        alert = factories.add_alert(rows, job, created_at=now - timedelta(hours=11))
        rows.add_all(_windows(now))
        rows.execute(
            update(Job)
            .where(Job.state == "failed")
            .values(acknowledged_at=now - timedelta(hours=2), acknowledged_by="admin")
        )
        phone, mail = factories.add_channel(rows), factories.add_channel(rows, "the office", "email")
        factories.add_delivery(rows, alert, phone, detail="200 OK")
        mail.fallback_id, mail.failing_since_at = phone.id, now - timedelta(hours=11)
        mail.last_error = "refused the login: 535 5.7.8 Authentication credentials invalid"
        lost = factories.add_alert(rows, job, created_at=now - timedelta(days=6))
        factories.add_delivery(rows, lost, mail, "given_up", attempts=12, finished_at=now, detail="refused")
        factories.add_delivery(rows, lost, phone, fallback_for="the office", detail="200 OK")
        factories.add_delivery(
            rows,
            alert,
            mail,
            "pending",
            attempts=3,
            next_attempt_at=now + timedelta(hours=1),
            detail="refused",
        )
        factories.add_quarantined(
            rows, reason="Set --allow-paths-in-log-messages=true in Duplicati, so that it works."
        )
        factories.add_quarantined(
            rows, b"x" * 52_000, reason="The message is not a report.", missing_fields=[]
        )
        number = job.id
    database.dispose()
    return number


def _windows(now: datetime) -> list[MaintenanceWindow]:
    once = {"starts_at": now, "ends_at": now + timedelta(hours=6)}
    weekly = {"weekdays": "sat,sun", "start_time": "22:00", "duration_minutes": 240}
    return [
        MaintenanceWindow(name="Moving the rack", zone="Europe/Paris", created_at=now, **once),
        MaintenanceWindow(name="Patching", zone="Europe/Paris", created_at=now, server_id=1, **weekly),
    ]


def _why(state: str) -> dict[str, object]:
    facts: dict[str, object] = {}
    if state == "late":
        facts = {
            "maintenanceUntilAt": "2026-11-22T23:00:00Z",
            "unverified": {"beganAt": "2026-11-22T20:00:00Z", "endedAt": "2026-11-22T21:30:00Z"},
        }
    if state == "failed":
        facts = {"outcome": "Fatal", "lastReportAt": "2026-11-22T21:03:00Z", "error": "The folder is missing"}
    return factories.why(state, **facts)


def test_an_empty_installation_leads_by_the_hand(browser: Browser, tmp_path: Path) -> None:
    fresh = Veilleur(tmp_path)
    with fresh.web() as web:
        until(lambda: "api_key=" in web.output, "the upload key")
        context = browser.new_context(viewport={"width": 390, "height": 844})
        visitor = Visitor(context, fresh.url)
        visitor.log_in()
        page = visitor.page
        expect(page.get_by_role("heading", name="Connect your first backup")).to_be_visible()
        expect(page.get_by_role("heading", name="First steps")).to_be_visible()
        lines = page.get_by_text(f"--send-http-json-urls={fresh.url}/api/upload?api_key=")
        expect(lines.or_(page.get_by_role("link", name="Connect Duplicati"))).to_be_visible()
        # No cron service was started: that is said, and how to start it.
        expect(page.get_by_text("flask cron-start")).to_be_visible()
        assert look(page, "empty", "390-light") == []
        visitor.go("/settings/monitoring")
        expect(page.get_by_text("The cron service is not running.")).to_be_visible()
        (fresh.instance / "cron.json").write_text("{")
        visitor.go("/settings/monitoring")
        expect(page.get_by_text("is damaged or can't be read")).to_be_visible()
        assert look(page, "damaged", "390-light") == []
        assert visitor.wrong == []
        context.close()
