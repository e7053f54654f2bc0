"""A disabled time, a heartbeat and missing checks as a person sees them: real processes, a real Chromium."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from sqlalchemy import update

from app import clock
from app.models import TaskRun
from tests.browser import SIZES, Visitor, look
from tests.processes import Veilleur
from tests.receivers import HttpReceiver
from tests.test_e2e_browser import job_id

__all__ = ["job_id"]  # a fixture

SECRET = "3f0c1b6e-0d2a-4b7e"
VARIANTS = [("1280", "light"), ("390", "dark")]


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    with HttpReceiver() as receiver:
        folder = tmp_path_factory.mktemp("watch")
        url = f"{receiver.url}/ping/{SECRET}"
        installed = Veilleur(folder, {"VEILLEUR_TIMEZONE": "Europe/Paris", "VEILLEUR_HEARTBEAT_URL": url})
        with installed.web():
            yield installed


def look_at(browser: Browser, veilleur: Veilleur, name: str, words: str, paths: dict[str, str]) -> list[str]:
    """Every page in every variant: the words are there, and axe and the ruler find nothing."""
    problems = []
    for size, scheme in VARIANTS:
        width, height = SIZES[size]
        context: BrowserContext = browser.new_context(
            locale="en-GB",
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        visitor = Visitor(context, veilleur.url)
        visitor.log_in()
        for page_name, path in paths.items():
            page = visitor.go(path)
            expect(page.get_by_text(words).first).to_be_visible()
            problems += look(page, f"{name}-{page_name}", f"{size}-{scheme}")
        assert visitor.wrong == []
        context.close()
    return problems


def test_what_watches_the_watcher_is_seen_on_every_page(
    browser: Browser, veilleur: Veilleur, job_id: int
) -> None:
    pages = {"dashboard": "/", "monitoring": "/settings/monitoring"}
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    visitor = Visitor(context, veilleur.url)
    visitor.log_in()
    with veilleur.cron() as cron:
        page = visitor.go("/settings/monitoring")
        page.get_by_role("button", name="Check now").click()
        expect(page.get_by_text("messages sent.")).to_be_visible()
        visitor.go("/settings/monitoring")
        expect(page.get_by_text("check completed")).to_be_visible()
        assert SECRET not in page.content()

        end = clock.utcnow() + timedelta(days=2)
        page.get_by_label("Disabled: nobody").check()
        page.get_by_label("Disabled until").fill(end.strftime("%Y-%m-%dT06:00"))
        page.get_by_role("button", name="Save", exact=True).first.click()
        banner = re.compile(r"Nobody is told about a missing backup until .*, 06:00\. From then on again")
        expect(page.get_by_text(banner)).to_be_visible()
        found = look_at(browser, veilleur, "disabled", "Monitoring is disabled.", pages)
        page.get_by_label("Every 20 minutes").check()
        page.get_by_role("button", name="Save", exact=True).first.click()
        expect(page.get_by_text("Saved. In force: Every 20 minutes.")).to_be_visible()
        expect(page.get_by_text("Monitoring is disabled.")).to_have_count(0)
        cron.stop(signal.SIGKILL)
    make_checks_older(veilleur, hours=3)
    found += look_at(browser, veilleur, "stale", "The last check is too long ago", pages)
    context.close()
    assert found == []


def make_checks_older(veilleur: Veilleur, hours: int) -> None:
    database, at = veilleur.database(), clock.utcnow() - timedelta(hours=hours)
    with database.writing() as rows:
        rows.execute(update(TaskRun).values(started_at=at, finished_at=at))
    database.dispose()
    file = veilleur.instance / "cron.json"
    text = re.sub(r'"updatedAt": "[^"]*"', '"updatedAt": "2026-01-01T00:00:00Z"', file.read_text())
    file.write_text(text)
