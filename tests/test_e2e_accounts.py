"""Users, the own account, keys, the audit log and Connect Duplicati in a real browser."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from app import accounts, clock
from app.models import ApiKey, LoginFailure, User
from tests import factories
from tests.browser import OPPOSITES, Visitor, clock_stopped, look, visit
from tests.processes import Veilleur, until
from tests.stage import backup_body
from tests.test_injection import HOSTILE


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("accounts"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web():
        fill(installed)
        yield installed


def fill(veilleur: Veilleur) -> None:
    """Users and keys in every state."""
    database, now = veilleur.database(), clock.utcnow()
    with database.writing() as rows:
        rows.get_one(User, 1).created_at = now - timedelta(days=400)
        for name, role in (("vera", "viewer"), ("julien.lefevre@example.org", "administrator")):
            user = factories.add_user(rows, name, "a password of theirs", role, now - timedelta(days=90))
            rows.flush()
            for days in (1, 4):
                seen_at = now - timedelta(days=days)
                accounts.open_session(rows, user, address="192.0.2.7", now=seen_at, hours=500)
        rows.add(
            LoginFailure(username="vera", count=0, last_at=now, locked_until_at=now + timedelta(minutes=12))
        )
        ends_at = now + timedelta(days=5)
        for label, scope, columns in (
            ("nas-attic", "upload", {"used_at": now - timedelta(minutes=5), "expires_at": ends_at}),
            ("Laptop of Julien", "upload", {"revoked_at": now - timedelta(days=30)}),
            ("Homepage on the wall", "read", {"used_at": now - timedelta(seconds=40)}),
            ("test of last year", "upload", {"expires_at": now - timedelta(days=200)}),
        ):
            key, _secret = accounts.new_key(rows, label, scope, now - timedelta(days=250))
            for column, value in columns.items():
                setattr(key, column, value)
        old = rows.query(ApiKey).filter_by(label="nas-attic").one()
        accounts.new_key(rows, "nas-attic", "upload", now - timedelta(days=2), origin_id=old.id)
    database.dispose()


def test_the_password_of_the_first_start_is_changed_at_the_first_login(
    browser: Browser, tmp_path: Path
) -> None:
    fresh = Veilleur(tmp_path, {"VEILLEUR_ADMIN_PASSWORD": ""})
    with fresh.web() as web:
        until(lambda: "Password" in web.output, "the password")
        found = re.search(r"Password +(\S+)", web.output)
        assert found is not None
        with visit(browser, fresh.url) as visitor:
            visitor.log_in(password=found[1])
            page = visitor.page
            page.get_by_role("banner").get_by_role("link", name="admin").click()
            expect(page.get_by_text("Choose your own password.")).to_be_visible()
            page.get_by_label("Current password").fill(found[1])
            page.get_by_label("New password", exact=True).fill("one of my own")
            page.get_by_label("New password again").fill("one of my own")
            page.get_by_role("button", name="Change the password").click()
            expect(page.get_by_text("Your password is changed.")).to_be_visible()
            expect(page.get_by_text("Choose your own password.")).to_have_count(0)
            page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/login")
            visitor.log_in(password="one of my own")


def test_a_key_is_made_copied_and_rotated(browser: Browser, veilleur: Veilleur) -> None:
    with visit(browser, veilleur.url) as visitor:
        visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        visitor.log_in()
        page = visitor.go("/settings/keys")
        page.get_by_label("Label").fill("copied key")
        page.get_by_role("button", name="Make the key").click()
        secret = page.locator("#secret").inner_text()
        with clock_stopped(page):
            page.get_by_role("button", name="Copy the key").click()
            expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        assert send(veilleur, secret, "First") == 200
        visitor.go("/settings/keys")
        page.get_by_role("link", name=re.compile("Rotate copied key")).click()
        page.get_by_label("The old key goes on working for").select_option("1 day")
        page.get_by_role("button", name="Make the new key").click()
        expect(page.get_by_text("goes on working until")).to_be_visible()
        successor = page.locator("#secret").inner_text()
        assert successor != secret
        assert [send(veilleur, key, "First") for key in (secret, successor)] == [200, 200]
        page.get_by_role("link", name="Done: back to the keys").click()
        row = page.get_by_role("row").filter(has_text=f"{secret[:8]}…")
        expect(row).to_contain_text("Replaced by number")
        page.get_by_role("row").filter(has_text=f"{successor[:8]}…").get_by_role(
            "link", name="Revoke"
        ).click()
        expect(page.get_by_text("What stops at once")).to_be_visible()
        page.get_by_role("button", name="Revoke the key").click()
        expect(page.get_by_text("opens nothing any more")).to_be_visible()
        assert send(veilleur, successor, "First") == 401


def send(veilleur: Veilleur, key: str, name: str, body: bytes | None = None) -> int:
    body = backup_body(clock.utcnow(), name=name) if body is None else body
    return requests.post(f"{veilleur.url}/api/upload?api_key={key}", data=body, timeout=30).status_code


def test_the_page_that_waits_turns_green_by_itself_and_keeps_the_key(
    visitor: Visitor, veilleur: Veilleur
) -> None:
    page = visitor.go("/connect")
    page.get_by_label("What is to be connected?").fill("the attic")
    page.get_by_role("button", name="Make a key and go on").click()
    expect(page.get_by_text("Waiting for the first report…")).to_be_visible()
    lines = page.locator("#new-lines").inner_text()
    key = lines.splitlines()[0].partition("api_key=")[2]
    assert lines.startswith(f"--send-http-json-urls={veilleur.url}/api/upload?api_key=vk_")
    assert send(veilleur, key, "", b"message=what%3F") == 400
    expect(page.get_by_text("Something came, but it can't be read")).to_be_visible()
    expect(page.locator("#new-lines")).to_have_text(lines)
    assert look(page, "connect-unreadable", "1280-light") == []
    assert send(veilleur, key, "Photos of the attic") == 200
    expect(page.get_by_text("Photos of the attic on nas reported.")).to_be_visible()
    expect(page.locator("#new-lines")).to_have_text(lines)
    assert look(page, "connect-arrived", "1280-light") == []
    page.get_by_role("link", name="Show this job").click()
    expect(page.get_by_role("heading", name="Photos of the attic")).to_be_visible()


def test_without_scripts_the_page_that_waits_is_looked_at_again(browser: Browser, veilleur: Veilleur) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    visitor = Visitor(context, veilleur.url)
    visitor.log_in()
    page = visitor.go("/connect")
    page.get_by_label("What is to be connected?").fill("without scripts")
    page.get_by_role("button", name="Make a key and go on").click()
    key = page.locator("#new-lines").inner_text().splitlines()[0].partition("api_key=")[2]
    with page.expect_navigation():
        page.get_by_role("link", name="Look again").click()
    expect(page.get_by_text("Waiting for the first report…")).to_be_visible()
    assert send(veilleur, key, "By hand") == 200
    page.reload()
    expect(page.get_by_text("By hand on nas reported.")).to_be_visible()
    assert visitor.wrong == []
    context.close()


def test_the_audit_log_is_filtered_and_downloaded(
    visitor: Visitor, veilleur: Veilleur, tmp_path: Path
) -> None:
    named = veilleur.finish("flask", "key", "add", HOSTILE["formula"])
    assert named.returncode == 0, named.stderr
    page = visitor.go("/settings/audit")
    page.get_by_label("What", exact=True).select_option("key added")
    page.get_by_label("Words in what it was about").fill("hyperlink")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(2)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download what fits as CSV").click()
    target = tmp_path / "audit.csv"
    downloading.value.save_as(target)
    with target.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["action"] for each in rows] == ["key added"]
    assert rows[0]["target"] == f"'{HOSTILE['formula']}"


def test_somebody_is_added_locked_in_and_removed(visitor: Visitor) -> None:
    page = visitor.go("/settings/users")
    page.get_by_label("User name").fill("nora")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="nora may log in now")).to_be_visible()
    assert look(page, "user-password", "1280-light") == []
    page.get_by_role("link", name="Done: back to the users").click()
    page.get_by_role("link", name="nora").click()
    page.get_by_role("link", name="Remove this user…").click()
    expect(page.get_by_text("What is lost:")).to_be_visible()
    page.get_by_role("button", name="Remove the user").click()
    expect(page.get_by_text("nora is removed")).to_be_visible()


PAGES = {
    "users": "/settings/users",
    "user": "/settings/users/2",
    "user-self": "/settings/users/1",
    "user-remove": "/settings/users/2/remove",
    "account": "/account",
    "keys": "/settings/keys",
    "key-rotate": "/settings/keys/1/rotate",
    "key-revoke": "/settings/keys/1/revoke",
    "audit": "/settings/audit",
    "connect": "/connect",
    "connect-key": "/connect/1",
}


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_every_page_is_accessible_and_fits_the_screen(
    browser: Browser, veilleur: Veilleur, scheme: str, size: str
) -> None:
    problems = []
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        page = visitor.page
        for name, path in PAGES.items():
            visitor.go(path)
            page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
            problems += look(page, name, f"{size}-{scheme}")
        visitor.go("/settings/keys")
        page.get_by_label("Label").fill("nas")
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator("#secret")).to_be_visible()
        problems += look(page, "key-made", f"{size}-{scheme}")
    assert problems == []


def test_refused_input_is_accessible_too(browser: Browser, veilleur: Veilleur) -> None:
    with visit(browser, veilleur.url, size="390") as visitor:
        visitor.log_in()
        page = visitor.go("/account")
        page.get_by_label("Current password").fill("not mine")
        page.get_by_label("New password", exact=True).fill("long enough it is")
        page.get_by_label("New password again").fill("not the same")
        page.get_by_role("button", name="Change the password").click()
        expect(page.get_by_text("The two new passwords are not the same.")).to_be_visible()
        assert look(page, "account-refused", "390-light") == []
        # The browser itself logs an answer of 400 as an error.
        visitor.wrong.clear()
