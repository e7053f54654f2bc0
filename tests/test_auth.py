"""Login, logout and sessions from outside: as programs and browsers use them, and as attackers try them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import accounts
from app.models import UserSession
from tests.web import PASSWORD, VIEWER_PASSWORD, LoggedIn, Site, log_in, site

WRONG = {"error": "Unauthorized", "message": "User name or password is wrong."}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a wrong password would have cost in seconds."""
    taken: list[float] = []
    monkeypatch.setattr("app.passwords.time.sleep", taken.append)
    return taken


def sessions(here: Site) -> int:
    with here.database.reading() as rows:
        return rows.query(UserSession).count()


def me(client: FlaskClient) -> TestResponse:
    return client.get("/api/auth/me")


def test_a_login_tells_who_it_is_and_opens_the_session(here: Site) -> None:
    client = here.stranger()
    answer = log_in(client, "admin", PASSWORD)
    assert answer.status_code == 200
    assert answer.json["success"] is True
    assert answer.json["user"] == {"username": "admin", "role": "administrator"}
    assert me(client).json == {"user": {"username": "admin", "role": "administrator"}}


def test_a_viewer_is_told_to_be_one(here: Site) -> None:
    assert here.viewer().get("/api/auth/me").json == {"user": {"username": "viewer", "role": "viewer"}}


def test_a_stranger_is_nobody(here: Site) -> None:
    answer = me(here.stranger())
    assert (answer.status_code, answer.json["error"]) == (401, "Unauthorized")


def test_the_csrf_token_of_the_route_works(here: Site) -> None:
    admin = here.administrator()
    token = admin.get("/api/csrf").json
    assert set(token) == {"csrfToken"}
    headers = {"X-CSRFToken": token["csrfToken"]}
    assert admin.client.post("/api/auth/logout", headers=headers).json == {"success": True}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"username": "admin"}, 400),
        ({"username": "admin", "password": ""}, 400),
        ({"username": "admin", "password": 12345678}, 400),
        ({"username": ["admin"], "password": PASSWORD}, 400),
        ([], 400),
        ("admin", 400),
        ({"username": "admin", "password": "wrong"}, 401),
        ({"username": "ADMIN", "password": PASSWORD}, 401),
        ({"username": "admin' OR 1=1 --", "password": PASSWORD}, 401),
        ({"username": "\0", "password": "\0"}, 401),
        ({"username": "\ud800", "password": "\udfff"}, 401),
        ({"username": "a" * 5000, "password": "b" * 5000}, 401),
    ],
)
def test_a_bad_login_is_refused_as_what_it_is(
    here: Site, naps: list[float], body: object, status: int
) -> None:
    client = here.stranger()
    answer = client.post("/api/auth/login", json=body)
    assert answer.status_code == status
    assert "error" in answer.json
    assert me(client).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 50_000, b"\xff"])
def test_a_login_that_is_no_json_is_refused(here: Site, body: bytes) -> None:
    answer = here.stranger().post("/api/auth/login", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]) == (400, "Bad request")


def test_a_form_of_a_foreign_site_can_not_log_anybody_in(here: Site) -> None:
    """Browsers send forms across sites, but never with the type of JSON."""
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        body = f'{{"username": "admin", "password": "{PASSWORD}"}}'
        answer = here.stranger().post("/api/auth/login", data=body, content_type=content_type)
        assert answer.status_code == 415
        assert "Set-Cookie" not in answer.headers


def test_a_huge_login_is_refused_before_it_is_read(here: Site) -> None:
    answer = here.stranger().post("/api/auth/login", data=b" " * 100_000, content_type="application/json")
    assert answer.status_code == 413


@pytest.mark.parametrize("username", ["admin", "nobody-of-this-name"])
def test_five_wrong_passwords_lock_the_name_whether_or_not_it_exists(
    here: Site, naps: list[float], username: str
) -> None:
    client = here.stranger()
    for _attempt in range(5):
        answer = log_in(client, username, "wrong password")
        assert (answer.status_code, answer.json) == (401, WRONG)
    answer = log_in(client, username, PASSWORD)
    assert answer.status_code == 429
    assert answer.json == {
        "error": "Too many requests",
        "message": "Too many wrong passwords. Try again in 15 minutes.",
    }
    assert 890 <= int(answer.headers["Retry-After"]) <= 900
    assert me(client).status_code == 401
    assert len(here.audit("login refused")) == 5


