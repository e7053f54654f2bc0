"""Somebody plans a backup: the preview follows the typing, and the page works for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from app import clock
from app.db import Database
from app.models import Job, JobSchedule
from tests import factories
from tests.browser import OPPOSITES, Visitor, look, visit
from tests.processes import Veilleur

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("schedule"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web():
        yield installed


@pytest.fixture(scope="module")
def database(veilleur: Veilleur) -> Iterator[Database]:
    opened = veilleur.database()
    yield opened
    opened.dispose()


@pytest.fixture
def job_id(database: Database) -> int:
    return fill(database, clock.utcnow())


def fill(database: Database, now: datetime) -> int:
    """Ninety evenings at 22:00 in Paris, of which a few failed and a few never came."""
    evening = now.astimezone(PARIS).replace(hour=22, minute=0, second=25, microsecond=0, tzinfo=None)
    with database.writing() as rows:
        job = factories.add_job(rows, "Accounts & invoices", now=now, declared_next_at=None)
        for number in range(120):
            if number in (11, 12, 40, 71):
                continue
            began_at = (evening - (number + 1) * DAY).replace(tzinfo=PARIS).astimezone(UTC)
            good = number not in (20, 55)
            outcome = "Success" if good else "Error"
            factories.add_report(
                rows, job, began_at=began_at, ended_at=began_at + 9 * MINUTE, good=good, outcome=outcome
            )
        newest_at = (evening - DAY).replace(tzinfo=PARIS).astimezone(UTC)
        job.last_began_at, job.last_ended_at = newest_at, newest_at + 9 * MINUTE
        job.expected_at = job.until_at = newest_at + DAY
        job.expected_source = "default"
        return job.id


def test_the_preview_follows_the_typing_without_a_reload(visitor: Visitor, job_id: int) -> None:
    page = visitor.go(f"/jobs/{job_id}/schedule/edit")
    page.evaluate("window.untouched = true")
    shown = page.locator("#preview")
    expect(shown.get_by_text("Every day at 22:00", exact=True)).to_be_visible()
    page.get_by_label("Number", exact=True).fill("6")
    page.get_by_label("Unit", exact=True).select_option("h")
    expect(shown.get_by_text("Every 6 hours, counted from 22:00", exact=True)).to_be_visible()
    expect(shown.locator("code")).to_have_text("6h")
    page.get_by_label("As Duplicati writes it", exact=True).check()
    page.get_by_label("Repeat as Duplicati writes it").fill("2W")
    expect(shown.get_by_text(re.compile("^Every 2 weeks, on [A-Z][a-z]+ at 22:00$"))).to_be_visible()
    page.get_by_label("Repeat as Duplicati writes it").fill("2w")
    expect(shown.get_by_text("As it is typed, this is no schedule yet:").first).to_be_visible()
    expect(shown.get_by_text("Expected: whole numbers").first).to_be_visible()
    page.get_by_label("Repeat as Duplicati writes it").fill("1D")
    page.get_by_label("Monday").check()
    expect(shown.get_by_text("Every day, on Monday at 22:00", exact=True)).to_be_visible()
    expect(page.locator("[data-preview-say]")).to_contain_text("Every day, on Monday at 22:00.")
    assert page.evaluate("window.untouched") is True


def test_a_schedule_is_taken_over_from_the_reports_and_saved(
    visitor: Visitor, database: Database, job_id: int
) -> None:
    page = visitor.go(f"/jobs/{job_id}/schedule/edit")
    expect(page.get_by_text("Looks like every day about 22:00")).to_be_visible()
    page.get_by_role("link", name="Take over from the reports").click()
    expect(page.get_by_text("nothing is saved yet")).to_be_visible()
    page.get_by_label("Tolerance in minutes").fill("90")
    told = page.locator("#preview").get_by_text(re.compile("you would have had [34] alerts"))
    expect(told.first).to_be_attached()
    page.get_by_role("button", name="Save schedule").click()
    expect(page.get_by_text("Schedule saved. It is in force.")).to_be_visible()
    with database.reading() as rows:
        assert rows.get_one(Job, job_id).tolerance_seconds == 5400
        assert rows.scalar(select(JobSchedule.repeat).where(JobSchedule.job_id == job_id)) == "1D"
    visitor.go(f"/jobs/{job_id}/schedule/edit")
    page.get_by_role("link", name="Remove schedule…").click()
    expect(page.get_by_text("What was entered is lost:")).to_be_visible()
    page.get_by_role("button", name="Remove schedule").click()
    expect(page.get_by_text("Schedule removed.")).to_be_visible()
    with database.reading() as rows:
        assert rows.scalar(select(JobSchedule.id).where(JobSchedule.job_id == job_id)) is None


def test_a_night_of_changing_clocks_is_shown_in_both_zones(visitor: Visitor, job_id: int) -> None:
    page = visitor.go(f"/jobs/{job_id}/schedule/edit")
    page.get_by_label("Time zone").fill("America/New_York")
    shown = page.locator("#preview")
    expect(shown.get_by_text("Expected, America/New_York").first).to_be_visible()
    expect(shown.get_by_text("By your clock, Europe/Paris").first).to_be_visible()
    expect(shown.get_by_text("The clocks in America/New_York go").first).to_be_visible()
    expect(shown.locator("tr.marked").first).to_be_visible()


def test_without_scripts_a_button_shows_the_preview_and_keeps_what_was_typed(
    browser: Browser, veilleur: Veilleur, job_id: int
) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    visitor = Visitor(context, veilleur.url)
    visitor.log_in()
    page = visitor.go(f"/jobs/{job_id}/schedule/edit")
    page.get_by_label("Number", exact=True).fill("3")
    page.get_by_label("Friday").check()
    page.get_by_role("button", name="Preview").click()
    expect(
        page.locator("#preview").get_by_text("Every 3 days, on Friday at 22:00", exact=True)
    ).to_be_visible()
    expect(page.get_by_label("Number", exact=True)).to_have_value("3")
    expect(page.get_by_label("Friday")).to_be_checked()
    context.close()
    assert visitor.wrong == []


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_the_editor_is_accessible_and_fits_the_screen(
    browser: Browser, veilleur: Veilleur, database: Database, job_id: int, scheme: str, size: str
) -> None:
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        variant = f"{size}-{scheme}"
        page = visitor.go(f"/jobs/{job_id}/schedule/edit")
        problems = look(page, "schedule", variant)
        page.get_by_label("Time zone").fill("America/New_York")
        page.get_by_label("As Duplicati writes it", exact=True).check()
        page.get_by_label("Repeat as Duplicati writes it").fill("12h")
        expect(page.locator("#preview").get_by_text("By your clock, Europe/Paris").first).to_be_attached()
        expect(page.locator("#preview code")).to_have_text("12h")
        problems += look(page, "schedule-zones", variant)
        page.get_by_label("Repeat as Duplicati writes it").fill("12H")
        expect(page.locator("#preview .note")).to_be_visible()
        problems += look(page, "schedule-wrong", variant)
        with database.writing() as rows:
            factories.add_schedule(rows, rows.get_one(Job, job_id))
        visitor.go(f"/jobs/{job_id}/schedule/remove")
        problems += look(page, "schedule-remove", variant)
    assert problems == []
