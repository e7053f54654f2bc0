"""Who gets which answer from every route: one table, and nothing may be missing from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from app import access, clock
from app.access import Rule
from app.cron.control import create_control_app
from app.cron.service import CronService
from app.cron.tasks import TASKS
from app.delivery import Courier
from app.models import Job
from tests.processes import Veilleur
from tests.visitors import Call, Row, Visitors, answered, furnish, read_table
from tests.web import PASSWORD, LoggedIn, Site, log_in, site

# A line for every route, sent without a body: what each visitor gets. "login" is the way to the login page,
# "=" is what a stranger gets. The visitors, from left to right: nobody; a viewer and an administrator with
# their CSRF token; an upload key, a read key and a key that is none; an administrator whose session has
# expired; an administrator without the CSRF token. A part of the path such as {job_id} is 1, and exists.
TABLE = """
                                            stranger viewer admin upload read wrong expired tokenless
GET    /                                       login    200   200      =    =     =       =       200
GET    /account                                login    200   200      =    =     =       =       200
POST   /account/password                       login    400   400      =    =     =       =       400
POST   /account/preferences                    login    400   400      =    =     =       =       400
POST   /account/sessions/end                   login    400   400      =    =     =       =       400
GET    /api/auth/me                              401    200   200      =    =     =       =       200
POST   /api/auth/login                           415    415   415      =    =     =       =       415
POST   /api/auth/logout                          401    200   200      =    =     =       =       401
GET    /api/cron-config                          200    200   200      =    =     =       =       200
POST   /api/cron-config                          401    403   400      =    =     =       =       401
GET    /api/cron/{path}                          503    503   503      =    =     =       =       503
POST   /api/cron/{path}                          401    403   503      =    =     =       =       401
GET    /api/csrf                                 200    200   200      =    =     =       =       200
GET    /api/health                               503    503   503      =    =     =       =       503
GET    /api/lastbackup/{server}                  401    200   200    401  200   401     401       200
GET    /api/lastbackups/{server}                 401    200   200    401  200   401     401       200
GET    /api/ping                                 200    200   200      =    =     =       =       200
GET    /api/summary                              401    200   200    401  200   401     401       200
POST   /api/upload                               401    401   401    400    =     =       =       401
PUT    /api/upload                               401    401   401    400    =     =       =       401
GET    /connect                                login    403   200      =    =     =       =       200
POST   /connect                                login    403   400      =    =     =       =       400
GET    /connect/{key_id}                       login    403   302      =    =     =       =       302
GET    /jobs/{job_id}                          login    200   200      =    =     =       =       200
GET    /jobs/{job_id}/delete                   login    403   200      =    =     =       =       200
POST   /jobs/{job_id}/delete                   login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/acknowledge              login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/acknowledge/withdraw     login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/notes                    login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/pause                    login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/publish                  login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/reminder                 login    403   400      =    =     =       =       400
GET    /jobs/{job_id}/reports/{report_id}      login    200   200      =    =     =       =       200
GET    /jobs/{job_id}/reports/{report_id}/body login    403   200      =    =     =       =       200
GET    /jobs/{job_id}/reports/{report_id}/raw  login    403   200      =    =     =       =       200
POST   /jobs/{job_id}/resume                   login    403   302      =    =     =       =       400
POST   /jobs/{job_id}/schedule                 login    403   400      =    =     =       =       400
GET    /jobs/{job_id}/schedule/edit            login    403   200      =    =     =       =       200
POST   /jobs/{job_id}/schedule/preview         login    403   400      =    =     =       =       400
GET    /jobs/{job_id}/schedule/remove          login    403   302      =    =     =       =       302
POST   /jobs/{job_id}/schedule/remove          login    403   302      =    =     =       =       400
GET    /jobs/{job_id}/series                   login    200   200      =    =     =       =       200
POST   /jobs/{job_id}/tolerance                login    403   302      =    =     =       =       400
POST   /layout                                 login    400   400      =    =     =       =       400
GET    /login                                    200    302   302      =    =     =       =       302
POST   /login                                    400    400   400      =    =     =       =       400
GET    /logout                                 login    200   200      =    =     =       =       200
POST   /logout                                 login  login login      =    =     =       =       400
GET    /quarantine                             login    403   200      =    =     =       =       200
POST   /quarantine/{body_id}/delete            login    403   302      =    =     =       =       400
GET    /quarantine/{body_id}                   login    403   200      =    =     =       =       200
GET    /quarantine/{body_id}/delete            login    403   200      =    =     =       =       200
GET    /quarantine/{body_id}/delete-older      login    403   200      =    =     =       =       200
POST   /quarantine/{body_id}/delete-older      login    403   302      =    =     =       =       400
GET    /quarantine/{body_id}/raw               login    403   200      =    =     =       =       200
GET    /settings/channels                      login    200   200      =    =     =       =       200
GET    /settings/channels/new                  login    403   200      =    =     =       =       200
GET    /settings/channels/new/{service_name}   login    403   200      =    =     =       =       200
POST   /settings/channels/new/{service_name}   login    403   400      =    =     =       =       400
GET    /settings/channels/{channel_id}         login    200   200      =    =     =       =       200
GET    /settings/channels/{channel_id}/edit    login    403   200      =    =     =       =       200
POST   /settings/channels/{channel_id}/edit    login    403   400      =    =     =       =       400
GET    /settings/channels/{channel_id}/remove  login    403   200      =    =     =       =       200
POST   /settings/channels/{channel_id}/remove  login    403   302      =    =     =       =       400
POST   /quarantine/{body_id}/retry             login    403   302      =    =     =       =       400
GET    /settings/about                         login    403   200      =    =     =       =       200
POST   /settings/channels/{channel_id}/retry   login    403   302      =    =     =       =       400
POST   /settings/channels/{channel_id}/switch  login    403   400      =    =     =       =       400
POST   /settings/channels/{channel_id}/test    login    403   302      =    =     =       =       400
GET    /settings/audit                         login    403   200      =    =     =       =       200
GET    /settings/audit/export.csv              login    403   200      =    =     =       =       200
GET    /settings/keys                          login    403   200      =    =     =       =       200
POST   /settings/keys                          login    403   400      =    =     =       =       400
GET    /settings/keys/{key_id}/revoke          login    403   200      =    =     =       =       200
POST   /settings/keys/{key_id}/revoke          login    403   302      =    =     =       =       400
GET    /settings/keys/{key_id}/rotate          login    403   200      =    =     =       =       200
POST   /settings/keys/{key_id}/rotate          login    403   400      =    =     =       =       400
GET    /settings/maintenance                   login    200   200      =    =     =       =       200
POST   /settings/maintenance/once              login    403   400      =    =     =       =       400
POST   /settings/maintenance/weekly            login    403   400      =    =     =       =       400
GET    /settings/maintenance/{window_id}/remove login   403   200      =    =     =       =       200
POST   /settings/maintenance/{window_id}/remove login   403   302      =    =     =       =       400
GET    /settings/messages                      login    200   200      =    =     =       =       200
GET    /settings/messages/{kind}/{language}    login    403   200      =    =     =       =       200
POST   /settings/messages/{kind}/{language}    login    403   400      =    =     =       =       400
POST   /settings/messages/{kind}/{language}/preview login 403 200      =    =     =       =       400
GET    /settings/messages/{kind}/{language}/reset login 403   200      =    =     =       =       200
POST   /settings/messages/{kind}/{language}/reset login 403   302      =    =     =       =       400
GET    /settings/monitoring                    login    200   200      =    =     =       =       200
POST   /settings/monitoring                    login    403   400      =    =     =       =       400
POST   /settings/monitoring/grouping           login    403   400      =    =     =       =       400
POST   /settings/monitoring/reminder           login    403   400      =    =     =       =       400
POST   /settings/monitoring/tolerance          login    403   400      =    =     =       =       400
POST   /settings/monitoring/check              login    403   302      =    =     =       =       400
GET    /settings/users                         login    403   200      =    =     =       =       200
POST   /settings/users                         login    403   400      =    =     =       =       400
GET    /settings/users/{user_id}               login    403   200      =    =     =       =       200
POST   /settings/users/{user_id}/password      login    403   400      =    =     =       =       400
GET    /settings/users/{user_id}/remove        login    403   200      =    =     =       =       200
POST   /settings/users/{user_id}/remove        login    403   302      =    =     =       =       400
POST   /settings/users/{user_id}/role          login    403   400      =    =     =       =       400
POST   /settings/users/{user_id}/sessions/end  login    403   302      =    =     =       =       400
POST   /settings/users/{user_id}/unlock        login    403   302      =    =     =       =       400
GET    /settings/retention                     login    200   200      =    =     =       =       200
POST   /settings/retention                     login    403   400      =    =     =       =       400
GET    /settings/retention/confirm             login    403   302      =    =     =       =       302
GET    /settings/status-page                   login    403   200      =    =     =       =       200
POST   /settings/status-page                   login    403   302      =    =     =       =       400
POST   /settings/status-page/jobs/{job_id}     login    403   302      =    =     =       =       400
POST   /settings/status-page/jobs/{job_id}/remove login 403   302      =    =     =       =       400
GET    /status                                   404    404   404      =    =     =       =       404
GET    /status/badge.svg                         404    404   404      =    =     =       =       404
GET    /status/jobs/{job_id}/badge.svg           404    404   404      =    =     =       =       404
GET    /static/{filename}                        200    200   200      =    =     =       =       200
"""
# What VEILLEUR_PUBLIC_READS=0 closes: then only those who are logged in get the answers above.
PUBLIC_READS = {("GET", "/api/cron-config"), ("GET", "/api/cron/{path}")}
# Whoever adds to these opens a door to everybody.
PUBLIC = {"auth.csrf_token", "auth.login_page", "health.health", "health.ping", "static"}
# While the status page is off, which it is until somebody switches it on, these answer 404.
PUBLIC |= {"status_page.show", "status_page.badge_of_all", "status_page.badge_of_job"}
OWN_CHECK = {"auth.login", "auth.login_form", "ingest.upload"}
OWN_ACCOUNT = {"account.change_password", "account.save_preferences", "account.end_sessions"}
ROWS = read_table(TABLE)
VISITORS = tuple(ROWS[0].expected)
LOGGED_IN = ("viewer", "admin", "tokenless")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("access")) as made:
        yield made


@pytest.fixture(scope="module")
def visitors(here: Site) -> Visitors:
    return Visitors(here)


@pytest.fixture(scope="module")
def behind_doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitors]:
    with site(tmp_path_factory.mktemp("closed"), VEILLEUR_PUBLIC_READS="0") as made:
        yield Visitors(made)


def calls(app: Flask) -> set[Call]:
    """Method and path of every route, as the table writes them."""
    return {
        (method, re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_is_in_the_table_and_every_line_has_its_route(here: Site) -> None:
    listed = [row.call for row in ROWS]
    assert len(listed) == len(set(listed)), "a route is listed twice"
    missing, gone = calls(here.app) - set(listed), set(listed) - calls(here.app)
    assert not missing, f"a new route needs a line in TABLE: {sorted(missing)}"
    assert not gone, f"these lines of TABLE have no route: {sorted(gone)}"


def assert_well_formed(row: Row, answer: TestResponse) -> None:
    """JSON with the agreed error under /api/, a page elsewhere; the protecting headers on both."""
    if row.path.startswith("/api/"):
        assert answer.mimetype == "application/json"
        if answer.status_code >= 400 and row.path != "/api/health":
            assert isinstance(answer.json["error"], str)
            named = {401: "Unauthorized", 403: "Forbidden"}.get(answer.status_code)
            assert named is None or answer.json["error"] == named
            assert named is None or answer.json["message"]
    elif answer.status_code >= 400:
        assert answer.mimetype == "text/html"
    assert_protected(row, answer)


def assert_protected(row: Row, answer: TestResponse) -> None:
    headers = answer.headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content_type, "a type that is not told is guessed"
    if row.path != "/static/{filename}":
        assert headers["Cache-Control"] == "no-store"
    assert not [name for name, _value in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_visitor_gets_the_answer_that_is_meant(visitors: Visitors, row: Row) -> None:
    for who in VISITORS:
        furnish(visitors.here)
        with visitors.send(who, row) as answer:
            assert answered(answer) == row.expected[who], f"{who}: {answer.text}"
            assert_well_formed(row, answer)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_without_public_reads_only_those_are_let_in_who_are_logged_in(
    behind_doors: Visitors, row: Row
) -> None:
    for who in VISITORS:
        furnish(behind_doors.here)
        closed = row.call in PUBLIC_READS and who not in LOGGED_IN
        with behind_doors.send(who, row) as answer:
            assert answered(answer) == ("401" if closed else row.expected[who]), f"{who}: {answer.text}"
            assert_well_formed(row, answer)


def test_whoever_may_not_is_told_nothing_about_what_exists(visitors: Visitors) -> None:
    """The same answer for a job that is there and for one that is not."""
    for row in ROWS:
        if "_id}" in row.path:
            absent = Row(row.method, row.path.replace("_id}", "_id}99"), row.expected)
            for who in VISITORS:
                if row.expected[who] in ("login", "401", "403"):
                    furnish(visitors.here)
                    with visitors.send(who, absent) as answer:
                        assert answered(answer) == row.expected[who], (who, absent)


# The rules behind the table


def test_every_route_has_an_access_rule(here: Site) -> None:
    rules = {each.endpoint: access.rule_of(here.app, each.endpoint) for each in here.app.url_map.iter_rules()}
    assert None not in rules.values(), rules
    public_reads = {endpoint_of(here.app, *call) for call in PUBLIC_READS}
    for rule, expected in (
        (Rule.PUBLIC, PUBLIC),
        (Rule.OWN_CHECK, OWN_CHECK),
        (Rule.PUBLIC_READ, public_reads),
    ):
        assert {endpoint for endpoint, found in rules.items() if found is rule} == expected


def endpoint_of(app: Flask, method: str, path: str) -> str:
    endpoint, _values = app.url_map.bind("localhost").match(Row(method, path, {}).filled, method=method)
    return str(endpoint)


def test_whatever_changes_something_is_for_administrators(here: Site) -> None:
    """But for the own account and sessions, which everybody changes for themselves, and how somebody likes
    the pages."""
    own_session = {"auth.logout", "auth.logout_form", "dashboard.layout"} | OWN_CHECK | OWN_ACCOUNT
    for each in here.app.url_map.iter_rules():
        if (each.methods or set()) - {"GET", "HEAD", "OPTIONS"} and each.endpoint not in own_session:
            assert access.rule_of(here.app, each.endpoint) is Rule.ADMINISTRATOR, each.endpoint


def changing() -> list[Row]:
    """Whatever a foreign page could try to have an administrator's browser do."""
    own_check = ("/api/upload", "/api/auth/login", "/login")
    return [row for row in ROWS if row.method not in ("GET", "HEAD") and row.path not in own_check]


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"X-CSRF-Token": "wrong"}},
        {"headers": {"X-CSRF-Token": "{foreign}"}},
        {"headers": {"X-CSRFToken": "{foreign}"}},
        {"data": {"csrf_token": "{foreign}"}},
        {"data": {"csrf_token": ""}},
        {"json": {"csrf_token": "{own}"}},
        {"data": '{"csrf_token": "{own}"}', "content_type": "text/plain"},
        {"query_string": {"csrf_token": "{own}"}},
        {"headers": {"X-CSRF-Token": "{planted}"}},
    ],
    ids=str,
)
def test_nothing_changes_on_any_token_but_the_one_of_this_session_in_its_place(
    visitors: Visitors, given: dict[str, Any]
) -> None:
    """Not another session's, nor one from before the login, nor the own one where a link can put it."""
    here = visitors.here
    client = here.stranger()
    planted = client.get("/api/csrf").json["csrfToken"]
    assert log_in(client, "admin", PASSWORD).status_code == 200
    admin = LoggedIn(client)
    tokens = {"own": admin.token, "foreign": here.administrator().token, "planted": planted}
    for row in changing():
        furnish(here)
        answer = client.open(row.filled, method=row.method, **_with_tokens(given, tokens))
        assert answer.status_code == (401 if row.path.startswith("/api/") else 400), row
    assert admin.get("/api/auth/me").status_code == 200


