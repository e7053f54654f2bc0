"""The description drives the running server: no answer that it does not describe, whoever asks.

CONTRACT_EXAMPLES=300 pytest -n0 tests/test_openapi_contract.py   asks longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.conftest import CHECKOUT, SAMPLES
from tests.processes import PASSWORD, Veilleur

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "3"))
VIEWER_PASSWORD = "may only look at it"
REPORT = (SAMPLES / "054-live-2.0.7.1-backup-first.json").read_bytes()
# What ends the session or takes the data away is asked last.
LAST = ("/delete", "/logout")
# The first key is the one that reports come with: another is rotated and revoked.
SPARE = {"key_id": 2}


@dataclass
class Caller:
    """What somebody brings along with every request, whatever else is in it."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)

    def sign(self, case: Any) -> None:
        case.headers = {**(case.headers or {}), **self.headers, "X-Forwarded-For": self.address}
        case.cookies = {**(case.cookies or {}), **self.cookies}
        case.query = {**(case.query or {}), **self.query}


@dataclass
class Running:
    veilleur: Veilleur
    token: str

    def log_in(self, username: str, password: str, address: str) -> Caller:
        answer = requests.post(
            f"{self.veilleur.url}/api/auth/login",
            json={"username": username, "password": password},
            headers={"X-Forwarded-For": address},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        cookies = {"veilleur_session": answer.cookies["veilleur_session"]}
        return Caller(address, {"X-CSRF-Token": answer.json()["csrfToken"]}, cookies)

    def send(self, body: bytes) -> int:
        query = {"api_key": self.veilleur.upload_key()}
        return requests.post(
            f"{self.veilleur.url}/api/upload", data=body, params=query, timeout=60
        ).status_code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    veilleur = Veilleur(tmp_path_factory.mktemp("contract"), {"VEILLEUR_TRUSTED_PROXIES": "1"})
    veilleur.settings["VEILLEUR_CRON_TOKEN"] = "0123456789abcdef0123456789abcdef"
    with veilleur.web():
        added = veilleur.finish(
            "flask", "user", "add", "viewer", "--role", "viewer", "--password", VIEWER_PASSWORD
        )
        assert added.returncode == 0, added.stderr
        made = Running(veilleur, veilleur.settings["VEILLEUR_CRON_TOKEN"])
        assert veilleur.finish("flask", "key", "add", "spare").returncode == 0
        assert made.send(REPORT) == 200
        assert made.send(b"no report") == 400
        yield made


@pytest.fixture(scope="module")
def operations() -> list[Any]:
    """Every operation that is described, in the order to ask in."""
    # Costs a second to load, which no other test should pay for.
    import schemathesis

    schema = schemathesis.openapi.from_path(CHECKOUT / "docs" / "openapi.yaml")
    found = [each.ok() for each in schema.get_all_operations()]
    return sorted(found, key=lambda each: [word in each.path for word in reversed(LAST)])


def is_cron(operation: Any) -> bool:
    return "cron service" in operation.tags


def cases(operation: Any) -> Iterator[st.SearchStrategy[Any]]:
    from schemathesis import GenerationMode

    yield operation.as_strategy(GenerationMode.POSITIVE)
    yield operation.as_strategy(GenerationMode.NEGATIVE)


def ask(operation: Any, base: str, caller: Caller, *, prefix: str = "") -> Iterator[str]:
    """Send what the description allows and what it does not; every answer it does not foresee."""
    faults: list[str] = []
    limits = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    for strategy in cases(operation):

        @given(strategy, st.booleans())
        @limits
        def send(case: Any, known: bool) -> None:
            if known and case.path_parameters:
                for name in case.path_parameters:
                    if name.endswith("_id"):
                        case.path_parameters[name] = SPARE.get(name, 1)
            caller.sign(case)
            answer = case.call(base_url=base + prefix, allow_redirects=False, timeout=60)
            faults.extend(unforeseen(case, answer, prefix))

        try:
            send()
        except Unsatisfiable:
            continue  # without parameters and body there is nothing to get wrong
    yield from faults


def unforeseen(case: Any, answer: Any, prefix: str) -> Iterator[str]:
    from schemathesis import checks
    from schemathesis.core.failures import Failure, FailureGroup

    described = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    asked = f"{case.method} {prefix}{case.formatted_path}"
    may_be_away = not prefix and asked.startswith(("GET /api/health", "GET /api/cron/", "POST /api/cron/"))
    if answer.status_code >= 500 and not (may_be_away and answer.status_code == 503):
        yield f"{asked} {case.body!r}: {answer.status_code} {answer.text[:300]}"
    try:
        case.validate_response(answer, checks=described)
    except (Failure, FailureGroup) as problem:
        told = getattr(problem, "exceptions", [problem])
        yield f"{asked} {case.body!r}: {answer.status_code} {[str(each) for each in told]}"


def ask_all(operations: list[Any], base: str, caller: Caller) -> list[str]:
    own = (each for each in operations if not is_cron(each))
    return [fault for each in own for fault in ask(each, base, caller)]


def test_a_stranger_gets_described_answers_alone(running: Running, operations: list[Any]) -> None:
    assert ask_all(operations, running.veilleur.url, Caller("203.0.113.1")) == []


def test_a_viewer_gets_described_answers_alone(running: Running, operations: list[Any]) -> None:
    caller = running.log_in("viewer", VIEWER_PASSWORD, "203.0.113.2")
    assert ask_all(operations, running.veilleur.url, caller) == []


def test_an_administrator_gets_described_answers_alone(running: Running, operations: list[Any]) -> None:
    caller = running.log_in("admin", PASSWORD, "203.0.113.3")
    assert ask_all(operations, running.veilleur.url, caller) == []


def test_a_client_with_a_key_gets_described_answers_alone(running: Running, operations: list[Any]) -> None:
    key = running.veilleur.upload_key()
    reports = [each for each in operations if each.path == "/api/upload"]
    assert len(reports) == 2
    for caller in (
        Caller("203.0.113.4", query={"api_key": key}),
        Caller("203.0.113.4", headers={"X-Api-Key": key}, query={"api_key": ""}),
        Caller("203.0.113.4", headers={"Authorization": f"Bearer {key}", "X-Api-Key": ""}),
    ):
        assert ask_all(reports, running.veilleur.url, caller) == []


def test_the_cron_service_gives_described_answers_alone_directly_and_through_the_proxy(
    running: Running, operations: list[Any]
) -> None:
    described = [each for each in operations if is_cron(each)]
    assert len(described) >= 5
    direct = f"http://127.0.0.1:{running.veilleur.cron_port}"
    trusted = Caller("203.0.113.5", {"Authorization": f"Bearer {running.token}"})
    with running.veilleur.cron():
        administrator = running.log_in("admin", PASSWORD, "203.0.113.6")
        for operation in described:
            assert list(ask(operation, direct, Caller("203.0.113.5"))) == []
            assert list(ask(operation, direct, trusted)) == []
            through = ask(operation, running.veilleur.url, administrator, prefix="/api/cron")
            assert list(through) == []
        through_proxy = [each for each in operations if each.path == "/api/cron/{path}"]
        for operation in through_proxy:
            assert list(ask(operation, running.veilleur.url, administrator)) == []


def test_an_answer_that_is_not_described_is_found_out(running: Running, operations: list[Any]) -> None:
    """The test of the tests: the same checks, on a description that was made wrong."""
    import schemathesis
    import yaml

    document = yaml.safe_load((CHECKOUT / "docs" / "openapi.yaml").read_text())
    answers = document["paths"]["/api/ping"]["get"]["responses"]
    content = answers["200"]["content"]["application/json"]
    content["schema"] = {"type": "object", "properties": {"status": {"const": "fine"}}}
    del document["paths"]["/api/auth/me"]["get"]["responses"]["401"]
    made_wrong = schemathesis.openapi.from_dict(json.loads(json.dumps(document)))
    for path in ("/api/ping", "/api/auth/me"):
        assert list(ask(made_wrong[path]["GET"], running.veilleur.url, Caller("203.0.113.9")))
