"""The page of users: who may log in, and what an administrator does about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, select

from app import accounts
from app.clock import utcnow
from app.models import AuditEntry, User
from tests import factories
from tests.web import PASSWORD, VIEWER_PASSWORD, LoggedIn, Site, log_in, site

USERS = "/settings/users"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def number(here: Site, name: str) -> int:
    with here.database.reading() as rows:
        return accounts.find_user(rows, name).id


def role(here: Site, name: str) -> str:
    with here.database.reading() as rows:
        return accounts.find_user(rows, name).role


def shown_secret(page: str) -> str:
    found = re.search(r'<pre id="secret">([^<]+)</pre>', page)
    assert found, page
    return found[1]


def every_trace(here: Site) -> str:
    with here.database.reading() as rows:
        return " ".join(str(vars(each)) for each in rows.scalars(select(AuditEntry)))


def test_users_are_listed_with_role_sessions_and_lock(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.passwords.time.sleep", lambda _seconds: None)
    here.viewer()
    here.viewer()
    for _guess in range(5):
        log_in(here.stranger(), "viewer", "wrong password")
    page = here.administrator().get(USERS).text
    assert "Locked out until" in page
    assert re.search(r'data-label="Open sessions"><span>2<', page)
    assert "Sees every job" in page
    assert "May change everything" in page


def test_a_user_with_a_random_password_is_shown_it_once_and_may_log_in(here: Site) -> None:
    admin = here.administrator()
    answer = admin.post(USERS, data={"username": "vera", "role": "viewer", "how": "generated"})
    password = shown_secret(answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(password) >= 20
    vera = log_in(here.stranger(), "vera", password)
    assert vera.json["user"] == {"username": "vera", "role": "viewer"}
    assert password not in admin.get(USERS).text + every_trace(here)
    with here.database.reading() as rows:
        assert accounts.find_user(rows, "vera").password_is_initial
    assert [(each.target, each.after, each.actor) for each in here.audit("user added")] == [
        ("vera", "viewer", "admin")
    ]


def test_a_user_with_a_typed_password_may_log_in(here: Site) -> None:
    given = {"username": "vera", "role": "administrator", "how": "typed", "password": "typed by me"}
    answer = here.administrator().post(USERS, data=given)
    assert answer.status_code == 302
    assert log_in(here.stranger(), "vera", "typed by me").json["user"]["role"] == "administrator"
    assert "typed by me" not in every_trace(here)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"username": "no spaces"}, "Expected: 1 to 80 letters"),
        ({"username": "vera\n"}, "Expected: 1 to 80 letters"),
        ({"username": ""}, "Type a name."),
        ({"username": "admin"}, "Somebody has this name already."),
        ({"role": "king"}, "Not a valid choice"),
        ({"how": "typed", "password": "short"}, "Expected: at least 8 characters"),
        ({"how": ""}, "Choose one of the two."),
    ],
)
def test_a_refused_user_is_told_why_and_keeps_what_was_typed(
    here: Site, given: dict[str, str], told: str
) -> None:
    data = {"username": "veras-name", "role": "viewer", "how": "generated", **given}
    answer = here.administrator().post(USERS, data=data)
    assert answer.status_code == 400
    assert told in answer.text
    if "username" not in given:
        assert 'value="veras-name"' in answer.text
    assert here.audit("user added") == []


def test_a_role_is_changed_and_in_force_at_once(here: Site) -> None:
    viewer = here.viewer()
    assert viewer.get(USERS).status_code == 403
    url = f"{USERS}/{number(here, 'viewer')}/role"
    assert here.administrator().post(url, data={"role": "administrator"}).status_code == 302
    assert viewer.get(USERS).status_code == 200
    [entry] = here.audit("role changed")
    assert (entry.target, entry.before, entry.after) == ("viewer", "viewer", "administrator")


def test_the_last_administrator_stays_one_and_stays(here: Site) -> None:
    admin, me = here.administrator(), number(here, "admin")
    answer = admin.post(f"{USERS}/{me}/role", data={"role": "viewer", "sure": "y"})
    assert answer.status_code == 400
    assert "last administrator" in answer.text
    assert "last administrator" in admin.get(f"{USERS}/{me}/remove").text
    assert admin.post(f"{USERS}/{me}/remove").status_code == 400
    assert role(here, "admin") == "administrator"
    assert here.audit("role changed") == here.audit("user removed") == []


def second_administrator(here: Site) -> LoggedIn:
    with here.database.writing() as rows:
        accounts.find_user(rows, "viewer").role = accounts.ADMINISTRATOR
    return here.viewer()


def test_whoever_gives_up_the_own_rights_is_warned_first(here: Site) -> None:
    second_administrator(here)
    admin, me = here.administrator(), number(here, "admin")
    assert "This is your own account" in admin.get(f"{USERS}/{me}").text
    answer = admin.post(f"{USERS}/{me}/role", data={"role": "viewer"})
    assert answer.status_code == 400
    assert "Tick this to go on" in answer.text
    assert role(here, "admin") == "administrator"
    assert admin.post(f"{USERS}/{me}/role", data={"role": "viewer", "sure": "y"}).status_code == 302
    assert admin.get(USERS).status_code == 403


def test_a_new_password_ends_the_sessions_of_the_user_alone(here: Site) -> None:
    viewer, admin = here.viewer(), here.administrator()
    url = f"{USERS}/{number(here, 'viewer')}/password"
    password = shown_secret(admin.post(url, data={"how": "generated"}).text)
    assert viewer.get("/api/auth/me").status_code == 401
    assert admin.get("/api/auth/me").status_code == 200
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 401
    assert log_in(here.stranger(), "viewer", password).status_code == 200
    assert password not in every_trace(here)
    refused = admin.post(url, data={"how": "typed", "password": "short"})
    assert (refused.status_code, "Expected: at least 8" in refused.text) == (400, True)


def test_whoever_sets_the_own_password_goes_on_with_another_cookie(here: Site) -> None:
    admin, thief = here.administrator(), here.stranger()
    thief.set_cookie("veilleur_session", admin.cookie)
    page = admin.post(f"{USERS}/{number(here, 'admin')}/password", data={"how": "generated"}).text
    assert thief.get("/api/auth/me").status_code == 401
    assert admin.get("/api/auth/me").status_code == 200
    assert log_in(here.stranger(), "admin", shown_secret(page)).status_code == 200


def test_a_lock_is_lifted(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.passwords.time.sleep", lambda _seconds: None)
    for _guess in range(5):
        log_in(here.stranger(), "viewer", "wrong password")
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 429
    admin, person = here.administrator(), number(here, "viewer")
    assert "Unlock now" in admin.get(f"{USERS}/{person}").text
    admin.post(f"{USERS}/{person}/unlock")
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 200
    assert len(here.audit("user unlocked")) == 1


def test_all_sessions_of_a_user_are_ended_but_never_the_one_that_asks(here: Site) -> None:
    viewer, other, admin = here.viewer(), here.administrator(), here.administrator()
    admin.post(f"{USERS}/{number(here, 'viewer')}/sessions/end")
    assert viewer.get("/api/auth/me").status_code == 401
    admin.post(f"{USERS}/{number(here, 'admin')}/sessions/end")
    assert other.get("/api/auth/me").status_code == 401
    assert admin.get("/api/auth/me").status_code == 200
    assert [each.after for each in here.audit("sessions ended")] == ["1", "1"]


def test_a_user_is_removed_after_a_page_that_says_what_is_lost(here: Site) -> None:
    viewer, admin, person = here.viewer(), here.administrator(), number(here, "viewer")
    page = admin.get(f"{USERS}/{person}/remove").text
    assert "1 open session, which ends at once" in page
    assert "What stays" in page
    assert admin.post(f"{USERS}/{person}/remove").status_code == 302
    assert viewer.get("/api/auth/me").status_code == 401
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 401
    assert admin.get(f"{USERS}/{person}").status_code == 404
    assert [(each.target, each.before) for each in here.audit("user removed")] == [("viewer", "viewer")]


def test_many_users_are_shown_page_by_page_with_few_queries(here: Site) -> None:
    with here.database.writing() as rows:
        for count in range(120):
            user = User(username=f"user{count:03}", password_hash="", role="viewer", created_at=factories.NOW)
            rows.add(user)
            rows.flush()
            accounts.open_session(rows, user, address="192.0.2.1", now=utcnow(), hours=1)
    admin, names, path = here.administrator(), [], USERS
    while path:
        statements: list[str] = []

        def note(*given: object, into: list[str] = statements) -> None:
            into.append(str(given[2]))

        event.listen(here.database.engine, "before_cursor_execute", note)
        page = admin.get(path).text
        event.remove(here.database.engine, "before_cursor_execute", note)
        assert len([each for each in statements if each.startswith("SELECT")]) <= 6, statements
        names += re.findall(r'main-link" href="/settings/users/\d+">([^<]+)<', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert len(names) == 122
    assert names == sorted(set(names))


def test_the_password_of_the_administrator_still_works(here: Site) -> None:
    assert log_in(here.stranger(), "admin", PASSWORD).status_code == 200
