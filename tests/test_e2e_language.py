"""People of several countries at a browser: their language, their zone, and pages that bear long words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select, update

from app import clock
from app.models import Job, User
from tests import factories
from tests.browser import AGAIN, look, visit
from tests.processes import PASSWORD, Veilleur

STATES = ("overdue", "failed", "late", "new", "paused", "ok")


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("language"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web(), installed.cron():
        fill(installed)
        yield installed


def fill(veilleur: Veilleur) -> None:
    database, now = veilleur.database(), clock.utcnow()
    with database.writing() as rows:
        for name in ("greta", "nora", "claire"):
            factories.add_user(rows, name, PASSWORD, "administrator")
        rows.flush()
        rows.execute(update(User).where(User.username == "greta").values(language="de"))
        rows.execute(update(User).where(User.username == "nora").values(timezone="America/New_York"))
        server, later = factories.add_server(rows, "nas-grenier"), now + timedelta(days=9)
        for number, state in enumerate(STATES, 1):
            facts = {"expectedAt": clock.iso(now - timedelta(hours=12)), "outcome": "Fatal"}
            overdue_at = {"overdueAt": clock.iso(now - timedelta(hours=11)), "untilAt": facts["expectedAt"]}
            why = factories.why(state, **facts, **overdue_at, error="La destination est pleine")
            columns = {"why": why, "attention_at": later, "id": number}
            factories.add_job(rows, f"Documents {number}", state, server, now, **columns)
        job = rows.get_one(Job, 1)
        factories.add_schedule(rows, job)
        for day in range(5):
            factories.add_report(rows, job, ended_at=now - timedelta(days=day, hours=60), good=day != 1)
        alert, mail = factories.add_alert(rows, job), factories.add_channel(rows, "le bureau", "email")
        factories.add_delivery(rows, alert, mail, "given_up", attempts=12, detail="refused", finished_at=now)
        factories.add_quarantined(rows)
    database.dispose()


PAGES = {
    "fr-dashboard": ("/", "Documents 1"),
    "fr-job": ("/jobs/1", "Prochaine attendue"),
    "fr-monitoring": ("/settings/monitoring", "Intervalle de vérification"),
    "fr-maintenance": ("/settings/maintenance", "Fenêtres de maintenance"),
    "fr-quarantine": ("/quarantine", "Quarantaine"),
    "fr-not-found": ("/jobs/999", "Introuvable"),
}


@pytest.mark.parametrize("size", ["1280", pytest.param("390", marks=AGAIN)])
def test_the_pages_bear_french_words(browser: Browser, veilleur: Veilleur, size: str) -> None:
    problems = []
    with visit(browser, veilleur.url, size=size, locale="fr-FR") as visitor:
        page = visitor.go("/login")
        expect(page.locator("html")).to_have_attribute("lang", "fr-FR")
        expect(page.get_by_label("Mot de passe")).to_be_visible()
        problems += look(page, "fr-login", f"{size}-light")
        visitor.log_in()
        for name, (path, words) in PAGES.items():
            visitor.go(path)
            expect(page.get_by_text(words).first).to_be_visible()
            for details in page.locator("main details").all():
                details.evaluate("each => { each.open = true }")
            problems += look(page, name, f"{size}-light")
        visitor.wrong = [each for each in visitor.wrong if "404" not in each]
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=AGAIN)])
def test_an_account_in_german_overrides_a_french_browser(
    browser: Browser, veilleur: Veilleur, scheme: str
) -> None:
    with visit(browser, veilleur.url, size="390", scheme=scheme, locale="fr-FR") as visitor:
        visitor.go("/login")
        expect(visitor.page.get_by_role("button", name="Se connecter")).to_be_visible()
        visitor.log_in("greta")
        expect(visitor.page.locator("html")).to_have_attribute("lang", "de")
        expect(visitor.page.get_by_role("button", name="Abmelden")).to_be_visible()
        problems = look(visitor.page, "de-dashboard", f"390-{scheme}")
        visitor.go("/jobs/1")
        problems += look(visitor.page, "de-job", f"390-{scheme}")
    assert problems == []


def test_somebody_in_new_york_reads_and_enters_times_of_new_york(
    browser: Browser, veilleur: Veilleur
) -> None:
    with visit(browser, veilleur.url, locale="en-US") as visitor:
        visitor.log_in("nora")
        page = visitor.go("/jobs/6")
        expect(page.get_by_text("America/New_York").first).to_be_visible()
        for details in page.locator("main details").all():
            details.evaluate("each => { each.open = true }")
        form = page.locator("form[action$='/pause']")
        form.locator("input[name=until]").fill("2030-07-01T20:00")
        form.locator("button").click()
        expect(page.get_by_text(re.compile(r"Paused until Mon, Jul 1, 2030, 8:00\sPM"))).not_to_have_count(0)
        visitor.go("/")
        expect(page.get_by_text(re.compile(r"Jul 1, 2030, 8:00\sPM"))).not_to_have_count(0)
    database = veilleur.database()
    with database.reading() as rows:
        until_at = rows.scalar(select(Job.paused_until_at).where(Job.id == 6))
    database.dispose()
    assert until_at == datetime(2030, 7, 2, 0, 0, tzinfo=UTC)
    with visit(browser, veilleur.url, locale="fr-FR") as visitor:
        visitor.log_in("claire")
        page = visitor.go("/jobs/6")
        expect(page.get_by_text("En pause jusqu’à mar. 2 juil. 2030, 02:00")).not_to_have_count(0)
