"""Errors as callers see them: JSON under /api/, a page elsewhere, and never what happened inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import abort
from werkzeug.test import TestResponse

from app import access
from tests import databases
from tests.web import Site, site

SECRET = "a password inside an exception"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_MAX_UPLOAD_BYTES="2048") as made:
        _add_failing_views(made)
        yield made


def _add_failing_views(here: Site) -> None:
    @access.public
    def fail() -> str:
        raise ZeroDivisionError(SECRET)

    @access.public
    def busy() -> str:
        abort(429)

    def undeclared() -> str:
        return "nobody said who may see this"

    for prefix in ("/api/", "/"):
        here.app.add_url_rule(f"{prefix}fail", f"{prefix}fail", fail)
        here.app.add_url_rule(f"{prefix}busy", f"{prefix}busy", busy)
        here.app.add_url_rule(f"{prefix}undeclared", f"{prefix}undeclared", undeclared)


def assert_json(answer: TestResponse, status: int, error: str) -> None:
    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert answer.json["error"] == error
    _assert_discreet(answer)


def assert_page(answer: TestResponse, status: int) -> None:
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert f"Error {status}" in answer.text
    assert "</html>" in answer.text
    _assert_discreet(answer)


def _assert_discreet(answer: TestResponse) -> None:
    for word in (SECRET, "Traceback", "ZeroDivision", "site-packages", ".py"):
        assert word not in answer.text


@pytest.mark.parametrize(
    "path", ["/api/", "/api/nothing", "/api/cron-config/", "/api//ping", "/api/%00", "/api/é"]
)
def test_an_unknown_api_path_is_json(here: Site, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert_json(here.stranger().open(path, method=method), 404, "Not found")


@pytest.mark.parametrize("path", ["/nothing", "/jobs/abc", "/login/", "/%00", "/static/../wsgi.py", "/.env"])
def test_an_unknown_page_is_a_page(here: Site, path: str) -> None:
    assert_page(here.stranger().get(path), 404)


def test_a_wrong_method_is_json_and_names_the_right_ones(here: Site) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        answer = here.stranger().open("/api/cron-config", method=method)
        assert_json(answer, 405, "Method not allowed")
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_wrong_method_on_a_page_is_a_page(here: Site) -> None:
    answer = here.stranger().delete("/login")
    assert_page(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_too_large_a_body_is_json(here: Site) -> None:
    answer = here.stranger().post(f"/api/upload?api_key={here.upload_key}", data=b"x" * 5000)
    assert_json(answer, 413, "Too large")


def test_an_unsupported_type_is_json(here: Site) -> None:
    assert_json(here.stranger().post("/api/auth/login", data="x"), 415, "Unsupported media type")


def test_too_many_requests_is_json(here: Site) -> None:
    assert_json(here.stranger().get("/api/busy"), 429, "Too many requests")
    assert_page(here.stranger().get("/busy"), 429)


def test_a_failure_inside_is_logged_and_not_told(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert_json(here.stranger().get("/api/fail"), 500, "Internal server error")
    assert SECRET in caplog.text
    assert_page(here.stranger().get("/fail"), 500)


def test_a_view_without_an_access_rule_lets_nobody_in(here: Site) -> None:
    assert_json(here.administrator().get("/api/undeclared"), 403, "Forbidden")
    assert_page(here.administrator().get("/undeclared"), 403)


def test_a_database_that_is_gone_is_told_without_its_details(here: Site) -> None:
    admin = here.administrator()
    here.database.dispose()
    with databases.missing(here.settings.instance_path):
        assert_json(admin.get("/api/auth/me"), 503, "Service unavailable")
        assert_page(admin.get("/settings/monitoring"), 503)
        answer = here.stranger().post(f"/api/upload?api_key={here.upload_key}", data=b"{}")
    assert answer.status_code == 400  # whatever the database does, this is no report


def test_every_answer_carries_the_headers_that_protect_it(here: Site) -> None:
    for path in ("/api/ping", "/api/nothing", "/api/fail", "/login", "/nothing", "/static/style.css"):
        with here.stranger().get(path) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "'unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
