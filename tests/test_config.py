"""The check interval from outside: section 2 of the contract, row by row, through the real application."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from app import interval
from tests import databases
from tests.receivers import HttpReceiver, status
from tests.web import LoggedIn, Site, site

URL = "/api/cron-config"
EXPRESSIONS = {
    "disabled": "0 0 1 1 0",
    "1min": "*/1 * * * *",
    "5min": "*/5 * * * *",
    "10min": "*/10 * * * *",
    "15min": "*/15 * * * *",
    "20min": "*/20 * * * *",
    "30min": "*/30 * * * *",
    "1hour": "0 * * * *",
    "2hours": "0 */2 * * *",
}
REQUIRED = {"error": "Interval is required"}
INVALID = {"error": "Invalid interval", "allowed": list(EXPRESSIONS)}
NOT_SAVED = {"error": "Failed to update cron configuration"}
NOT_READ = {"error": "Failed to get cron configuration"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def admin(here: Site) -> LoggedIn:
    return here.administrator()


def saved(here: Site) -> str:
    return interval.read(here.interval_file).interval


def test_a_fresh_install_checks_every_20_minutes_and_anybody_may_know(here: Site) -> None:
    answer = here.stranger().get(URL)
    assert (answer.status_code, answer.json) == (200, {"cronExpression": "*/20 * * * *", "enabled": True})
    assert answer.content_type == "application/json"
    assert not here.interval_file.exists()


@pytest.mark.parametrize("value", EXPRESSIONS)
def test_each_of_the_nine_intervals_is_saved_and_read_back(here: Site, admin: LoggedIn, value: str) -> None:
    answer = admin.post(URL, json={"interval": value})
    assert (answer.status_code, answer.json) == (200, {"success": True})
    answer = here.stranger().get(URL)
    assert answer.json == {"cronExpression": EXPRESSIONS[value], "enabled": value != "disabled"}


def test_reading_can_be_kept_for_those_who_are_logged_in(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_PUBLIC_READS="0") as closed:
        answer = closed.stranger().get(URL)
        assert (answer.status_code, answer.json["error"]) == (401, "Unauthorized")
        assert closed.viewer().get(URL).status_code == 200


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b'{"interval": "7min"}', b"[]"])
def test_a_damaged_file_is_an_error_and_is_left_as_it_is(here: Site, content: bytes) -> None:
    here.interval_file.write_bytes(content)
    answer = here.stranger().get(URL)
    assert (answer.status_code, answer.json) == (500, NOT_READ)
    assert here.interval_file.read_bytes() == content


def test_a_file_that_can_not_be_read_is_an_error(here: Site) -> None:
    here.interval_file.mkdir()
    answer = here.stranger().get(URL)
    assert (answer.status_code, answer.json) == (500, NOT_READ)


def test_saving_repairs_a_damaged_file(here: Site, admin: LoggedIn) -> None:
    here.interval_file.write_bytes(b"{")
    assert admin.post(URL, json={"interval": "5min"}).json == {"success": True}
    assert saved(here) == "5min"


def test_a_stranger_is_refused_in_words_that_say_why(here: Site) -> None:
    answer = here.stranger().post(URL, json={"interval": "5min"})
    assert answer.status_code == 401
    assert answer.json["error"] == "Unauthorized"
    assert "not logged in" in answer.json["message"]
    assert not here.interval_file.exists()


def test_an_expired_session_is_refused(here: Site, admin: LoggedIn) -> None:
    later = datetime.now(UTC) + timedelta(hours=here.settings.session_hours, minutes=1)
    with time_machine.travel(later, tick=False):
        answer = admin.post(URL, json={"interval": "5min"})
    assert answer.status_code == 401
    assert answer.json["error"] == "Unauthorized"
    assert "session has expired" in answer.json["message"]


@pytest.mark.parametrize(("headers", "reason"), [({}, "missing"), ({"X-CSRF-Token": "wrong"}, "invalid")])
def test_a_csrf_token_missing_or_wrong_is_refused(
    here: Site, admin: LoggedIn, headers: dict[str, str], reason: str
) -> None:
    answer = admin.client.post(URL, json={"interval": "5min"}, headers=headers)
    assert answer.status_code == 401
    assert answer.json["error"] == "Unauthorized"
    assert "CSRF token" in answer.json["message"]
    assert reason in answer.json["message"]
    assert not here.interval_file.exists()


def test_the_csrf_token_of_another_session_is_refused(here: Site, admin: LoggedIn) -> None:
    foreign = here.administrator().token
    answer = admin.client.post(URL, json={"interval": "5min"}, headers={"X-CSRF-Token": foreign})
    assert answer.status_code == 401


@pytest.mark.parametrize("header", ["X-CSRF-Token", "X-CSRFToken", "x-csrf-token"])
def test_both_spellings_of_the_csrf_header_work(here: Site, admin: LoggedIn, header: str) -> None:
    answer = admin.client.post(URL, json={"interval": "5min"}, headers={header: admin.token})
    assert (answer.status_code, answer.json) == (200, {"success": True})


def test_a_viewer_is_forbidden(here: Site) -> None:
    answer = here.viewer().post(URL, json={"interval": "5min"})
    assert answer.status_code == 403
    assert answer.json["error"] == "Forbidden"
    assert not here.interval_file.exists()


@pytest.mark.parametrize("body", [{}, {"interval": None}, {"interval": ""}, {"Interval": "5min"}])
def test_a_body_without_an_interval_is_refused(here: Site, admin: LoggedIn, body: object) -> None:
    answer = admin.post(URL, json=body)
    assert (answer.status_code, answer.json) == (400, REQUIRED)


@pytest.mark.parametrize(
    "value",
    [
        "7min",
        5,
        ["5min"],
        "5MIN",
        "constructor",
        "__proto__",
        {"interval": "5min"},
        True,
        False,
        0,
        " 5min",
        "\ud800",
    ],
)
def test_any_other_interval_is_refused_and_the_allowed_ones_are_named(
    here: Site, admin: LoggedIn, value: object
) -> None:
    answer = admin.post(URL, json={"interval": value})
    assert (answer.status_code, answer.json) == (400, INVALID)
    assert not here.interval_file.exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"interval=5min", b"{", b'"5min"', b'["5min"]', b"5", b"null", b"\xff\xfe", b"[" * 50_000],
    ids=["nothing", "form", "cut", "text", "list", "number", "null", "binary", "deep"],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", None])
def test_what_is_no_json_object_is_refused(
    here: Site, admin: LoggedIn, body: bytes, content_type: str | None
) -> None:
    answer = admin.post(URL, data=body, content_type=content_type)
    assert answer.status_code == 400
    assert "JSON object" in answer.json["error"]
    assert not here.interval_file.exists()


def test_json_is_understood_whatever_its_content_type_says(here: Site, admin: LoggedIn) -> None:
    """curl -d says that it sends a form."""
    for content_type in ("application/x-www-form-urlencoded", "text/plain", None):
        answer = admin.post(URL, data=b'{"interval": "5min"}', content_type=content_type)
        assert (answer.status_code, answer.json) == (200, {"success": True})


def test_other_members_of_the_body_do_no_harm(here: Site, admin: LoggedIn) -> None:
    assert admin.post(URL, json={"interval": "5min", "enabled": False}).json == {"success": True}
    assert saved(here) == "5min"


def test_a_huge_body_is_refused(here: Site, admin: LoggedIn) -> None:
    answer = admin.post(URL, data=b'{"interval": "5min"}' + b" " * 70_000, content_type="application/json")
    assert answer.status_code == 413
    assert answer.json["error"] == "Too large"


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow, which holds for every user; the first byte written fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_the_old_file_stays_intact(here: Site, admin: LoggedIn) -> None:
    admin.post(URL, json={"interval": "1hour"})
    before = here.interval_file.read_bytes()
    with full_disk():
        answer = admin.post(URL, json={"interval": "5min"})
    assert (answer.status_code, answer.json) == (500, NOT_SAVED)
    assert here.interval_file.read_bytes() == before
    assert not list(here.settings.instance_path.glob(".cron.json*"))
    assert len(here.audit("interval changed")) == 1
    assert admin.post(URL, json={"interval": "5min"}).json == {"success": True}


def test_a_file_that_can_not_be_replaced_is_an_error_and_leaves_nothing_behind(
    here: Site, admin: LoggedIn
) -> None:
    here.interval_file.mkdir()
    answer = admin.post(URL, json={"interval": "5min"})
    assert (answer.status_code, answer.json) == (500, NOT_SAVED)
    assert not list(here.settings.instance_path.glob(".cron.json*"))
    assert here.audit("interval changed") == []


def test_without_a_place_for_its_trace_nothing_is_changed(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        admin = here.administrator()
        here.app.extensions["database"] = databases.impatient(here.database)
        with databases.locked(here.settings.instance_path):
            answer = admin.post(URL, json={"interval": "5min"})
        assert (answer.status_code, answer.json) == (500, NOT_SAVED)
        assert not here.interval_file.exists()


def test_every_change_is_in_the_audit_log(here: Site, admin: LoggedIn) -> None:
    moment = datetime(2026, 11, 23, 7, tzinfo=UTC)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=1), tick=False):
        moment = datetime.now(UTC)
        admin.post(URL, json={"interval": "5min"}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
        admin.post(URL, json={"interval": "1hour"})
        admin.post(URL, json={"interval": "7min"})
    first, second = here.audit("interval changed")
    assert (first.actor, first.before, first.after, first.address) == ("admin", "20min", "5min", "192.0.2.7")
    assert (second.actor, second.before, second.after, second.address) == (
        "admin",
        "5min",
        "1hour",
        "127.0.0.1",
    )
    assert first.happened_at == second.happened_at == moment
    assert json.loads(here.interval_file.read_text())["updatedBy"] == "admin"


def test_the_audit_log_has_the_address_the_trusted_proxy_saw(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_TRUSTED_PROXIES="1") as behind:
        forwarded = {"X-Forwarded-For": "198.51.100.9, 192.0.2.7"}
        behind.administrator().post(URL, json={"interval": "5min"}, headers=forwarded)
        assert behind.audit("interval changed")[0].address == "192.0.2.7"


def test_a_header_of_an_untrusted_caller_is_not_believed(here: Site, admin: LoggedIn) -> None:
    admin.post(URL, json={"interval": "5min"}, headers={"X-Forwarded-For": "192.0.2.7"})
    assert here.audit("interval changed")[0].address == "127.0.0.1"


@pytest.mark.parametrize("code", [200, 500])
def test_the_running_cron_service_is_told_at_once(tmp_path: Path, code: int) -> None:
    """Whatever it answers: the interval is saved, and the service sees the file by itself."""
    with (
        HttpReceiver(status(code, b"{}")) as service,
        site(tmp_path, CRON_SERVICE_URL=service.url, VEILLEUR_CRON_TOKEN="a token shared by both") as here,
    ):
        assert here.administrator().post(URL, json={"interval": "5min"}).json == {"success": True}
        [told] = service.requests
        assert (told.method, told.path) == ("POST", "/reload-config")
        assert told.headers["Authorization"] == "Bearer a token shared by both"


PAGE = "/settings/monitoring"


def page_token(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)
    assert found, page
    return found[1]


def test_the_page_saves_the_interval_and_says_so(here: Site, admin: LoggedIn) -> None:
    page = admin.get(PAGE)
    assert page.status_code == 200
    for value in EXPRESSIONS:
        assert f'value="{value}"' in page.text
    form = {"interval": "2hours", "csrf_token": page_token(page.text)}
    answer = admin.client.post(PAGE, data=form)
    assert (answer.status_code, answer.location) == (302, PAGE)
    assert saved(here) == "2hours"
    assert "Every 2 hours" in admin.get(PAGE).text
    assert here.audit("interval changed")[0].after == "2hours"


@pytest.mark.parametrize("form", [{}, {"interval": ""}, {"interval": "7min"}, {"interval": "constructor"}])
def test_the_page_refuses_what_is_no_interval(here: Site, admin: LoggedIn, form: dict[str, str]) -> None:
    assert admin.post(PAGE, data=form).status_code == 400
    assert not here.interval_file.exists()


def test_the_page_refuses_a_form_without_its_token(here: Site, admin: LoggedIn) -> None:
    answer = admin.client.post(PAGE, data={"interval": "5min"})
    assert answer.status_code == 400
    assert "reload the page" in answer.text
    assert not here.interval_file.exists()


def test_the_page_is_for_viewers_to_look_at_and_for_administrators_to_use(here: Site) -> None:
    assert here.stranger().get(PAGE).location == "/login?next=/settings/monitoring"
    viewer = here.viewer()
    assert viewer.get(PAGE).status_code == 200
    assert viewer.post(PAGE, data={"interval": "5min"}).status_code == 403
    assert not here.interval_file.exists()


def test_the_page_opens_with_a_damaged_file_and_repairs_it(here: Site, admin: LoggedIn) -> None:
    here.interval_file.write_bytes(b"{")
    assert admin.get(PAGE).status_code == 200
    assert admin.post(PAGE, data={"interval": "5min"}).status_code == 302
    assert saved(here) == "5min"


def test_the_page_says_when_the_disk_is_full(here: Site, admin: LoggedIn) -> None:
    with full_disk():
        answer = admin.post(PAGE, data={"interval": "5min"})
    assert answer.status_code == 500
    assert "could not be saved" in answer.text


def test_a_check_by_hand_without_a_cron_service_says_how_to_start_it(here: Site, admin: LoggedIn) -> None:
    answer = admin.post(f"{PAGE}/check", follow_redirects=True)
    assert "Please start it with: flask cron-start" in answer.text


def test_a_check_by_hand_tells_what_it_found(tmp_path: Path) -> None:
    statistics = {
        "totalBackupConfigs": 4,
        "checkedBackups": 3,
        "overdueBackupsFound": 2,
        "notificationsSent": 1,
    }
    body = json.dumps({"success": True, "statistics": statistics}).encode()
    with HttpReceiver(status(200, body)) as service, site(tmp_path, CRON_SERVICE_URL=service.url) as here:
        answer = here.administrator().post(f"{PAGE}/check")
        assert answer.status_code == 302
        assert service.requests[0].path == "/trigger/overdue-backup-check"


def test_a_failed_check_by_hand_tells_why(tmp_path: Path) -> None:
    body = b'{"success": false, "message": "the database is away"}'
    with HttpReceiver(status(500, body)) as service, site(tmp_path, CRON_SERVICE_URL=service.url) as here:
        answer = here.administrator().post(f"{PAGE}/check", follow_redirects=True)
        assert "the database is away" in answer.text
