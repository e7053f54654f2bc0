"""A real browser with an administrator logged in: what foreign pages and hostile names can do in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext

from tests.processes import PASSWORD, Veilleur
from tests.receivers import HttpReceiver, ok
from tests.test_injection import HOSTILE, failed_report

# What a login form is asked to go on to; each stays here, or is dropped.
TARGETS = (
    "//evil.example",
    "https:evil.example",
    "https:/evil.example",
    "\\\\evil.example",
    "/\\evil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/%09/evil.example",
    "/\t/evil.example",
    "/.//evil.example",
    "/;@evil.example",
    "/@evil.example",
    "javascript:document.title='owned'",
    "data:text/html,owned",
)


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("foreign"))
    with installed.web():
        upload = f"{installed.url}/api/upload?api_key={installed.upload_key()}"
        assert requests.post(upload, data=failed_report("documents"), timeout=30).status_code == 200
        yield installed


@pytest.fixture(scope="module")
def context(browser: Browser, veilleur: Veilleur) -> Iterator[BrowserContext]:
    """An administrator is logged in."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(f"{veilleur.url}/login")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{veilleur.url}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def foreign() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


def serve(foreign: HttpReceiver, html: str) -> str:
    """The address of a foreign page. Another port of the same host is another origin, though the same site:
    the cookie comes along, so that nothing but our own checks stands in the way."""
    foreign.behaviour = ok(f"<!doctype html><body>{html}".encode(), {"Content-Type": "text/html"})
    return foreign.url


def test_no_page_can_be_framed(context: BrowserContext, veilleur: Veilleur, foreign: HttpReceiver) -> None:
    frames = "".join(
        f'<iframe src="{veilleur.url}{path}"></iframe>'
        for path in ("/", "/login", "/jobs/1/delete", "/nothing", "/api/ping")
    )
    page = context.new_page()
    page.goto(serve(foreign, frames))
    page.wait_for_load_state("networkidle")
    inner = [frame for frame in page.frames if frame != page.main_frame]
    assert len(inner) == 5
    assert [frame.url for frame in inner if "Veilleur" in frame.content()] == []
    assert {frame.url for frame in inner} == {"chrome-error://chromewebdata/"}
    page.close()


def test_a_form_on_a_foreign_page_changes_nothing(
    context: BrowserContext, veilleur: Veilleur, foreign: HttpReceiver
) -> None:
    page = context.new_page()
    for path, refused in (("/jobs/1/delete", 400), ("/logout", 400), ("/api/cron-config", 401)):
        url = serve(
            foreign,
            f"""<form method="post" enctype="text/plain" action="{veilleur.url}{path}">
            <input name='{{"interval": "1min", "x": "' value='"}}'><button>Win</button></form>""",
        )
        page.goto(url)
        with page.expect_navigation() as navigation:
            page.get_by_role("button", name="Win").click()
        answer = navigation.value
        assert answer is not None
        assert "cookie" in answer.request.all_headers(), "the browser did not even try"
        assert answer.status == refused
    assert page.goto(f"{veilleur.url}/jobs/1/delete").status == 200  # type: ignore[union-attr]
    page.close()


def test_a_script_on_a_foreign_page_reads_nothing(
    context: BrowserContext, veilleur: Veilleur, foreign: HttpReceiver
) -> None:
    page = context.new_page()
    page.goto(serve(foreign, "nothing to see"))
    told = page.evaluate(
        """async (url) => {
            const read = async (path, given) => {
                try { return await (await fetch(url + path, {credentials: 'include', ...given})).text() }
                catch (error) { return error.name }
            };
            return [
                await read('/api/csrf'), await read('/api/auth/me'), await read('/'),
                await read('/api/auth/logout', {method: 'POST', headers: {'X-CSRF-Token': 'x'}}),
                await read('/api/cron-config', {method: 'POST', headers: {'X-CSRF-Token': 'x'}}),
            ]
        }""",
        veilleur.url,
    )
    assert told == ["TypeError"] * 5
    assert page.goto(f"{veilleur.url}/api/auth/me").status == 200  # type: ignore[union-attr]
    page.close()


def test_hostile_names_run_nothing_and_load_nothing(context: BrowserContext, veilleur: Veilleur) -> None:
    upload = f"{veilleur.url}/api/upload?api_key={veilleur.upload_key()}"
    for number, words in enumerate(HOSTILE.values()):
        report = failed_report(words).replace(b'"DB-1"', f'"DB-hostile-{number}"'.encode())
        assert requests.post(upload, data=report, timeout=30).status_code == 200
        requests.post(upload, data=words.encode(), headers={"Content-Type": "text/html"}, timeout=30)
    wrong: list[str] = []
    page = context.new_page()
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith(veilleur.url) else wrong.append(sent.url))
    page.goto(f"{veilleur.url}/")
    links = page.eval_on_selector_all("a[href^='/jobs/']", "links => links.map(link => link.pathname)")
    links = [each for each in links if "/reports/" not in each]
    assert len(links) == len(HOSTILE) + 1
    for path in ["/quarantine", f"{links[0]}/delete", *links]:
        assert page.goto(veilleur.url + path).status == 200  # type: ignore[union-attr]
        report = page.locator("a[href*='/reports/']")
        if report.count():
            with page.expect_navigation():
                report.first.click()
    assert wrong == []
    page.close()


def test_a_login_goes_to_no_other_site(context: BrowserContext, veilleur: Veilleur) -> None:
    """Where the browser would go from the login form, by its own reading of the answer."""
    page = context.new_page()
    page.goto(f"{veilleur.url}/login")
    for target in TARGETS:
        answer = log_in_by_hand(veilleur, target)
        assert answer.status_code == 302
        leads_to = "to => new URL(to, document.baseURI).origin"
        assert page.evaluate(leads_to, answer.headers["Location"]) == veilleur.url, target
    page.close()


def log_in_by_hand(veilleur: Veilleur, target: str) -> requests.Response:
    client = requests.Session()
    token = client.get(f"{veilleur.url}/api/csrf", timeout=30).json()["csrfToken"]
    form = {"csrf_token": token, "username": "admin", "password": PASSWORD, "next": target}
    return client.post(f"{veilleur.url}/login", data=form, allow_redirects=False, timeout=30)


def test_no_script_sees_the_cookie(context: BrowserContext, veilleur: Veilleur) -> None:
    page = context.new_page()
    page.goto(f"{veilleur.url}/")
    [cookie] = context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("veilleur_session", True, "Lax")
    assert page.evaluate("document.cookie") == ""
    page.close()