def test_wrong_passwords_cost_more_time_each_up_to_a_bound(here: Site, naps: list[float]) -> None:
    for username in ("admin", "nobody"):
        for _attempt in range(5):
            log_in(here.stranger(), username, "wrong password")
    assert naps[:5] == naps[5:] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_right_password_is_not_slowed(here: Site, naps: list[float]) -> None:
    assert log_in(here.stranger(), "admin", PASSWORD).status_code == 200
    assert naps == []


def test_the_lock_opens_after_15_minutes(here: Site, naps: list[float]) -> None:
    for _attempt in range(5):
        log_in(here.stranger(), "admin", "wrong password")
    start = datetime.now(UTC)
    with time_machine.travel(start + timedelta(minutes=14), tick=False):
        assert log_in(here.stranger(), "admin", PASSWORD).status_code == 429
    with time_machine.travel(start + timedelta(minutes=15, seconds=5), tick=False):
        assert log_in(here.stranger(), "admin", PASSWORD).status_code == 200


def test_the_lock_of_one_name_holds_up_nobody_else(here: Site, naps: list[float]) -> None:
    for _attempt in range(6):
        log_in(here.stranger(), "admin", "wrong password")
    assert here.viewer().get("/api/auth/me").status_code == 200


def test_a_right_password_clears_the_count(here: Site, naps: list[float]) -> None:
    for _round in range(2):
        for _attempt in range(4):
            log_in(here.stranger(), "admin", "wrong password")
        assert log_in(here.stranger(), "admin", PASSWORD).status_code == 200


def test_logins_are_in_the_audit_log(here: Site, naps: list[float]) -> None:
    log_in(here.stranger(), "admin", "wrong password")
    here.administrator()
    [refused], [done] = here.audit("login refused"), here.audit("login")
    assert (refused.actor, refused.target, refused.address) == ("-", "admin", "127.0.0.1")
    assert (done.actor, done.address) == ("admin", "127.0.0.1")


def test_a_cookie_from_before_the_login_is_worth_nothing_after_it(here: Site) -> None:
    client = here.stranger()
    client.get("/api/csrf")
    planted = client.get_cookie("veilleur_session")
    assert planted is not None
    assert log_in(client, "admin", PASSWORD).status_code == 200
    renewed = client.get_cookie("veilleur_session")
    assert renewed is not None
    assert renewed.value != planted.value
    attacker = here.stranger()
    attacker.set_cookie("veilleur_session", planted.value)
    assert me(attacker).status_code == 401


def test_a_cookie_planted_before_the_login_form_is_worth_nothing_after_it(here: Site) -> None:
    """Neither the one of a stranger nor the one of the attacker's own login."""
    for planted in (here.stranger(), here.viewer().client):
        planted.get("/api/csrf")
        cookie = planted.get_cookie("veilleur_session")
        assert cookie is not None
        victim = here.stranger()
        victim.set_cookie("veilleur_session", cookie.value)
        token = victim.get("/api/csrf").json["csrfToken"]
        form = {"csrf_token": token, "username": "admin", "password": PASSWORD, "next": ""}
        answer = victim.post("/login", data=form)
        assert (answer.status_code, answer.location) == (302, "/")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= flags(answer)
        assert me(victim).json["user"]["username"] == "admin"
        attacker = here.stranger()
        attacker.set_cookie("veilleur_session", cookie.value)
        assert me(attacker).status_code == 401
        logout = attacker.post("/api/auth/logout", headers={"X-CSRF-Token": token})
        assert logout.status_code == 401
        assert me(victim).status_code == 200


def test_logging_in_again_ends_the_session_before_it(here: Site) -> None:
    admin = here.administrator()
    old = admin.cookie
    assert log_in(admin.client, "viewer", VIEWER_PASSWORD).status_code == 200
    thief = here.stranger()
    thief.set_cookie("veilleur_session", old)
    assert me(thief).status_code == 401
    assert sessions(here) == 1


