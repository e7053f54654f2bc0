"""Connect Duplicati: the lines to paste, and the wait for the first report."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import event, select

from app import accounts
from app.clock import utcnow
from app.models import ApiKey, AuditEntry, QuarantinedBody
from tests.stage import backup_body
from tests.web import LoggedIn, Site, site

WAITING = "Waiting for the first report…"
ARRIVED = "The first report is here."
UNREADABLE = "Something came, but it can't be read as a report."
PLACE = re.compile(r'data-refresh-url="([^"]+)"')


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def admin(here: Site) -> LoggedIn:
    return here.administrator()


def begin(admin: LoggedIn, label: str = "nas") -> tuple[str, str]:
    """Make a key as the page does; the key, and the address of the part that waits."""
    answer = admin.post("/connect", data={"label": label})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    page = html.unescape(answer.text)
    place = PLACE.search(page)
    assert place is not None
    secret = re.search(r"api_key=(vk_[\w-]+)", page)
    assert secret is not None
    return secret[1], place[1]


def upload(here: Site, secret: str, body: bytes | None = None) -> int:
    body = backup_body(utcnow()) if body is None else body
    return here.stranger().post(f"/api/upload?api_key={secret}", data=body).status_code


def number_of(here: Site, secret: str) -> int:
    with here.database.reading() as rows:
        return rows.scalars(select(ApiKey.id).where(ApiKey.key_hash == accounts.digest(secret))).one()


def test_a_fresh_key_stands_in_the_lines_of_its_own_answer_alone(
    here: Site, admin: LoggedIn, caplog: pytest.LogCaptureFixture
) -> None:
    page = html.unescape(admin.post("/connect", data={"label": "nas"}).text)
    found = re.search(r"api_key=(vk_[\w-]+)", page)
    assert found is not None
    url = f"http://localhost/api/upload?api_key={found[1]}"
    assert f"--send-http-json-urls={url}\n--send-http-max-log-lines=100" in page
    assert f"--send-http-url={url}\n--send-http-result-output-format=Json" in page
    assert WAITING in page
    place = PLACE.search(page)
    assert place is not None
    assert f'<a href="{place[1]}">Look again</a>' in page
    waiting = admin.get(place[1])
    assert waiting.status_code == 200
    with here.database.reading() as rows:
        traces = " ".join(str(vars(each)) for each in rows.scalars(select(AuditEntry)))
    assert found[1] not in waiting.text + place[1] + traces + caplog.text
    assert [(each.target, each.after) for each in here.audit("key added")] == [("key 2: nas", "upload")]


def test_a_key_without_a_name_is_not_made(here: Site, admin: LoggedIn) -> None:
    answer = admin.post("/connect", data={"label": " "})
    assert answer.status_code == 400
    assert "Type a name" in answer.text
    assert here.audit("key added") == []


def test_a_key_of_before_has_a_placeholder_in_its_lines(here: Site, admin: LoggedIn) -> None:
    with here.database.reading() as rows:
        hint = rows.get_one(ApiKey, 1).hint
    assert hint in admin.get("/connect").text
    answer = admin.get("/connect/1")
    assert re.fullmatch(r"/connect/1\?since=\d+", answer.location)
    page = html.unescape(admin.get(answer.location).text)
    assert "api_key=YOUR_KEY" in page
    assert f"it begins with {hint}" in page
    assert WAITING in page


@pytest.mark.parametrize(
    ("environ", "headers", "expected"),
    [
        ({}, {"Host": "nas.lan:9666"}, "http://nas.lan:9666/api/upload"),
        ({"VEILLEUR_PUBLIC_URL": "https://v.example/watch"}, {}, "https://v.example/watch/api/upload"),
        (
            {"VEILLEUR_TRUSTED_PROXIES": "1"},
            {
                "X-Forwarded-Host": "v.example",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Prefix": "/backups",
                "X-Forwarded-For": "192.0.2.1",
            },
            "https://v.example/backups/api/upload",
        ),
    ],
)
def test_the_lines_have_the_address_at_which_veilleur_is_reached(
    tmp_path: Path, environ: dict[str, str], headers: dict[str, str], expected: str
) -> None:
    with site(tmp_path, **environ) as here:
        admin = here.administrator()
        since = int(utcnow().timestamp())
        # The test's client keeps the login for localhost, at the root; a real browser would bring it along.
        cookie = {"Cookie": f"veilleur_session={admin.cookie}"}
        answer = here.app.test_client(use_cookies=False).get(
            f"/connect/1?since={since}", headers={**headers, **cookie}
        )
        assert answer.status_code == 200, answer.status
        assert f"--send-http-json-urls={expected}?api_key=YOUR_KEY" in answer.text
        if "X-Forwarded-Prefix" in headers:
            assert f'data-refresh-url="/backups/connect/1?since={since}"' in answer.text


def test_the_wait_ends_with_a_report_that_names_its_job(here: Site, admin: LoggedIn) -> None:
    secret, place = begin(admin)
    assert WAITING in admin.get(place).text
    assert upload(here, secret, backup_body(utcnow(), name="Photos <new>", machine="attic")) == 200
    page = admin.get(place).text
    assert ARRIVED in page
    assert "Photos &lt;new&gt; on attic reported." in page
    assert 'href="/jobs/1"' in page
    assert "data-refresh-seconds" not in page, "there is nothing left to wait for"


def test_a_report_for_a_job_that_is_known_ends_the_wait_as_well(here: Site, admin: LoggedIn) -> None:
    assert upload(here, here.upload_key, backup_body(utcnow() - timedelta(days=1))) == 200
    secret, place = begin(admin)
    assert upload(here, here.upload_key) == 200
    assert WAITING in admin.get(place).text, "it came with another key"
    assert upload(here, secret, backup_body(utcnow() + timedelta(seconds=1))) == 200
    page = admin.get(place).text
    assert ARRIVED in page
    assert 'href="/jobs/1"' in page


def test_a_key_that_is_in_use_waits_for_what_comes_after_the_page_was_opened(
    here: Site, admin: LoggedIn
) -> None:
    with time_machine.travel(utcnow()) as clock:
        assert upload(here, here.upload_key) == 200
        clock.shift(timedelta(seconds=2))
        place = admin.get("/connect/1").location
        assert WAITING in admin.get(place).text
        clock.shift(timedelta(seconds=2))
        assert WAITING in admin.get(place).text
        assert upload(here, here.upload_key, backup_body(utcnow(), name="Second")) == 200
        assert "Second on nas reported." in admin.get(place).text


def test_an_old_client_without_ids_is_found_too(here: Site, admin: LoggedIn) -> None:
    secret, place = begin(admin, "old laptop")
    assert upload(here, secret, backup_body(utcnow(), machine=None)) == 200
    assert "on old laptop reported." in admin.get(place).text


def test_a_body_that_is_no_report_is_told_and_the_wait_goes_on(here: Site, admin: LoggedIn) -> None:
    secret, place = begin(admin)
    assert upload(here, here.upload_key, b"message=of+another+key") == 400
    assert WAITING in admin.get(place).text
    assert upload(here, secret, b"message=what%3F") == 400
    page = admin.get(place).text
    assert UNREADABLE in page
    assert 'href="/quarantine"' in page
    assert "data-refresh-seconds" in page
    assert upload(here, secret) == 200
    assert ARRIVED in admin.get(place).text


def test_what_was_unreadable_before_the_page_was_opened_is_not_told(here: Site, admin: LoggedIn) -> None:
    with time_machine.travel(utcnow()) as clock:
        assert upload(here, here.upload_key, b"message=what%3F") == 400
        clock.shift(timedelta(seconds=5))
        assert WAITING in admin.get(admin.get("/connect/1").location).text


def test_the_line_to_try_with_is_answered_and_leaves_nothing_behind(here: Site, admin: LoggedIn) -> None:
    page = html.unescape(admin.post("/connect", data={"label": "nas"}).text)
    line = re.search(r"curl .*", page)
    assert line is not None
    command, data_option, data, url = shlex.split(line[0].removesuffix("</pre>"))
    assert (command, data_option) == ("curl", "--data")
    form = "application/x-www-form-urlencoded"  # what curl says by itself
    answer = here.stranger().post(url, data=data, content_type=form)
    assert (answer.status_code, answer.json) == (200, {"success": True, "ignored": "Test"})
    with here.database.reading() as rows:
        assert rows.query(QuarantinedBody).count() == 0


def test_a_key_that_works_no_more_says_so(here: Site, admin: LoggedIn) -> None:
    secret, place = begin(admin)
    admin.post(f"/settings/keys/{number_of(here, secret)}/revoke")
    assert "This key works no more" in admin.get(place).text
    assert place.partition("?")[0] not in admin.get("/connect").text


@pytest.mark.parametrize("since", ["0", "-1", "99999999999999999999", "-99999999999999999999", "1"])
def test_any_moment_in_the_address_is_a_moment(admin: LoggedIn, since: str) -> None:
    assert admin.get(f"/connect/1?since={since}").status_code == 200


def test_a_read_key_connects_nothing(here: Site, admin: LoggedIn) -> None:
    number = number_of(here, here.add_key(accounts.READ))
    assert admin.get(f"/connect/{number}").status_code == 404


def test_asking_again_and_again_costs_few_queries(here: Site, admin: LoggedIn) -> None:
    secret, place = begin(admin)
    for expected in (WAITING, UNREADABLE, ARRIVED):
        if expected is UNREADABLE:
            upload(here, secret, b"message=what%3F")
        if expected is ARRIVED:
            upload(here, secret)
        statements: list[str] = []

        def note(*given: object, into: list[str] = statements) -> None:
            into.append(str(given[2]))

        event.listen(here.database.engine, "before_cursor_execute", note)
        assert expected in admin.get(place).text
        event.remove(here.database.engine, "before_cursor_execute", note)
        assert len([each for each in statements if each.startswith("SELECT")]) <= 5, statements
        assert not [each for each in statements if "quarantined_body.compressed" in each]
