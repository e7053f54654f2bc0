"""A person at a browser: the real web application, the real cron service, a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import update

from app import clock
from app.db import Database
from app.models import Job, MaintenanceWindow
from tests import factories
from tests.conftest import CHECKOUT, SAMPLES, require_tool
from tests.processes import PASSWORD, Veilleur, until

SCREENSHOTS = CHECKOUT / "build" / "screenshots"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"1280": (1280, 900), "390": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    folder = tmp_path_factory.mktemp("browser")
    installed = Veilleur(folder, {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web(), installed.cron():
        yield installed


class Visitor:
    """A page that remembers everything that went wrong behind it."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.page: Page = context.new_page()
        self.origin = origin
        self.wrong: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, message: object) -> None:
        text = f"{message.type}: {message.text}"  # type: ignore[attr-defined]
        if message.type in ("error", "warning"):  # type: ignore[attr-defined]
            self.wrong.append(text)

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.wrong.append(f"left the origin: {url}")

    def go(self, path: str) -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def log_in(self) -> None:
        self.go("/login")
        self.page.get_by_label("User name").fill("admin")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(self.origin + "/")


@pytest.fixture
def visitor(browser: Browser, veilleur: Veilleur) -> Iterator[Visitor]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    visitor = Visitor(context, veilleur.url)
    yield visitor
    context.close()
    assert visitor.wrong == []


def test_an_interval_chosen_in_the_form_is_in_force_at_once(visitor: Visitor, veilleur: Veilleur) -> None:
    visitor.log_in()
    page = visitor.page
    page.get_by_role("link", name="Monitoring").click()
    page.get_by_label("Every 5 minutes").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. In force: Every 5 minutes.")).to_be_visible()
    expect(page.get_by_label("Every 5 minutes")).to_be_checked()
    health = requests.get(f"{veilleur.url}/api/cron/health", timeout=5).json()
    assert health["interval"] == "5min"
    config = requests.get(f"{veilleur.url}/api/cron-config", timeout=5).json()
    assert config == {"cronExpression": "*/5 * * * *", "enabled": True}
    planned = clock.from_iso(health["nextRunTimes"]["overdue-backup-check"])
    assert planned - clock.utcnow() <= timedelta(minutes=5)


def test_check_now_runs_the_check_and_tells_what_it_found(visitor: Visitor) -> None:
    visitor.log_in()
    page = visitor.go("/settings/monitoring")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_text("messages sent")).to_be_visible()
    expect(page.get_by_text("running", exact=True)).to_be_visible()


def test_a_page_left_by_logging_out_asks_for_the_password_again(visitor: Visitor) -> None:
    visitor.log_in()
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.page.wait_for_url("**/login")
    visitor.go("/quarantine")
    assert urlsplit(visitor.page.url).path == "/login"


def test_a_disabled_check_is_said_loudly_on_every_page_about_it(visitor: Visitor) -> None:
    visitor.log_in()
    page = visitor.go("/settings/monitoring")
    page.get_by_role("radio", name="Disabled").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Monitoring is disabled.")).to_be_visible()
    visitor.go("/")
    expect(page.get_by_text("Monitoring is disabled.")).to_be_visible()
    visitor.go("/settings/monitoring")
    page.get_by_label("Every 20 minutes").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Monitoring is disabled.")).to_have_count(0)


@pytest.fixture(scope="module")
def job_id(veilleur: Veilleur) -> int:
    return fill(veilleur.instance / "veilleur.db")


def fill(path: Path) -> int:
    """One job in every state, with a history; the id of the overdue one."""
    database, now = Database(f"sqlite:///{path}"), clock.utcnow()
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


PAGES = {
    "dashboard": "/",
    "overdue": "/?state=overdue",
    "monitoring": "/settings/monitoring",
    "maintenance": "/settings/maintenance",
    "acknowledged": "/jobs/{acknowledged}",
    "job": "/jobs/{job}",
    "report": "/jobs/{job}/reports/{report}",
    "delete": "/jobs/{job}/delete",
    "quarantine": "/quarantine",
    "logout": "/logout",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_fits_the_screen(
    browser: Browser, veilleur: Veilleur, job_id: int, scheme: str, size: str
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(
        locale="en-GB",
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    visitor = Visitor(context, veilleur.url)
    page = visitor.go("/login")
    problems = _look(page, "login", f"{size}-{scheme}")
    visitor.log_in()
    for name, path in PAGES.items():
        acknowledged = _number(veilleur, "SELECT id FROM job WHERE acknowledged_at IS NOT NULL")
        report = _number(veilleur, f"SELECT id FROM report WHERE job_id = {job_id} AND NOT good LIMIT 1")
        visitor.go(path.format(job=job_id, report=report, acknowledged=acknowledged))
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
        problems += _look(page, name, f"{size}-{scheme}")
    assert visitor.wrong == []
    # Only now: the browser itself logs an answer of 404 as an error.
    visitor.go("/no-such-page")
    problems += _look(page, "error", f"{size}-{scheme}")
    context.close()
    assert problems == []


def _number(veilleur: Veilleur, query: str) -> int:
    database = Database(f"sqlite:///{veilleur.instance / 'veilleur.db'}")
    with database.reading() as rows:
        number = int(rows.connection().exec_driver_sql(query).scalar_one())
    database.dispose()
    return number


def _look(page: Page, name: str, variant: str) -> list[str]:
    """Take the picture, then what axe and the ruler find wrong."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{variant}.png", full_page=True)
    problems = []
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append(f"{name}-{variant}: wider than the screen")
    for violation in Axe().run(page).response["violations"]:
        nodes = [node["html"][:120] for node in violation["nodes"]]
        problems.append(f"{name}-{variant}: {violation['id']}: {json.dumps(nodes)}")
    return problems


def test_an_empty_installation_leads_by_the_hand(browser: Browser, tmp_path: Path) -> None:
    fresh = Veilleur(tmp_path)
    with fresh.web() as web:
        until(lambda: "api_key=" in web.output, "the upload key")
        context = browser.new_context(viewport={"width": 390, "height": 844})
        visitor = Visitor(context, fresh.url)
        visitor.log_in()
        page = visitor.page
        expect(page.get_by_role("heading", name="Connect your first backup")).to_be_visible()
        expect(page.get_by_text(f"--send-http-json-urls={fresh.url}/api/upload?api_key=")).to_be_visible()
        # No cron service was started: that is said, and how to start it.
        expect(page.get_by_text("flask cron-start")).to_be_visible()
        assert _look(page, "empty", "390-light") == []
        visitor.go("/settings/monitoring")
        expect(page.get_by_text("The cron service is not running.")).to_be_visible()
        (fresh.instance / "cron.json").write_text("{")
        visitor.go("/settings/monitoring")
        expect(page.get_by_text("is damaged or can't be read")).to_be_visible()
        assert _look(page, "damaged", "390-light") == []
        assert visitor.wrong == []
        context.close()