def _with_tokens(given: Any, tokens: dict[str, str]) -> Any:
    if isinstance(given, dict):
        return {name: _with_tokens(value, tokens) for name, value in given.items()}
    for name, token in tokens.items():
        given = given.replace(f"{{{name}}}", token)
    return given


# Other methods, other origins


def test_head_is_answered_as_get_to_everybody(visitors: Visitors) -> None:
    for row in ROWS:
        if row.method == "GET":
            for who in ("stranger", "viewer", "upload"):
                furnish(visitors.here)
                with visitors.send(who, Row("HEAD", row.path, row.expected)) as answer:
                    assert answered(answer) == row.expected[who], (who, row)
                    assert answer.data == b""


def test_no_other_origin_is_let_in(visitors: Visitors) -> None:
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-CSRF-Token, Content-Type",
    }
    for row in ROWS:
        for who in ("stranger", "admin"):
            for method in ("OPTIONS", row.method):
                furnish(visitors.here)
                with visitors.send(who, Row(method, row.path, row.expected), headers=headers) as answer:
                    assert_protected(row, answer)


def test_methods_that_nobody_has_asked_for_change_nothing(visitors: Visitors) -> None:
    """A method can't be smuggled in beside the real one either."""
    smuggled = {"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST", "X-Method-Override": "POST"}
    furnish(visitors.here)
    path = Row("GET", "/jobs/{job_id}/delete", {})
    assert visitors.send("admin", path, headers=smuggled).status_code == 200
    assert visitors.send("admin", path, query_string={"_method": "POST"}).status_code == 200
    for method in ("DELETE", "PUT", "PATCH"):
        assert visitors.send("admin", Row(method, "/jobs/{job_id}/delete", {})).status_code == 405
    with visitors.here.database.reading() as rows:
        assert rows.get(Job, 1) is not None