def test_logout_kills_the_cookie_itself(here: Site) -> None:
    admin = here.administrator()
    stolen = admin.cookie
    assert admin.post("/api/auth/logout").json == {"success": True}
    thief = here.stranger()
    thief.set_cookie("veilleur_session", stolen)
    assert me(thief).status_code == 401
    assert me(admin.client).status_code == 401
    assert sessions(here) == 0


def test_logout_needs_the_csrf_token(here: Site) -> None:
    admin = here.administrator()
    assert admin.client.post("/api/auth/logout").status_code == 401
    assert me(admin.client).status_code == 200


def test_logging_out_here_leaves_other_sessions_alone(here: Site) -> None:
    one, other = here.administrator(), here.administrator()
    one.post("/api/auth/logout")
    assert me(other.client).status_code == 200


def test_a_new_password_ends_every_session_of_the_user_alone(here: Site) -> None:
    admin, again, viewer = here.administrator(), here.administrator(), here.viewer()
    with here.database.writing() as rows:
        accounts.set_password(rows, "admin", "an entirely new one")
    assert me(admin.client).status_code == me(again.client).status_code == 401
    assert me(viewer.client).status_code == 200
    assert log_in(here.stranger(), "admin", "an entirely new one").status_code == 200


def test_a_removed_user_is_logged_out(here: Site) -> None:
    viewer = here.viewer()
    with here.database.writing() as rows:
        accounts.remove_user(rows, "viewer")
    assert me(viewer.client).status_code == 401


def test_a_changed_role_holds_at_once(here: Site) -> None:
    viewer = here.viewer()
    with here.database.writing() as rows:
        accounts.find_user(rows, "viewer").role = accounts.ADMINISTRATOR
    assert viewer.post("/api/cron-config", json={"interval": "5min"}).status_code == 200


def test_a_session_ends_when_it_is_not_used(here: Site) -> None:
    admin, start = here.administrator(), datetime.now(UTC)
    with time_machine.travel(start + timedelta(days=6, hours=23), tick=False):
        cookie = admin.cookie
        assert me(admin.client).status_code == 200
    for each in (admin.client, here.stranger()):
        each.set_cookie("veilleur_session", cookie)
        with time_machine.travel(start + timedelta(days=14), tick=False):
            assert me(each).status_code == 401


def test_a_session_that_is_used_daily_goes_on(here: Site) -> None:
    admin, start = here.administrator(), datetime.now(UTC)
    for day in range(1, 20):
        with time_machine.travel(start + timedelta(days=day), tick=False):
            assert me(admin.client).status_code == 200


def test_a_forged_or_garbled_cookie_is_nobody(here: Site) -> None:
    for value in ("", "x", "a.b.c", here.administrator().cookie[:-2] + "xx", "\u00e9" * 3):
        client = here.stranger()
        client.set_cookie("veilleur_session", value)
        assert me(client).status_code == 401


