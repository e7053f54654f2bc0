"""Reports coming in over HTTP: who may send, what is answered, and what is stored."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import time_machine
from sqlalchemy import delete, func, select
from werkzeug.test import TestResponse

from app import accounts
from app.clock import utcnow
from app.models import ApiKey, Job, QuarantinedBody, Report, ReportBody, Server
from tests.conftest import SAMPLES, SHARED_DATA
from tests.processes import Veilleur
from tests.stage import backup_body
from tests.web import Site, site

EXPECTED: dict[str, dict[str, Any]] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
FORM = "application/x-www-form-urlencoded"
# Later than every report, so that each one's own times are believed.
AFTER_ALL = datetime(2027, 6, 1, tzinfo=UTC)
RESTORE = SAMPLES / "076-live-2.0.7.1-restore.json"
TEXT = SAMPLES / "057-live-2.0.7.1-backup-text.txt"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_MAX_UPLOAD_BYTES="65536") as made:
        yield made


def a_backup(**given: Any) -> bytes:
    return backup_body(utcnow() - timedelta(minutes=5), **given)


def upload(here: Site, body: bytes, content_type: str = "application/json", **given: Any) -> TestResponse:
    given.setdefault("query_string", {"api_key": here.upload_key})
    return here.stranger().post("/api/upload", data=body, content_type=content_type, **given)


def count(here: Site, table: type) -> int:
    with here.database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(table)) or 0


def only(here: Site, table: type) -> Any:
    with here.database.reading() as rows:
        return rows.scalars(select(table)).one()


def test_a_backup_is_taken_in_and_kept_whole(here: Site) -> None:
    body = a_backup()
    answer = upload(here, body)
    assert (answer.status_code, answer.json) == (200, {"success": True})
    report, kept = only(here, Report), only(here, ReportBody)
    assert (report.outcome, report.good) == ("Success", True)
    assert zlib.decompress(kept.compressed) == body
    assert kept.size_bytes == len(body)
    job = only(here, Job)
    assert (job.name, job.state, job.last_good_at) == ("Documents nightly", "ok", report.ended_at)


def test_a_key_may_come_in_the_address_or_in_either_header(here: Site) -> None:
    key = here.upload_key
    ways: list[dict[str, Any]] = [
        {"query_string": {"api_key": key}},
        {"query_string": "", "headers": {"X-Api-Key": key}},
        {"query_string": "", "headers": {"Authorization": f"Bearer {key}"}},
        {"query_string": "", "headers": {"authorization": f"bearer {key}"}},
    ]
    for number, way in enumerate(ways):
        answer = upload(here, a_backup(name=f"job {number}"), **way)
        assert (answer.status_code, answer.json) == (200, {"success": True}), way
    assert count(here, Report) == len(ways)


@pytest.mark.parametrize(
    "way",
    [
        {"query_string": ""},
        {"query_string": {"api_key": ""}},
        {"query_string": {"api_key": "vk_wrong"}},
        {"query_string": {"api_key": "\0é"}},
        {"query_string": "", "headers": {"X-Api-Key": "vk_wrong"}},
        {"query_string": "", "headers": {"Authorization": "Bearer vk_wrong"}},
        {"query_string": "", "headers": {"Authorization": "Bearer"}},
        {"query_string": "", "headers": {"Authorization": "Basic YWRtaW46YWRtaW4="}},
    ],
)
def test_without_a_valid_key_nothing_is_taken(here: Site, way: dict[str, Any]) -> None:
    answer = upload(here, a_backup(), **way)
    assert (answer.status_code, answer.json["error"]) == (401, "Unauthorized")
    assert count(here, Report) == count(here, QuarantinedBody) == 0


def test_a_key_that_may_only_read_is_no_upload_key(here: Site) -> None:
    answer = upload(here, a_backup(), query_string={"api_key": here.add_key(accounts.READ)})
    assert answer.status_code == 401


def test_a_revoked_key_is_worthless_at_once(here: Site) -> None:
    assert upload(here, a_backup(name="before")).status_code == 200
    with here.database.writing() as rows:
        rows.scalars(select(ApiKey)).one().revoked_at = utcnow()
    assert upload(here, a_backup(name="after")).status_code == 401
    assert count(here, Report) == 1


def test_a_login_is_no_key(here: Site) -> None:
    assert here.administrator().post("/api/upload", data=a_backup()).status_code == 401


def test_the_use_of_a_key_is_noted(here: Site) -> None:
    upload(here, a_backup())
    assert utcnow() - only(here, ApiKey).used_at < timedelta(minutes=1)


def test_on_an_open_network_no_key_is_needed_and_a_wrong_one_does_no_harm(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_OPEN_UPLOADS="1") as here:
        for number, key in enumerate(("", "vk_wrong", here.upload_key)):
            answer = upload(here, a_backup(name=f"job {number}"), query_string={"api_key": key})
            assert (answer.status_code, answer.json) == (200, {"success": True})


def test_the_same_report_again_is_known_and_stored_once(here: Site) -> None:
    body = a_backup()
    assert upload(here, body).json == {"success": True}
    for _again in range(3):
        answer = upload(here, body)
        assert (answer.status_code, answer.json) == (200, {"success": True, "duplicate": True})
    assert count(here, Report) == count(here, ReportBody) == count(here, Job) == 1


def test_another_operation_is_ignored_by_name(here: Site) -> None:
    answer = upload(here, RESTORE.read_bytes())
    assert (answer.status_code, answer.json) == (200, {"success": True, "ignored": "Restore"})
    assert count(here, Job) == count(here, QuarantinedBody) == 0


def test_a_text_report_in_a_form_is_taken(here: Site) -> None:
    answer = upload(here, TEXT.read_bytes(), FORM)
    assert (answer.status_code, answer.json) == (200, {"success": True})
    assert only(here, Report).outcome == EXPECTED[TEXT.name]["outcome"]


def test_json_in_a_field_of_a_form_is_taken(here: Site) -> None:
    body = urlencode({"message": a_backup().decode()}).encode()
    assert upload(here, body, FORM).json == {"success": True}


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/plain", FORM, ""]
)
def test_a_report_is_understood_whatever_its_content_type_says(here: Site, content_type: str) -> None:
    assert upload(here, a_backup(), content_type).json == {"success": True}


def test_a_report_may_come_by_put(here: Site) -> None:
    answer = here.stranger().put(f"/api/upload?api_key={here.upload_key}", data=a_backup())
    assert (answer.status_code, answer.json) == (200, {"success": True})


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (b"", None),
        (b"hello", None),
        (b"\x00\xff\xfe", None),
        (b"{}", None),
        (b"[" * 50_000, None),
        (b'{"Data": {"MainOperation": "Backup"}}', "backup-name"),
    ],
)
def test_what_is_no_report_is_refused_and_kept_for_the_administrator(
    here: Site, body: bytes, missing: str | None
) -> None:
    answer = upload(here, body)
    assert answer.status_code == 400
    assert answer.json["error"]
    assert isinstance(answer.json["missingFields"], list)
    assert missing is None or missing in answer.json["missingFields"]
    kept = only(here, QuarantinedBody)
    assert zlib.decompress(kept.compressed) == body
    assert (kept.size_bytes, kept.key_label, kept.address) == (len(body), "first upload key", "127.0.0.1")
    assert (kept.reason, kept.missing_fields) == (answer.json["error"], answer.json["missingFields"])
    assert count(here, Job) == 0


STRANGE = ["\ud800", "nul \0 inside", "line\nbreak", "<script>", "é" * 2000, "🗄 " * 50]


@pytest.mark.parametrize("name", STRANGE, ids=["surrogate", "nul", "line", "script", "long", "emoji"])
def test_a_strange_name_breaks_nothing(here: Site, name: str) -> None:
    answer = upload(here, a_backup(name=name))
    assert answer.status_code in (200, 400)
    assert here.administrator().get("/").status_code == 200


def test_a_report_at_the_limit_is_taken_and_one_byte_more_is_not(here: Site) -> None:
    body = a_backup()
    exact = body + b" " * (here.settings.max_upload_bytes - len(body))
    answer = upload(here, exact + b" ")
    assert (answer.status_code, answer.json["error"]) == (413, "Too large")
    assert count(here, Report) == count(here, QuarantinedBody) == 0
    assert upload(here, exact).json == {"success": True}


def test_a_compressed_body_is_refused_in_words_that_help(here: Site) -> None:
    answer = upload(here, zlib.compress(a_backup()), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json["message"]


def test_a_stranger_is_refused_before_anything_else_is_said(here: Site) -> None:
    big = b"x" * (here.settings.max_upload_bytes + 1000)
    assert upload(here, big, query_string="").status_code == 401
    assert upload(here, b"x", query_string="", headers={"Content-Encoding": "gzip"}).status_code == 401


def test_the_limit_holds_with_and_without_a_content_length_on_the_real_server(tmp_path: Path) -> None:
    limit = 8192
    instance = Veilleur(tmp_path, {"VEILLEUR_MAX_UPLOAD_BYTES": str(limit)})
    with instance.web():
        url = f"{instance.url}/api/upload?api_key={instance.upload_key()}"
        headers = {"Content-Type": "application/json"}

        def send(body: bytes, *, chunked: bool) -> requests.Response:
            parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
            return requests.post(url, data=parts if chunked else body, headers=headers, timeout=20)

        for chunked in (False, True):
            body = a_backup(name=f"chunked: {chunked}")
            for size in (limit + 1, limit + 2, limit + 5000):
                answer = send(body.ljust(size), chunked=chunked)
                assert (answer.status_code, answer.json()["error"]) == (413, "Too large")
            assert send(body.ljust(limit), chunked=chunked).json() == {"success": True}
            assert send(body, chunked=chunked).json() == {"success": True, "duplicate": True}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("collection")) as made:
        yield made


@pytest.fixture
def emptied(collection: Site) -> Site:
    with collection.database.writing() as rows:
        rows.execute(delete(Server))
        rows.execute(delete(QuarantinedBody))
    return collection


def body_of(name: str) -> bytes:
    path = SAMPLES / name
    if not path.is_file():
        path = SHARED_DATA / "reports" / name
    if not path.is_file():
        pytest.skip("published reports are not part of this repository")
    return path.read_bytes()


@pytest.mark.parametrize("name", EXPECTED)
def test_every_known_report_ends_as_the_rows_a_person_expects(emptied: Site, name: str) -> None:
    expected, body = EXPECTED[name], body_of(name)
    with time_machine.travel(AFTER_ALL, tick=False):
        answer = upload(emptied, body, FORM if name.endswith(".txt") else "application/json")
    if "missing" in expected:
        assert (answer.status_code, answer.json["missingFields"]) == (400, expected["missing"])
        assert zlib.decompress(only(emptied, QuarantinedBody).compressed) == body
        assert count(emptied, Report) == 0
        return
    assert answer.status_code == 200
    if expected["operation"] != "Backup":
        assert answer.json == {"success": True, "ignored": expected["operation"]}
        assert count(emptied, Report) == 0
        return
    assert answer.json == {"success": True}
    _assert_rows(emptied, expected)
    assert zlib.decompress(only(emptied, ReportBody).compressed) == body


def _assert_rows(here: Site, expected: dict[str, Any]) -> None:
    report, job, server = only(here, Report), only(here, Job), only(here, Server)
    columns = set(expected) & set(Report.__table__.columns.keys()) - {
        "began_at",
        "ended_at",
        "duration_seconds",
    }
    assert {each: getattr(report, each) for each in columns} == {each: expected[each] for each in columns}
    assert report.duration_seconds == pytest.approx(expected["duration_seconds"], abs=1e-6)
    ended_at = datetime.fromisoformat(expected["ended_at"]) if expected["ended_at"] else AFTER_ALL
    assert report.ended_at == job.last_ended_at or expected["dry_run"]
    assert report.ended_at == ended_at
    if expected["began_at"]:
        assert report.began_at == datetime.fromisoformat(expected["began_at"])
    assert job.name == expected["backup_name"]
    assert job.last_good_at == (ended_at if expected["good"] else None)
    if expected["machine_id"]:
        assert (server.machine_id, server.name) == (expected["machine_id"], expected["machine_name"])
        assert job.backup_id == (expected["backup_id"] or f"name:{expected['backup_name']}")
    else:
        assert server.machine_id.startswith("key:")
