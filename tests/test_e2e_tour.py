"""A walk through every page: light and dark, wide and narrow, with and without scripts, by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from tests import tour
from tests.browser import SIZES, VARIANTS, Visitor, take_picture
from tests.conftest import CHECKOUT
from tests.processes import PASSWORD, Veilleur
from tests.tour import ADMINISTRATOR, STRANGER, Guide, PageOfTour
from tests.web import Site, opened

BUILD = CHECKOUT / "build"
MOST_QUERIES = 25
MOST_BYTES = 150_000
_ZONE = {"VEILLEUR_TIMEZONE": "Europe/Paris"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demo behind a client of Flask's own, to look at the application from inside."""
    with opened(tour.copied(tmp_path_factory, "inside"), **_ZONE) as made:
        yield made


@pytest.fixture(scope="module")
def pages(here: Site) -> list[PageOfTour]:
    return Guide(here).pages()


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tour.copied(tmp_path_factory, "tour"), _ZONE)
    with installed.web(), installed.cron():
        yield installed


class Party:
    """One visitor of each kind, in windows of the same size and colours."""

    def __init__(self, browser: Browser, origin: str, variant: str, *, scripts: bool = True) -> None:
        self._size, self._scheme = variant.split("-")
        self._browser, self._origin, self._scripts = browser, origin, scripts
        self._visitors: dict[str, Visitor] = {}
        self._contexts: list[BrowserContext] = []

    def visitor(self, who: str) -> Visitor:
        if who not in self._visitors:
            width, height = SIZES[self._size]
            context = self._browser.new_context(
                locale="en-GB",
                viewport={"width": width, "height": height},
                color_scheme="dark" if self._scheme == "dark" else "light",
                java_script_enabled=self._scripts,
            )
            self._contexts.append(context)
            self._visitors[who] = Visitor(context, self._origin)
            if who != STRANGER:
                self._visitors[who].log_in(who, PASSWORD)
        return self._visitors[who]

    def open(self, page: PageOfTour) -> Page:
        return self.visitor(page.who).go(page.path)

    def wrong(self) -> list[str]:
        return [each for visitor in self._visitors.values() for each in visitor.wrong]

    def leave(self) -> None:
        for context in self._contexts:
            context.close()


@contextmanager
def party(browser: Browser, origin: str, variant: str, *, scripts: bool = True) -> Iterator[Party]:
    group = Party(browser, origin, variant, scripts=scripts)
    try:
        yield group
    finally:
        group.leave()


# What every page has to be like

STRUCTURE = """() => {
    const found = [];
    const say = (what, node) => found.push(what + (node ? ": " + node.outerHTML.slice(0, 120) : ""));
    if (!document.documentElement.lang) say("no language");
    if (!document.title.trim()) say("no title");
    if (document.documentElement.scrollWidth > window.innerWidth) say("wider than the screen");
    const all = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")];
    const headings = all.filter(each => each.checkVisibility());
    const first = headings.filter(each => each.tagName === "H1");
    if (first.length !== 1) say(first.length + " first headings");
    let before = 0;
    for (const each of headings) {
        const level = Number(each.tagName[1]);
        if (level > before + 1) say("a heading is left out before this one", each);
        before = level;
    }
    for (const each of document.images) if (!each.hasAttribute("alt")) say("no text for a picture", each);
    for (const each of document.querySelectorAll("svg")) {
        const named = each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
            || each.querySelector(":scope > title");
        if (!each.closest("[aria-hidden=true]") && !named) say("no text for a drawing", each);
    }
    return found;
}"""

# After a first press of Tab, the browser shows focus that a script sets as it shows it to the keyboard.
KEYBOARD = """() => {
    const found = [];
    const say = (what, node) => found.push(what + ": " + node.outerHTML.slice(0, 120));
    const wanted = "a[href],button,input,select,textarea,summary,[role=button],[role=tab]";
    const looks = node => {
        const style = getComputedStyle(node);
        return [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow,
            style.backgroundColor, style.borderColor, style.textDecorationLine].join();
    };
    for (const each of document.querySelectorAll(wanted)) {
        const shut = each.closest("details:not([open])");
        const hidden = !each.checkVisibility({visibilityProperty: true}) || each.type === "hidden";
        if (hidden || each.disabled || (shut && each !== shut.querySelector(":scope > summary"))) continue;
        if (each.tabIndex < 0) { say("not reached by the keyboard", each); continue; }
        document.activeElement.blur();
        const before = looks(each);
        each.focus();
        if (document.activeElement !== each) { say("takes no focus", each); continue; }
        if (looks(each) === before) say("focus can't be seen", each);
        const box = each.getBoundingClientRect();
        if (!box.width || !box.height) say("has no size", each);
    }
    return found;
}"""