# The cron service's own port

# "-" is left to the tests of the service: it would wait for a loop that does not run here.
CRON_TABLE = """
                        nothing wrong token
GET    /health              200   200   200
POST   /reload-config       401   401     -
POST   /start/{task}        401   401   404
POST   /stop/{task}         401   401   404
POST   /trigger/{task}      401   401   404
"""


def test_nothing_drives_the_cron_service_without_its_token(here: Site) -> None:
    courier = Courier(here.app, here.database, here.settings, clock.utcnow)
    service = CronService(here.app, here.settings, TASKS, courier)
    app = create_control_app(service, here.settings)
    tokens = {"nothing": "", "wrong": "Bearer wrong", "token": f"Bearer {here.settings.cron_token}"}
    rows = read_table(CRON_TABLE)
    assert {row.call for row in rows} == calls(app)
    for row in rows:
        for who, authorization in tokens.items():
            if row.expected[who] != "-":
                headers = {"Authorization": authorization}
                answer = app.test_client().open(row.filled, method=row.method, headers=headers)
                assert answered(answer) == row.expected[who], (who, row)
                assert answer.mimetype == "application/json"
    courier.stop()


# On the real server


def test_the_real_server_gives_the_same_answers(tmp_path: Path) -> None:
    installed = Veilleur(tmp_path)
    with installed.web():
        admin = requests.Session()
        credentials = {"username": "admin", "password": PASSWORD}
        told = admin.post(f"{installed.url}/api/auth/login", json=credentials, timeout=30).json()
        senders: dict[str, tuple[requests.Session, dict[str, str]]] = {
            "stranger": (requests.Session(), {}),
            "upload": (requests.Session(), {"X-Api-Key": installed.upload_key()}),
            "tokenless": (admin, {}),
            "admin": (admin, {"X-CSRF-Token": told["csrfToken"]}),
        }
        for row in ROWS:
            if "{" in row.path or row.path.endswith("logout"):
                continue
            for who, (session, headers) in senders.items():
                answer = session.request(
                    row.method, installed.url + row.path, headers=headers, allow_redirects=False, timeout=30
                )
                at_login = answer.headers.get("Location", "").partition("?")[0] == "/login"
                assert ("login" if at_login else str(answer.status_code)) == row.expected[who], (who, row)
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["Cache-Control"] == "no-store"
