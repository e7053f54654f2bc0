"""The first page in a real browser: it keeps itself fresh, works without scripts, and is light."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select, update

from app import clock, jobs
from app.models import Job, User
from tests import factories, fleet
from tests.browser import OPPOSITES, Visitor, look, visit
from tests.processes import Veilleur, until
from tests.stage import backup_body

A_LITTLE_MORE_THAN_THE_REFRESH = 31_000


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    made = Veilleur(tmp_path_factory.mktemp("dashboard"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with made.web() as web:
        until(lambda: "api_key=" in web.output, "the upload key")
        yield made


@pytest.fixture
def veilleur(installed: Veilleur) -> Veilleur:
    """Without the jobs of the test before, and with the layout that a new installation has."""
    database = installed.database()
    with database.writing() as rows:
        for job in rows.scalars(select(Job)).all():
            jobs.forget(rows, job)
        rows.execute(update(User).values(layout=None))
    database.dispose()
    return installed


def upload(veilleur: Veilleur, name: str, **changes: object) -> None:
    body = backup_body(clock.utcnow() - timedelta(minutes=5), name=name, machine="nas-attic", **changes)
    query = {"api_key": veilleur.upload_key()}
    answer = requests.post(f"{veilleur.url}/api/upload", params=query, data=body, timeout=30)
    assert answer.status_code == 200, answer.text


def let_it_refresh(page: Page) -> None:
    with page.expect_response(lambda answer: answer.request.headers.get("x-refresh") == "1"):
        page.clock.fast_forward(A_LITTLE_MORE_THAN_THE_REFRESH)


@pytest.fixture
def visitor(browser: Browser, veilleur: Veilleur) -> Iterator[Visitor]:
    with visit(browser, veilleur.url) as visitor:
        visitor.page.clock.install()
        yield visitor


def test_a_report_that_comes_meanwhile_is_shown_without_a_reload(
    visitor: Visitor, veilleur: Veilleur
) -> None:
    upload(veilleur, "Documents")
    visitor.log_in()
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Your backup was good by its last report")
    page.evaluate("window.isTheSamePage = true")
    link = page.get_by_role("link", name="Documents")
    link.focus()
    upload(veilleur, "Photos", ParsedResult="Error")
    let_it_refresh(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 failing, 1 good")
    expect(page).to_have_title("1 failing, 1 good – Veilleur")
    expect(page.get_by_role("status").filter(has_text="1 failing, 1 good")).to_have_count(1)
    expect(page.get_by_role("link", name="Photos", exact=True)).to_be_visible()
    expect(page.get_by_role("navigation", name="States").get_by_text("Failed")).to_be_visible()
    expect(link).to_be_focused()
    assert page.evaluate("window.isTheSamePage")


def test_what_somebody_types_or_marks_is_left_alone(visitor: Visitor, veilleur: Veilleur) -> None:
    upload(veilleur, "Documents")
    visitor.log_in()
    page = visitor.page
    search = page.get_by_role("searchbox")
    search.fill("doc")
    upload(veilleur, "Photos")
    let_it_refresh(page)
    expect(page.get_by_role("link", name="Photos", exact=True)).to_be_visible()
    expect(search).to_have_value("doc")
    expect(search).to_be_focused()
    page.get_by_role("link", name="Documents").select_text()
    upload(veilleur, "Mail", ParsedResult="Error")
    let_it_refresh(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 failing, 2 good")
    assert page.evaluate("getSelection().toString()") == "Documents"
    search.press("Enter")
    page.wait_for_url("**/?q=doc*")
    expect(page.get_by_role("row")).to_have_count(2)


def test_the_first_report_turns_the_empty_page_into_the_list(visitor: Visitor, veilleur: Veilleur) -> None:
    visitor.log_in()
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text("No backup has reported yet")
    upload(veilleur, "Documents")
    page.clock.fast_forward(A_LITTLE_MORE_THAN_THE_REFRESH)
    expect(page.get_by_role("link", name="Documents")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_visible()


def test_a_lost_connection_is_said_and_recovers(visitor: Visitor, veilleur: Veilleur) -> None:
    upload(veilleur, "Documents")
    visitor.log_in()
    page = visitor.page
    lost = page.get_by_text("The connection is lost")
    expect(lost).to_be_hidden()
    page.context.set_offline(True)
    page.clock.fast_forward(A_LITTLE_MORE_THAN_THE_REFRESH)
    expect(lost).to_be_visible()
    expect(page.get_by_role("link", name="Documents")).to_be_visible()
    upload(veilleur, "Photos")
    page.context.set_offline(False)
    # The browser tells that it is back; nobody waits for the next turn.
    expect(lost).to_be_hidden()
    expect(page.get_by_role("link", name="Photos", exact=True)).to_be_visible()
    # What the browser itself says about it in its console.
    assert all("ERR_INTERNET_DISCONNECTED" in each for each in visitor.wrong)
    visitor.wrong.clear()


def test_a_session_that_ended_leads_to_the_login(visitor: Visitor, veilleur: Veilleur) -> None:
    upload(veilleur, "Documents")
    visitor.log_in()
    page = visitor.page
    page.context.clear_cookies()
    page.clock.fast_forward(A_LITTLE_MORE_THAN_THE_REFRESH)
    page.wait_for_url(re.compile("/login"))


def test_without_scripts_the_page_is_searched_ordered_and_laid_out_as_well(
    browser: Browser, veilleur: Veilleur
) -> None:
    upload(veilleur, "Documents")
    upload(veilleur, "Photos", ParsedResult="Error")
    context = browser.new_context(java_script_enabled=False)
    visitor = Visitor(context, veilleur.url)
    visitor.log_in()
    page = visitor.page
    page.get_by_role("searchbox").fill("ATTIC")
    page.get_by_label("Order").select_option("By name")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".main-link")).to_have_text(["Documents", "Photos"])
    page.get_by_role("link", name="Backup", exact=True).click()
    expect(page.locator(".main-link")).to_have_text(["Photos", "Documents"])
    page.get_by_role("button", name="By server").click()
    expect(page.get_by_role("heading", name="nas-attic")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("ATTIC")
    visitor.go("/")
    # The password was chosen, and a backup has reported.
    first = ["First steps 2 of 4 done", "Needs attention", "nas-attic"]
    expect(page.get_by_role("heading", level=2)).to_have_text(first)
    assert visitor.wrong == []
    context.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    """Five hundred jobs of fifty servers with their histories."""
    installed = Veilleur(tmp_path_factory.mktemp("busy"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web():
        database = installed.database()
        fleet.add(database, clock.utcnow(), servers=50, jobs=10, runs=20)
        with database.writing() as rows:
            factories.add_check(rows)
        database.dispose()
        yield installed


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_both_layouts_are_accessible_and_fit_the_screen(
    browser: Browser, busy: Veilleur, size: str, scheme: str
) -> None:
    problems = []
    with visit(browser, busy.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        for name in ("Table", "By server"):
            with visitor.page.expect_navigation():  # the button may look pressed before
                visitor.page.get_by_role("button", name=name).click()
            expect(visitor.page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
            layout = name.lower().replace(" ", "-")
            problems += look(visitor.page, f"first-page-{layout}", f"{size}-{scheme}")
        visitor.go("/?q=nothing+like+it")
        problems += look(visitor.page, "first-page-nothing", f"{size}-{scheme}")
    assert problems == []


def test_the_first_page_of_five_hundred_jobs_is_light_on_the_wire(browser: Browser, busy: Veilleur) -> None:
    with visit(browser, busy.url) as visitor:
        visitor.log_in()
        total = visitor.page.evaluate(
            """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .reduce((sum, each) => sum + each.decodedBodySize, 0)"""
        )
    assert 50_000 < total < 150_000