# What else axe looks at is the same in both.
OF_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def problems_of(page: Page, scheme: str) -> list[str]:
    found: list[str] = page.evaluate(STRUCTURE)
    options = OF_COLOURS if scheme == "dark" else None
    for violation in Axe().run(page, options=options).response["violations"]:
        nodes = [node["html"][:120] for node in violation["nodes"]]
        found.append(f"{violation['id']}: {json.dumps(nodes)}")
    return found


@pytest.mark.parametrize(("size", "scheme"), VARIANTS)
def test_every_page_is_accessible_and_fits_the_screen(
    browser: Browser, veilleur: Veilleur, pages: list[PageOfTour], size: str, scheme: str
) -> None:
    variant, problems = f"{size}-{scheme}", []
    with party(browser, veilleur.url, variant) as group:
        for each in pages:
            page = group.open(each)
            take_picture(page, f"tour/{each.name}-{variant}")
            page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
            problems += [f"{each.name} {variant}: {what}" for what in problems_of(page, scheme)]
        problems += group.wrong()
        # Only now: the browser itself logs an answer of 404 as an error.
        page = group.visitor(ADMINISTRATOR).go("/no-such-page")
        take_picture(page, f"tour/error-{variant}")
        problems += [f"error {variant}: {what}" for what in problems_of(page, scheme)]
    assert problems == []


def test_everything_on_every_page_is_reached_by_the_keyboard(
    browser: Browser, veilleur: Veilleur, pages: list[PageOfTour]
) -> None:
    problems = []
    with party(browser, veilleur.url, "1280-light") as group:
        for each in pages:
            page = group.open(each)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement !== document.body"), each.name
            problems += [f"{each.name}: {what}" for what in page.evaluate(KEYBOARD)]
    assert problems == []


def test_every_page_works_without_scripts(
    browser: Browser, veilleur: Veilleur, pages: list[PageOfTour]
) -> None:
    """The same heading, and every form and link of the content that is there with scripts."""
    problems = []
    with (
        party(browser, veilleur.url, "1280-light") as with_them,
        party(browser, veilleur.url, "1280-light", scripts=False) as without,
    ):
        for each in pages:
            full, bare = _essentials(with_them.open(each)), _essentials(without.open(each))
            if full["heading"] != bare["heading"]:
                problems.append(f"{each.name}: {bare['heading']} in place of {full['heading']}")
            for what in ("forms", "links"):
                if missing := set(full[what]) - set(bare[what]):
                    problems.append(f"{each.name}: {what} that need a script: {missing}")
    assert problems == []


def _essentials(page: Page) -> dict[str, list[str]]:
    # Not form.action: a field of that name would stand in its place.
    forms = "all => all.map(form => new URL(form.getAttribute('action') ?? '', location).pathname)"
    links = "all => all.map(link => new URL(link.href).pathname)"
    return {
        "heading": page.locator("h1").all_inner_texts(),
        "forms": page.locator("main form").evaluate_all(forms),
        "links": page.locator("main a[href]").evaluate_all(links),
    }


# What every page costs


@dataclass
class Cost:
    page: str
    queries: int = 0
    bytes: int = 0
    requests: int = 0
    first_contentful_paint_ms: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def note(self, response: Response) -> None:
        self.requests += 1
        kind = response.request.resource_type
        if kind in ("document", "stylesheet", "script"):
            size = len(response.body())
            self.bytes += size
            if "/static/vendor/" in response.url:
                kind = "library"  # 51 kB for the charts of all jobs, once
            self.kinds[kind] = self.kinds.get(kind, 0) + size


def test_every_page_is_light(
    browser: Browser, veilleur: Veilleur, here: Site, pages: list[PageOfTour]
) -> None:
    """Queries and bytes are bounded; the rest is written down beside them in build/pages.md."""
    queries = queries_of(here, pages)
    with party(browser, veilleur.url, "1280-light") as group:
        costs = [weigh(group, each, queries[each.name]) for each in pages]
    write_down(costs)
    assert {each.page: each.queries for each in costs if each.queries > MOST_QUERIES} == {}
    heavy = [each for each in costs if each.bytes - each.kinds.get("library", 0) > MOST_BYTES]
    assert {each.page: each.kinds for each in heavy} == {}


FIRST_PAINT = """() => new Promise(resolve => {
    const look = list => {
        const found = list.getEntriesByName("first-contentful-paint")[0];
        if (found) resolve(found.startTime);
    };
    new PerformanceObserver(look).observe({type: "paint", buffered: true});
    setTimeout(resolve, 3000, 0);
})"""


