"""The own account: password, preferences and open logins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from app import accounts
from app.clock import utcnow
from app.models import AuditEntry, UserSession
from tests.web import PASSWORD, VIEWER_PASSWORD, LoggedIn, Site, log_in, site

NEW = "another good one"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr("app.passwords.time.sleep", taken.append)
    return taken


def change(
    client: LoggedIn, current: str = VIEWER_PASSWORD, password: str = NEW, again: str = NEW
) -> tuple[int, str]:
    data = {"current": current, "password": password, "repeated": again}
    answer = client.post("/account/password", data=data)
    return answer.status_code, answer.text


def test_a_new_password_ends_the_other_logins_and_this_one_goes_on(here: Site) -> None:
    viewer, elsewhere, admin = here.viewer(), here.viewer(), here.administrator()
    with here.database.writing() as rows:
        accounts.find_user(rows, "viewer").password_is_initial = True
    assert "Choose your own password." in viewer.get("/account").text
    assert change(viewer)[0] == 302
    assert viewer.get("/api/auth/me").status_code == 200
    assert elsewhere.get("/api/auth/me").status_code == 401
    assert admin.get("/api/auth/me").status_code == 200
    assert "Choose your own password." not in viewer.get("/account").text
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 401
    assert log_in(here.stranger(), "viewer", NEW).status_code == 200
    [entry] = here.audit("password changed")
    assert (entry.actor, entry.target, entry.before, entry.after) == ("viewer", "viewer", None, None)


def test_a_cookie_from_before_the_change_opens_nothing_any_more(here: Site) -> None:
    viewer = here.viewer()
    thief = here.stranger()
    thief.set_cookie("veilleur_session", viewer.cookie)
    assert thief.get("/api/auth/me").status_code == 200
    assert change(viewer)[0] == 302
    assert thief.get("/api/auth/me").status_code == 401
    assert "Your password is changed." in viewer.get("/account").text
    with here.database.reading() as rows:
        assert len(rows.query(UserSession).all()) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"current": "not this one"}, "This is not your current password."),
        ({"current": ""}, "Type the password you log in with now."),
        ({"password": "short", "again": "short"}, "Expected: at least 8 characters"),
        ({"again": "something else"}, "The two new passwords are not the same."),
    ],
)
def test_a_refused_password_is_told_why_and_changes_nothing(
    here: Site, given: dict[str, str], told: str
) -> None:
    viewer, elsewhere = here.viewer(), here.viewer()
    status, page = change(viewer, **given)
    assert status == 400
    assert told in page
    assert elsewhere.get("/api/auth/me").status_code == 200
    assert log_in(here.stranger(), "viewer", VIEWER_PASSWORD).status_code == 200
    assert here.audit("password changed") == []


def test_an_open_browser_does_not_let_anybody_guess_the_password(here: Site, naps: list[float]) -> None:
    viewer = here.viewer()
    assert [change(viewer, current=f"guess {number}")[0] for number in range(5)] == [400] * 5
    assert naps == sorted(naps)
    assert naps[-1] > naps[0] > 0
    status, page = change(viewer)
    assert status == 429
    assert "Too many wrong passwords." in page
    assert len(here.audit("password change refused")) == 5
    with time_machine.travel(utcnow() + timedelta(minutes=16)):
        assert change(viewer)[0] == 302


def test_language_and_zone_are_stored_and_empty_means_automatic(here: Site) -> None:
    viewer = here.viewer()
    given = {"language": "en", "timezone": " America/New_York "}
    assert viewer.post("/account/preferences", data=given).status_code == 302
    with here.database.reading() as rows:
        stored = accounts.find_user(rows, "viewer")
        assert (stored.language, stored.timezone) == ("en", "America/New_York")
    page = viewer.get("/account").text
    assert 'value="America/New_York"' in page
    assert "<option selected" in page
    viewer.post("/account/preferences", data={"language": "", "timezone": ""})
    with here.database.reading() as rows:
        stored = accounts.find_user(rows, "viewer")
        assert (stored.language, stored.timezone) == (None, None)
    assert [each.after for each in here.audit("preferences changed")][-1] == "automatic, automatic"


@pytest.mark.parametrize(
    "given",
    [
        {"language": "xx", "timezone": ""},
        {"language": "", "timezone": "Mars/Olympus"},
        {"language": "", "timezone": "../../etc/passwd"},
    ],
)
def test_a_language_or_zone_that_is_none_is_refused_and_kept_in_the_form(
    here: Site, given: dict[str, str]
) -> None:
    answer = here.viewer().post("/account/preferences", data=given)
    assert answer.status_code == 400
    assert given["timezone"] in answer.text
    assert here.audit("preferences changed") == []


def names(page: str) -> list[str]:
    return re.findall(r'name="which" value="([0-9a-f]+)"', page)


def test_logins_are_listed_and_ended_one_by_one_or_all_others(here: Site) -> None:
    viewer, one, two, three = (here.viewer() for _each in range(4))
    here.administrator()
    page = viewer.get("/account").text
    assert page.count("this one") == 1
    assert len(names(page)) == 3
    assert viewer.cookie not in page
    with here.database.reading() as rows:
        assert not any(each.token_hash in page for each in rows.query(UserSession))
    viewer.post("/account/sessions/end", data={"which": names(page)[0]})
    still = [each.get("/api/auth/me").status_code for each in (one, two, three)]
    assert sorted(still) == [200, 200, 401]
    viewer.post("/account/sessions/end", data={"which": "others"})
    assert [each.get("/api/auth/me").status_code for each in (one, two, three)] == [401] * 3
    assert viewer.get("/api/auth/me").status_code == 200


@pytest.mark.parametrize("which", ["", "%", "_" * 16, "\0", "{hash}", "{name}"])
def test_nobody_ends_the_login_of_somebody_else(here: Site, which: str) -> None:
    admin = here.administrator()
    with here.database.reading() as rows:
        stored = rows.query(UserSession).one().token_hash
    viewer = here.viewer()
    given = which.replace("{hash}", stored).replace("{name}", stored[:16])
    viewer.post("/account/sessions/end", data={"which": given})
    assert admin.get("/api/auth/me").status_code == 200
    assert viewer.get("/api/auth/me").status_code == 200


def test_no_password_is_left_in_the_audit_log(here: Site) -> None:
    viewer = here.viewer()
    change(viewer, current="a wrong guess")
    change(viewer)
    with here.database.reading() as rows:
        traces = " ".join(str(vars(each)) for each in rows.query(AuditEntry))
    for secret in (PASSWORD, VIEWER_PASSWORD, NEW, "a wrong guess"):
        assert secret not in traces
