"""Whose address stands in links, redirects and the option line: never one that a caller made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.test_access import ROWS
from tests.visitors import Visitors, furnish
from tests.web import Site, site

EVIL = "evil.example"
CLAIMS = (
    {"X-Forwarded-Host": EVIL},
    {"X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "81"},
    {"X-Forwarded-Prefix": f"//{EVIL}"},
    {"X-Forwarded-Server": EVIL, "X-Host": EVIL, "X-Original-Host": EVIL},
    {"Forwarded": f"host={EVIL};proto=https"},
    {"X-Original-URL": f"//{EVIL}/", "X-Rewrite-URL": f"//{EVIL}/"},
)
# What a browser would send, and what only an attacker's own program can.
HOSTS = (
    EVIL,
    f"{EVIL}:80",
    f"localhost@{EVIL}",
    f"localhost.{EVIL}",
    '"><script>alert(1)</script>',
    "",
    "a b",
    "é",
)
NO_PATHS = (
    f"//{EVIL}",
    f"https://{EVIL}",
    f"/\\{EVIL}",
    "javascript:alert(1)//",
    '/"><script>',
    "watch",
    "/a//b",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("proxied"), VEILLEUR_TRUSTED_PROXIES="1") as made:
        yield made


@pytest.fixture(scope="module")
def visitors(here: Site) -> Visitors:
    return Visitors(here)


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|src|action)="([^"]*)"', page)


def assert_stays_here(answer: TestResponse, prefix: str = "/") -> None:
    """Every link and redirect is a path of our own; a host of any name is in none of them."""
    if answer.location is not None:
        assert re.match(rf"{prefix}(?![/\\])", answer.location), answer.location
    for link in links(answer.text):
        assert re.match(rf"({prefix}(?![/\\])|#)", link), link


@pytest.mark.parametrize("host", HOSTS)
def test_redirects_and_links_name_no_host_whatever_the_caller_says_ours_is(here: Site, host: str) -> None:
    for path in ("/", "/login", "/nothing", "/settings/monitoring", "/jobs/1/delete"):
        assert_stays_here(here.stranger().get(path, headers={"Host": host}))


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_without_a_trusted_proxy_a_claimed_address_is_in_no_answer(
    visitors: Visitors, claim: dict[str, str]
) -> None:
    for row in ROWS:
        if row.method == "GET":
            furnish(visitors.here)
            with visitors.send("admin", row, headers=claim) as answer:
                assert EVIL not in answer.text + str(answer.headers), row
                assert answer.status_code == int(row.expected["admin"]), row


@pytest.mark.parametrize("prefix", NO_PATHS)
def test_a_prefix_that_is_no_path_is_dropped_even_from_a_trusted_proxy(proxied: Site, prefix: str) -> None:
    """Some proxies hand on what the client says in a header that they themselves don't set."""
    for path in ("/", "/login", "/nothing"):
        answer = proxied.stranger().get(path, headers={"X-Forwarded-Prefix": prefix})
        assert_stays_here(answer)
        assert EVIL not in answer.text + str(answer.headers)
        assert "script>" not in answer.text


def test_the_path_that_a_trusted_proxy_names_stands_before_every_link(proxied: Site) -> None:
    headers = {"X-Forwarded-Prefix": "/house/watch-2"}
    for path in ("/", "/login", "/nothing"):
        assert_stays_here(proxied.stranger().get(path, headers=headers), prefix="/house/watch-2/")


@pytest.mark.parametrize(
    ("environ", "headers", "shown"),
    [
        ({}, {}, "http://localhost"),
        ({}, CLAIMS[1], "http://localhost"),
        ({"VEILLEUR_TRUSTED_PROXIES": "1"}, CLAIMS[0], f"http://{EVIL}"),
        (
            {"VEILLEUR_TRUSTED_PROXIES": "1"},
            {"X-Forwarded-Host": f"{EVIL}, real.example"},
            "http://real.example",
        ),
        ({"VEILLEUR_PUBLIC_URL": "https://real.example"}, CLAIMS[1], "https://real.example"),
        (
            {"VEILLEUR_PUBLIC_URL": "https://real.example", "VEILLEUR_TRUSTED_PROXIES": "1"},
            CLAIMS[1],
            "https://real.example",
        ),
    ],
)
def test_the_option_line_shows_the_address_of_the_setting_or_of_the_nearest_trusted_word(
    tmp_path: Path, environ: dict[str, str], headers: dict[str, str], shown: str
) -> None:
    with site(tmp_path, **environ) as made:
        cookie = made.administrator().cookie
        # Handed over by hand: a browser would not send it to the other name.
        sender = made.app.test_client(use_cookies=False)
        page = sender.get(
            "/connect/1?since=1795424400", headers={"Cookie": f"veilleur_session={cookie}", **headers}
        )
        assert page.status_code == 200
        assert set(re.findall(r"--send-http[a-z-]*=(\S+)/api/upload", page.text)) == {shown}


@pytest.mark.parametrize("host", HOSTS)
def test_a_made_up_host_can_not_break_out_of_the_option_line(here: Site, host: str) -> None:
    cookie = here.administrator().cookie
    sender = here.app.test_client(use_cookies=False)
    for path in ("/", "/connect/1?since=1795424400"):
        page = sender.get(path, headers={"Cookie": f"veilleur_session={cookie}", "Host": host})
        assert page.status_code in (200, 400)
        assert "<script>alert" not in page.text


def test_what_may_be_cached_is_the_same_for_everybody(proxied: Site) -> None:
    """Only static files may; nothing that a caller claims is in them, and no session."""
    with proxied.stranger().get("/static/style.css") as plain:
        content = plain.data
    for claim in (*CLAIMS, {"Host": EVIL}, {"X-Forwarded-Prefix": "/watch"}):
        with proxied.stranger().get("/static/style.css", headers=claim) as answer:
            assert answer.data == content
            assert "Set-Cookie" not in answer.headers
            assert EVIL not in str(answer.headers)
    for path in ("/", "/login", "/nothing", "/api/ping", "/api/csrf"):
        assert proxied.stranger().get(path, headers=CLAIMS[0]).headers["Cache-Control"] == "no-store"
