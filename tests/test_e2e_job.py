"""The page of a job in a real browser: its pictures in every state, its charts, and what keeps it fresh."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import combinations

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.models import DeliveryAttempt, Job, MaintenanceWindow, Server
from tests import factories
from tests.browser import OPPOSITES, Visitor, look, visit
from tests.conftest import SAMPLES
from tests.processes import Veilleur

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STATES = ("new", "ok", "late", "overdue", "failed", "paused")
BODY = (SAMPLES / "069-live-2.0.7.1-backup-unreadable-warning.json").read_bytes()


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("job"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web():
        yield installed


@pytest.fixture(scope="module")
def database(veilleur: Veilleur) -> Iterator[Database]:
    made = veilleur.database()
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def jobs(database: Database) -> dict[str, int]:
    """A job in every state, by state."""
    now = clock.utcnow()
    with database.writing() as rows:
        server = factories.add_server(rows, "nas-attic")
        return {state: add_job(rows, server, state, now) for state in STATES}


# When the next run was expected, and when the last good one and the last of all ended, from now.
TIMES: dict[str, tuple[timedelta, timedelta, timedelta]] = {
    "ok": (11 * HOUR, -13 * HOUR, -13 * HOUR),
    "late": (-20 * timedelta(minutes=1), -DAY, -DAY),
    "overdue": (-60 * HOUR, -84 * HOUR, -84 * HOUR),
    "failed": (14 * HOUR, -34 * HOUR, -10 * HOUR),
    "paused": (-30 * HOUR, -54 * HOUR, -54 * HOUR),
    "new": (10 * HOUR, timedelta(), timedelta()),
}


def add_job(rows: Session, server: Server, state: str, now: datetime) -> int:
    expected, good, last = TIMES[state]
    facts = {
        "expectedAt": clock.iso(now + expected),
        "untilAt": clock.iso(now + expected),
        "overdueAt": clock.iso(now + expected + HOUR),
        "lastGoodAt": clock.iso(now + good),
        "lastReportAt": clock.iso(now + last),
    }
    if state == "failed":
        facts |= {"outcome": "Fatal", "error": "UserInformationException: The destination is full"}
    columns = {
        "expected_at": now + expected,
        "until_at": now + expected,
        "last_good_at": None if state == "new" else now + good,
        "last_ended_at": None if state == "new" else now + last,
        "last_run_good": None if state == "new" else state != "failed",
        "state_since_at": now - 2 * HOUR if state == "late" else min(now, now + last),
        "attention_at": now + 9 * DAY,
    }
    if state == "paused":
        columns |= {"paused_at": now - 40 * HOUR, "paused_until_at": now + 3 * DAY}
        facts |= {"pausedUntilAt": clock.iso(now + 3 * DAY)}
    if state == "overdue":
        columns["state_since_at"] = now + expected + HOUR
    name = f"Documents ({state})"
    job = factories.add_job(rows, name, state, server, now, why=factories.why(state, **facts), **columns)
    if state == "new":
        job.why = {**job.why, "lastGoodAt": None, "lastReportAt": None}
        return job.id
    add_year(rows, job, now + last, state)
    if state in ("overdue", "failed"):
        tell(rows, job, now)
    if state == "late":
        weekly = {"starts_at": now - HOUR, "ends_at": now + 5 * HOUR}
        rows.add(MaintenanceWindow(name="Rack", job_id=job.id, zone="UTC", created_at=now, **weekly))
    if state == "ok":
        job.notes = "Stands in the attic.\nCall Zoë before restoring: +33 1 23 45 67 89."
        factories.add_schedule(rows, job, anchor_at=now + expected)
        job.expected_source = "typed"
    return job.id


def add_year(rows: Session, job: Job, last_at: datetime, state: str) -> None:
    chance = random.Random(4)  # noqa: S311  (a fixed history)
    for day in range(300):
        failed = (state == "failed" and day == 0) or (day > 3 and chance.random() < 0.05)
        if chance.random() < 0.03 and day > 3:
            continue
        growth = 1 - day / 900
        report = factories.add_report(
            rows,
            job,
            BODY if day < 2 else None,
            ended_at=last_at - day * DAY,
            good=not failed,
            outcome="Fatal" if failed else ("Warning" if chance.random() < 0.06 else "Success"),
            warnings_count=0,
            error="UserInformationException: The destination is full" if failed else None,
            duration_seconds=None if failed else 700 + chance.random() * 300 + 40 * math.sin(day / 9),
            examined_bytes=None if failed else int(184e9 * growth),
            stored_bytes=None if failed else int(201e9 * growth),
            uploaded_bytes=None if failed else int(chance.lognormvariate(18, 0.6)),
            examined_files=None if failed else int(48213 * growth),
            versions=None if failed else max(3, 60 - day // 5),
        )
        if day == 0:
            job.last_report_id = report.id
            job.examined_bytes, job.stored_bytes = int(184e9), int(201e9)


def tell(rows: Session, job: Job, now: datetime) -> None:
    channel = factories.add_channel(rows, f"phone of {job.state}")
    alert = factories.add_alert(rows, job, kind=job.state, created_at=now - 5 * HOUR)
    delivery = factories.add_delivery(rows, alert, channel, attempts=3, detail="200 OK")
    for number, (delivered, detail) in enumerate(
        ((False, "Connection refused"), (False, "503 Service Unavailable"), (True, "200 OK"))
    ):
        rows.add(
            DeliveryAttempt(
                delivery_id=delivery.id,
                started_at=now - 5 * HOUR + number * timedelta(minutes=5),
                duration_seconds=0.4,
                delivered=delivered,
                detail=detail,
            )
        )


def boxes(page: Page, selector: str) -> list[dict[str, float]]:
    script = """all => all.filter(each => each.checkVisibility()).map(each => {
        const box = each.getBoundingClientRect();
        return {left: box.left, right: box.right, top: box.top, bottom: box.bottom};
    })"""
    found: list[dict[str, float]] = page.locator(selector).evaluate_all(script)
    return found


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    beside = one["right"] <= other["left"] or other["right"] <= one["left"]
    return not (beside or one["bottom"] <= other["top"] or other["bottom"] <= one["top"])


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_the_page_of_a_job_is_accessible_and_fits_the_screen_in_every_state(
    browser: Browser, veilleur: Veilleur, jobs: dict[str, int], size: str, scheme: str
) -> None:
    problems = []
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        for state, number in jobs.items():
            page = visitor.go(f"/jobs/{number}")
            if state != "new":
                expect(page.locator(".plot.drawn canvas")).to_have_count(5)
            problems += look(page, f"job-{state}", f"{size}-{scheme}")
            frame = page.locator("#state").bounding_box()
            assert frame is not None
            texts = boxes(page, ".timeline .label") + boxes(page, ".timeline .tick-text")
            assert len(texts) >= 2
            for one, other in combinations(texts, 2):
                assert not overlap(one, other), (state, one, other)
            for each in texts:
                assert frame["x"] <= each["left"], state
                assert each["right"] <= frame["x"] + frame["width"], state
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
        problems += look(page, "job-open", f"{size}-{scheme}")
    assert problems == []


@pytest.fixture
def visitor(browser: Browser, veilleur: Veilleur) -> Iterator[Visitor]:
    with visit(browser, veilleur.url, size="390") as visitor:
        visitor.log_in()
        yield visitor


def test_a_picture_names_the_run_under_the_pointer_and_marks_the_failed(
    visitor: Visitor, jobs: dict[str, int]
) -> None:
    page = visitor.go(f"/jobs/{jobs['failed']}?days=30")
    expect(page.locator(".plot.drawn canvas")).to_have_count(5)
    plot = page.locator(".plot").nth(1)
    expect(page.get_by_text("a run that was not good", exact=True)).to_be_visible()
    over = plot.locator(".u-over")
    over.hover(position={"x": 20, "y": 60})
    tip = plot.locator(".tip")
    expect(tip).to_contain_text("Source: ")
    expect(tip).to_contain_text("Stored: ")
    expect(tip).to_contain_text(" GB")
    frame = over.bounding_box()
    assert frame is not None
    over.hover(position={"x": frame["width"] - 2, "y": 60})
    expect(tip).to_contain_text("This run was not good.")
    with page.expect_navigation():
        page.get_by_role("link", name="One year").click()
    expect(page.get_by_role("link", name="One year")).to_have_attribute("aria-current", "true")
    expect(page.locator(".plot.drawn canvas")).to_have_count(5)


def test_the_pictures_follow_the_scheme_and_the_width(visitor: Visitor, jobs: dict[str, int]) -> None:
    page = visitor.go(f"/jobs/{jobs['ok']}")
    expect(page.locator(".plot.drawn canvas")).to_have_count(5)
    light = page.locator(".plot canvas").first.evaluate("each => each.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("light => document.querySelector('.plot canvas').toDataURL() !== light", arg=light)
    expect(page.locator(".plot canvas")).to_have_count(5)
    page.set_viewport_size({"width": 760, "height": 800})
    page.wait_for_function("() => document.querySelector('.plot canvas').clientWidth <= 350")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => document.documentElement.scrollWidth <= 390")


def test_the_newest_days_of_the_year_are_seen_first_on_a_phone(
    visitor: Visitor, jobs: dict[str, int]
) -> None:
    page = visitor.go(f"/jobs/{jobs['ok']}")
    region = page.get_by_role("region", name="The last year, day by day")
    page.wait_for_function("""() => {
        const each = document.querySelector(".year-scroll");
        const days = [...each.querySelectorAll("g > use")];
        const newest = days.at(-1).getBoundingClientRect();
        const frame = each.getBoundingClientRect();
        return newest.left >= frame.left && newest.right <= frame.right + 1
            && each.scrollWidth > each.clientWidth;
    }""")
    region.focus()
    before = region.evaluate("each => each.scrollLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("before => document.querySelector('.year-scroll').scrollLeft < before", arg=before)


def come_back(page: Page) -> None:
    """As to a window that was behind others: the page is asked for anew. Waits until that is done."""
    page.evaluate("document.addEventListener('refreshed', () => { window.isRefreshed = true })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("() => window.isRefreshed")


def test_the_page_follows_what_happens_and_leaves_open_what_was_opened(
    visitor: Visitor, database: Database, jobs: dict[str, int]
) -> None:
    number, now = jobs["late"], clock.utcnow()
    page = visitor.go(f"/jobs/{jobs['overdue']}")
    page.get_by_text("Each attempt").click()
    expect(page.get_by_text("503 Service Unavailable")).to_be_visible()
    come_back(page)
    expect(page.get_by_text("503 Service Unavailable")).to_be_visible()
    visitor.go(f"/jobs/{number}")
    expect(page.locator("#state")).to_contain_text("Late")
    with database.writing() as rows:
        job = rows.get_one(Job, number)
        report = factories.add_report(rows, job, ended_at=now)
        job.state, job.last_good_at, job.expected_at, job.until_at = "ok", now, now + DAY, now + DAY
        number_of_report = report.id
    come_back(page)
    expect(page.locator("#state")).to_contain_text("Good")
    expect(page.locator(f"#runs a[href='/jobs/{number}/reports/{number_of_report}']")).to_be_visible()
    expect(page.locator(".plot.drawn canvas")).to_have_count(5)


def test_notes_are_typed_with_the_keyboard_and_shown(visitor: Visitor, jobs: dict[str, int]) -> None:
    page = visitor.go(f"/jobs/{jobs['new']}")
    page.locator("#settings > summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Notes for those who look after it").fill("Restore:\ncall Zoë.")
    page.get_by_role("button", name="Save notes").click()
    expect(page.get_by_text("Notes saved.")).to_be_visible()
    expect(page.locator(".notes")).to_have_text("Restore:\ncall Zoë.")


def test_without_javascript_the_figures_stand_in_a_table(
    browser: Browser, veilleur: Veilleur, jobs: dict[str, int]
) -> None:
    with visit(browser, veilleur.url) as known:
        known.log_in()
        cookies = known.page.context.cookies()
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(f"{veilleur.url}/jobs/{jobs['ok']}")
    expect(page.get_by_text("the table has the same figures by month")).to_be_visible()
    page.get_by_text("Figures by month", exact=True).first.click()
    month = f"{clock.utcnow() - 10 * DAY:%B %Y}"
    expect(page.get_by_role("row", name=month).first).to_be_visible()
    expect(page.locator(".timeline-wide")).to_be_visible()
    context.close()


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_a_report_and_its_body_are_accessible_and_fit_the_screen(
    browser: Browser, veilleur: Veilleur, database: Database, jobs: dict[str, int], size: str, scheme: str
) -> None:
    problems = []
    with database.reading() as rows:
        number = rows.get_one(Job, jobs["failed"]).last_report_id
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        page = visitor.go(f"/jobs/{jobs['failed']}/reports/{number}")
        expect(page.locator(".entry-warning")).not_to_have_count(0)
        problems += look(page, "job-report", f"{size}-{scheme}")
        page.get_by_role("link", name="Look at the whole report").click()
        expect(page.get_by_role("heading", name="Whole report")).to_be_visible()
        problems += look(page, "job-body", f"{size}-{scheme}")
    assert problems == []
