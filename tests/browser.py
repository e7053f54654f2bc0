"""A real Chromium, and somebody in front of it who notices everything that goes wrong behind a page.

A pytest plugin as well: a file with a fixture `veilleur` can ask for a `visitor` of it, who has logged in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests import databases
from tests.conftest import CHECKOUT, require_tool
from tests.processes import PASSWORD, Veilleur

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
SCHEMES = ("light", "dark")
AGAIN = pytest.mark.one_database("the page of the variant before, in another size or other colours")
# Each size and each scheme once, for states of one page; the walk through all pages takes all four.
OPPOSITES = (("1280", "light"), pytest.param("390", "dark", marks=AGAIN))
VARIANTS = (
    ("1280", "light"),
    *(pytest.param(*each, marks=AGAIN) for each in (("1280", "dark"), ("390", "light"), ("390", "dark"))),
)

# Only what fails waits so long; a busy machine takes longer than the usual 5 s to show a page.
expect.set_options(timeout=30_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    path = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


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

    def log_in(self, username: str = "admin", password: str = PASSWORD) -> None:
        self.go("/login")
        self.page.locator("input[name=username]").fill(username)
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("main form button").click()
        self.page.wait_for_url(self.origin + "/")


@contextmanager
def visit(
    browser: Browser, origin: str, *, size: str = "1280", scheme: str = "light", locale: str = "en-GB"
) -> Iterator[Visitor]:
    """Somebody with a window of this size; at the end nothing may have gone wrong."""
    width, height = SIZES[size]
    context = browser.new_context(
        locale=locale,
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    try:
        visitor = Visitor(context, origin)
        yield visitor
    finally:
        context.close()
    assert visitor.wrong == []


@pytest.fixture
def visitor(browser: Browser, veilleur: Veilleur) -> Iterator[Visitor]:
    with visit(browser, veilleur.url) as visitor:
        visitor.log_in()
        yield visitor


@contextmanager
def clock_stopped(page: Page) -> Iterator[None]:
    """What a page shows for a moment stays for as long as the block lasts."""
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    yield
    page.clock.resume()


def look(page: Page, name: str, variant: str) -> list[str]:
    """Take the picture, then what axe and the ruler find wrong; a page after a click may still be coming."""
    page.wait_for_load_state()
    take_picture(page, f"{name}-{variant}")
    problems = []
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append(f"{name}-{variant}: wider than the screen")
    for violation in Axe().run(page).response["violations"]:
        nodes = [node["html"][:120] for node in violation["nodes"]]
        problems.append(f"{name}-{variant}: {violation['id']}: {json.dumps(nodes)}")
    return problems


def take_picture(page: Page, name: str) -> None:
    """For people to look at; of both runs of the tests it would be the same."""
    if databases.RUN.postgres is None:
        path = SCREENSHOTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path, full_page=True)