def flags(answer: TestResponse) -> set[str]:
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("veilleur_session=")
    return {
        each.strip().partition("=")[0] if "xpires" in each else each.strip() for each in cookie.split(";")[1:]
    }


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(here: Site) -> None:
    answer = log_in(here.stranger(), "admin", PASSWORD)
    assert flags(answer) == {"Expires", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_over_https_the_cookie_is_secure(here: Site) -> None:
    answer = here.stranger().get("/api/csrf", base_url="https://localhost")
    assert "Secure" in flags(answer)


def test_behind_a_trusted_proxy_the_cookie_knows_https_and_the_sub_path(tmp_path: Path) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/watch"}
    with site(tmp_path, VEILLEUR_TRUSTED_PROXIES="1") as behind:
        found = flags(behind.stranger().get("/api/csrf", headers=headers))
        assert {"Secure", "Path=/watch"} <= found
        assert behind.stranger().get("/", headers=headers).location == "/watch/login?next=/"


def test_without_a_trusted_proxy_such_headers_are_ignored(here: Site) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/watch"}
    assert flags(here.stranger().get("/api/csrf", headers=headers)) == {"HttpOnly", "Path=/", "SameSite=Lax"}


def page_token(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def log_in_by_form(
    here: Site, target: str | None = None, username: str = "admin", password: str = PASSWORD
) -> tuple[FlaskClient, TestResponse]:
    client = here.stranger()
    page = client.get("/login", query_string={"next": target} if target is not None else {})
    form = {"csrf_token": page_token(page), "username": username, "password": password, "next": target or ""}
    return client, client.post("/login", data=form)


def test_the_login_page_logs_in(here: Site) -> None:
    client, answer = log_in_by_form(here)
    assert (answer.status_code, answer.location) == (302, "/")
    assert me(client).status_code == 200
    assert client.get("/login").location == "/"


def test_the_login_page_refuses_a_wrong_password(here: Site, naps: list[float]) -> None:
    for username in ("admin", "nobody"):
        client, answer = log_in_by_form(here, username=username, password="wrong password")
        assert answer.status_code == 401
        assert "User name or password is wrong." in answer.text
        assert "wrong password" not in answer.text
        assert me(client).status_code == 401


def test_the_login_page_says_when_the_name_is_locked(here: Site, naps: list[float]) -> None:
    for _attempt in range(5):
        log_in(here.stranger(), "admin", "wrong password")
    _client, answer = log_in_by_form(here)
    assert answer.status_code == 429
    assert "15 minutes" in answer.text


def test_the_login_page_refuses_a_form_without_its_token(here: Site) -> None:
    client = here.stranger()
    answer = client.post("/login", data={"username": "admin", "password": PASSWORD})
    assert answer.status_code == 400
    assert me(client).status_code == 401


@pytest.mark.parametrize("form", [{}, {"username": "admin"}, {"username": "a" * 81, "password": "x"}])
def test_the_login_page_names_what_is_missing(here: Site, form: dict[str, str]) -> None:
    client = here.stranger()
    token = page_token(client.get("/login"))
    answer = client.post("/login", data={"csrf_token": token, **form})
    assert answer.status_code == 400
    assert "<form" in answer.text


@pytest.mark.parametrize(
    "target", ["/settings/monitoring", "/?state=overdue", "/login", "/jobs/1?before=a%20b"]
)
def test_a_login_leads_on_to_the_page_that_was_asked_for(here: Site, target: str) -> None:
    assert log_in_by_form(here, target)[1].location == target


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "http:evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:\\\\evil.example",
        "%2f%2fevil.example",
        "%5cevil.example",
        "data:text/html,evil",
        "/\x0b/evil.example",
        "/\x00/evil.example",
        "/\r\nSet-Cookie: x=y",
        "//[evil",
    ],
)
def test_a_login_never_leads_to_another_site(here: Site, target: str) -> None:
    answer = log_in_by_form(here, target)[1]
    assert (answer.status_code, answer.location) == (302, "/")
    assert "x=y" not in str(answer.headers)


def test_a_page_asked_for_by_a_stranger_comes_after_the_login(here: Site) -> None:
    answer = here.stranger().get("/settings/monitoring?a=1&b=2")
    assert (answer.status_code, answer.location) == (302, "/login?next=/settings/monitoring?a%3D1%26b%3D2")


def test_the_logout_page_asks_and_its_form_logs_out(here: Site) -> None:
    client, _answer = log_in_by_form(here)
    page = client.get("/logout")
    assert me(client).status_code == 200, "a link alone must not log anybody out"
    answer = client.post("/logout", data={"csrf_token": page_token(page)})
    assert (answer.status_code, answer.location) == (302, "/login")
    assert me(client).status_code == 401


def test_the_logout_form_needs_its_token(here: Site) -> None:
    admin: LoggedIn = here.administrator()
    assert admin.client.post("/logout").status_code == 400
    assert me(admin.client).status_code == 200


def test_nothing_a_session_sees_may_be_cached(here: Site) -> None:
    assert here.administrator().get("/api/auth/me").headers["Cache-Control"] == "no-store"