def weigh(group: Party, each: PageOfTour, queries: int) -> Cost:
    """Open the page with nothing in the cache."""
    cost = Cost(each.name, queries)
    page = group.visitor(each.who).page
    page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    seen: list[Response] = []

    def note(response: Response) -> None:
        seen.append(response)

    page.on("response", note)
    group.open(each)
    for response in seen:
        cost.note(response)
    page.remove_listener("response", note)
    cost.first_contentful_paint_ms = round(page.evaluate(FIRST_PAINT))
    return cost


def write_down(costs: list[Cost]) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / "pages.json").write_text(json.dumps([asdict(each) for each in costs], indent=1) + "\n")
    lines = ["| page | queries | bytes | requests | first contentful paint, ms |", "|---|---|---|---|---|"]
    for each in costs:
        numbers = (each.queries, each.bytes, each.requests, each.first_contentful_paint_ms)
        lines.append(f"| {each.page} | " + " | ".join(map(str, numbers)) + " |")
    (BUILD / "pages.md").write_text("\n".join(lines) + "\n")


def queries_of(here: Site, pages: list[PageOfTour]) -> dict[str, int]:
    """How many statements each page sends, once everything that is kept in memory is there."""
    clients = {STRANGER: here.stranger(), ADMINISTRATOR: here.administrator().client}
    found = {}
    for each in pages:
        if each.who not in clients:
            clients[each.who] = here.stranger()
            clients[each.who].post("/api/auth/login", json={"username": each.who, "password": PASSWORD})
        clients[each.who].get(each.path)
        with tour.counting(here.database) as statements:
            assert clients[each.who].get(each.path).status_code == 200, each.name
        found[each.name] = len(statements)
    return found


def test_no_page_asks_more_often_when_there_is_ten_times_as_much(
    tmp_path_factory: pytest.TempPathFactory, here: Site, pages: list[PageOfTour]
) -> None:
    before = queries_of(here, pages)
    with opened(tour.copied(tmp_path_factory, "tenfold"), **_ZONE) as large:
        tour.multiply(large.database, 10)
        assert tour.count_of(large.database, "job") == 10 * tour.count_of(here.database, "job")
        after = queries_of(large, pages)
    more = {name: (before[name], after[name]) for name in before if after[name] > before[name]}
    assert more == {}


# Nothing is left out


def test_every_route_for_browsers_is_in_the_tour_or_excepted(here: Site, pages: list[PageOfTour]) -> None:
    guide, shown = Guide(here), {each.path for each in pages}
    for route in tour.get_routes(here.app):
        if route.endpoint in tour.EXCEPTIONS:
            assert tour.EXCEPTIONS[route.endpoint], route.endpoint
        else:
            assert guide.address(route) in shown or not guide.is_html(route), route.rule


def test_every_exception_is_a_route(here: Site) -> None:
    assert set(tour.EXCEPTIONS) <= {each.endpoint for each in tour.get_routes(here.app)}


def test_the_tour_meets_every_state_of_a_job(pages: list[PageOfTour], here: Site) -> None:
    assert len({each.name for each in pages}) == len(pages)
    with here.administrator().client as client:
        text = client.get("/").text
    for state in ("Overdue", "Failing", "Late", "New", "Paused"):
        assert re.search(state, text, re.IGNORECASE), state


# By keyboard alone


def test_a_job_is_found_and_acknowledged_by_keyboard_alone(browser: Browser, veilleur: Veilleur) -> None:
    with party(browser, veilleur.url, "1280-light") as group:
        page = group.visitor(STRANGER).go("/login")
        _tab_to(page, "input[name=username]")
        page.keyboard.type(ADMINISTRATOR)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(veilleur.url + "/")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # skip to the content
        _tab_to(page, "a[href*='state=overdue']")
        page.keyboard.press("Enter")
        page.wait_for_url("**state=overdue*")
        _tab_to(page, "main a[href*='/jobs/']", "Delivery notes")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Delivery notes")
        _tab_to(page, "main :is(summary, a, button)", "be quiet|acknowledge")
        page.keyboard.press("Enter")
        _tab_to(page, "button", "^acknowledge")
        page.keyboard.press("Enter")
        expect(page.get_by_text(re.compile("Acknowledged by admin"))).to_be_visible()
        assert group.wrong() == []


def _tab_to(page: Page, selector: str, named: str = "") -> None:
    """Press Tab until something of this kind has the focus."""
    is_there = """([selector, named]) => document.activeElement.matches(selector)
        && new RegExp(named, "i").test(document.activeElement.innerText)"""
    for _press in range(150):
        page.keyboard.press("Tab")
        if page.evaluate(is_there, [selector, named]):
            return
    raise AssertionError(f"Tab never leads to {selector} {named}")
