"""Guessing from one address is slowed, for passwords and for keys, and a right key always gets in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import time_machine
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app import accounts, clock, passwords, throttle
from app.models import LoginFailure
from app.throttle import FAILURES_BEFORE_PAUSE, PAUSE, Kind
from tests import stage
from tests.processes import PASSWORD as ADMIN_PASSWORD
from tests.processes import Veilleur
from tests.statements import noted
from tests.web import PASSWORD, Site, log_in, site

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
HERE = {"REMOTE_ADDR": "203.0.113.7"}
ELSEWHERE = {"REMOTE_ADDR": "203.0.113.8"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(passwords, "_SLOWED_SECONDS", 0)
    monkeypatch.setattr(accounts, "check_password_hash", lambda _hash, given: given == PASSWORD)
    with site(tmp_path) as made, time_machine.travel(NOON, tick=False):
        yield made


def try_to_log_in(client: FlaskClient, username: str, password: str, where: dict[str, str]) -> TestResponse:
    client.environ_base |= where
    return log_in(client, username, password)


def upload(here: Site, key: str, where: dict[str, str]) -> TestResponse:
    return here.stranger().post(f"/api/upload?api_key={key}", data=b"{}", environ_base=where)


def failures(here: Site) -> int:
    with here.database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(LoginFailure)) or 0


def test_many_names_from_one_address_are_slowed_and_others_are_not(here: Site) -> None:
    for number in range(FAILURES_BEFORE_PAUSE):
        assert try_to_log_in(here.stranger(), f"name{number}", "wrong", HERE).status_code == 401
    refused = try_to_log_in(here.stranger(), "admin", PASSWORD, HERE)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert try_to_log_in(here.stranger(), "admin", PASSWORD, ELSEWHERE).status_code == 200
    with time_machine.travel(NOON + PAUSE, tick=False):
        assert try_to_log_in(here.stranger(), "another", "wrong", HERE).status_code == 401
        assert try_to_log_in(here.stranger(), "admin", PASSWORD, HERE).status_code == 429
    with time_machine.travel(NOON + 2 * PAUSE, tick=False):
        assert try_to_log_in(here.stranger(), "admin", PASSWORD, HERE).status_code == 200


def test_after_a_quarter_of_an_hour_without_a_failure_all_is_forgotten(here: Site) -> None:
    for number in range(FAILURES_BEFORE_PAUSE):
        try_to_log_in(here.stranger(), f"name{number}", "wrong", HERE)
    with time_machine.travel(NOON + timedelta(minutes=16), tick=False):
        for number in range(3):
            assert try_to_log_in(here.stranger(), f"new{number}", "wrong", HERE).status_code == 401


def test_a_name_that_looks_like_the_row_of_an_address_locks_nobody_out(here: Site) -> None:
    for _ in range(5):
        try_to_log_in(here.stranger(), "address:203.0.113.8", "wrong", HERE)
    assert try_to_log_in(here.stranger(), "admin", PASSWORD, ELSEWHERE).status_code == 200


def test_wrong_keys_are_slowed_and_the_right_key_always_works(here: Site) -> None:
    for number in range(FAILURES_BEFORE_PAUSE):
        assert upload(here, f"vk_wrong{number}", HERE).status_code == 401
    refused = upload(here, "vk_wrong", HERE)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert refused.json is not None
    assert refused.json["error"] == "Too many requests"
    assert upload(here, here.upload_key, HERE).status_code == 400
    assert upload(here, "vk_wrong", ELSEWHERE).status_code == 401
    assert here.stranger().post("/api/upload", environ_base=HERE).status_code == 401, "no key is no guess"
    with time_machine.travel(NOON + PAUSE, tick=False):
        assert upload(here, "vk_wrong", HERE).status_code == 401


def test_what_is_refused_at_once_writes_nothing(here: Site) -> None:
    for number in range(FAILURES_BEFORE_PAUSE):
        upload(here, f"vk_wrong{number}", HERE)
    with noted(here.database) as statements:
        assert upload(here, "vk_wrong", HERE).status_code == 429
    assert {each.split()[0] for each in statements} <= {"BEGIN", "SELECT"}, statements
    with noted(here.database) as statements, here.database.asking() as rows:
        assert accounts.find_key(rows, here.upload_key, accounts.UPLOAD, clock.utcnow())
    assert [each.split()[0] for each in statements] == ["SELECT"]
    with noted(here.database) as statements:
        assert upload(here, here.upload_key, HERE).status_code == 400
    assert [each for each in statements if "login_failure" in each] == []


def test_an_ipv6_network_counts_as_one_address(here: Site) -> None:
    for number in range(FAILURES_BEFORE_PAUSE):
        upload(here, "vk_wrong", {"REMOTE_ADDR": f"2001:db8:1:2::{number:x}"})
    assert upload(here, "vk_wrong", {"REMOTE_ADDR": "2001:db8:1:2:ffff::1"}).status_code == 429
    assert upload(here, "vk_wrong", {"REMOTE_ADDR": "2001:db8:1:3::1"}).status_code == 401
    assert failures(here) == 2


def test_the_rows_stay_few_however_many_addresses_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ROWS_LIMIT", 50)
    monkeypatch.setattr(throttle, "_ROWS_DROPPED", 10)
    database = stage.new_database(tmp_path)
    with database.writing() as rows:
        for number in range(300):
            now = NOON + timedelta(seconds=number)
            throttle.note_failure(rows, Kind.KEY, f"10.0.{number // 250}.{number % 250}", now)
            accounts.note_failure(rows, f"name{number}", now)
    with database.reading() as rows:
        assert 30 < (rows.scalar(select(func.count()).select_from(LoginFailure)) or 0) <= 50
        assert rows.get(LoginFailure, "name299")
    database.dispose()


def test_every_worker_counts_the_same_guesses(tmp_path: Path) -> None:
    """Two real processes, fifteen guesses at a time; nobody else is slowed meanwhile."""
    veilleur = Veilleur(tmp_path, {"VEILLEUR_TRUSTED_PROXIES": "1"})

    def guess(number: int) -> int:
        claimed = {"X-Forwarded-For": "203.0.113.7"}
        url = f"{veilleur.url}/api/upload?api_key=vk_{number}"
        return requests.post(url, data=b"{}", headers=claimed, timeout=30).status_code

    with veilleur.web(), ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(guess, range(120)))
        assert set(answers) == {401, 429}
        assert FAILURES_BEFORE_PAUSE <= answers.count(401) <= FAILURES_BEFORE_PAUSE + 15
        credentials = {"username": "admin", "password": ADMIN_PASSWORD}
        answer = requests.post(f"{veilleur.url}/api/auth/login", json=credentials, timeout=30)
        assert answer.status_code == 200, answer.text
