"""Reads for dashboards elsewhere: who may, in which shape, at which cost, and right after every deletion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from sqlalchemy import event, func, select, text
from werkzeug.test import TestResponse

from app import accounts, checks, jobs, retention, summary, totals
from app.clock import iso
from app.db import Database
from app.models import ApiKey, Job, Report, ReportTotal, Server
from app.throttle import FAILURES_BEFORE_PAUSE
from tests.conftest import SHARED_DATA
from tests.stage import NOON, POLICY, backup_body, send
from tests.statements import noted
from tests.web import Site, site

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATER = datetime(2027, 6, 1, tzinfo=UTC)
ADDRESS = {"REMOTE_ADDR": "203.0.113.7"}

# What the widgets of other people read, and of which type each is.
SUMMARY = {
    "totalServers": int,
    "totalBackupsRuns": int,
    "totalBackups": int,
    "totalUploadedSize": int,
    "totalStorageUsed": int,
    "totalBackupSize": int,
    "overdueBackupsCount": int,
    "secondsSinceLastBackup": int,
}
SERVER = {"id": str, "name": str, "backup_name": str, "backup_id": str, "created_at": str}
BACKUP = {
    "id": str,
    "server_id": str,
    "name": str,
    "date": str,
    "status": str,
    "warnings": int,
    "errors": int,
    "messages": int,
    "fileCount": int,
    "fileSize": int,
    "uploadedSize": int,
    "duration": str,
    "duration_seconds": float,
    "durationInMinutes": float,
    "knownFileSize": int,
    "backup_list_count": int,
    "messages_array": type(None),
    "warnings_array": type(None),
    "errors_array": type(None),
    "available_backups": list,
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


class Reader:
    """A dashboard with a read key."""

    def __init__(self, here: Site) -> None:
        self.here = here
        self.key = here.add_key(accounts.READ)

    def get(self, path: str) -> TestResponse:
        return self.here.stranger().get(path, headers={"X-Api-Key": self.key})

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json


@pytest.fixture
def reader(here: Site) -> Reader:
    return Reader(here)


def body(ended_at: datetime, *, stored: int = 1000, uploaded: int = 10, **given: Any) -> bytes:
    """A real report that tells these sizes."""
    content = json.loads(backup_body(ended_at, **given))
    content["Data"]["BackendStatistics"] |= {"KnownFileSize": stored, "BytesUploaded": uploaded}
    return json.dumps(content).encode()


def types(content: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in content.items()}


def counted(database: Database) -> summary.Summary:
    """The same, counted row by row: what the running totals must never differ from."""
    with database.reading() as rows:
        run_bytes = func.coalesce(func.sum(Report.uploaded_bytes), 0)
        runs, uploaded = rows.execute(select(func.count(Report.id), run_bytes)).one()
        sizes = [func.coalesce(func.sum(each), 0) for each in (Job.stored_bytes, Job.examined_bytes)]
        found, stored, examined = rows.execute(select(func.count(Job.id), *sizes)).one()
        return summary.Summary(
            servers_count=rows.scalar(select(func.count(Server.id))) or 0,
            jobs_count=found,
            runs_count=runs,
            uploaded_bytes=uploaded,
            stored_bytes=stored,
            examined_bytes=examined,
            overdue_count=len(rows.scalars(select(Job.id).where(Job.state == "overdue")).all()),
            last_ended_at=rows.scalar(select(func.max(Job.last_ended_at))),
        )


def read(database: Database) -> summary.Summary:
    with database.reading() as rows:
        return summary.read(rows)


# Shapes


def test_an_empty_installation_has_a_summary_of_zeros(reader: Reader) -> None:
    told = reader.json("/api/summary")
    assert told.pop("secondsSinceLastBackup") is None
    assert set(told) == set(SUMMARY) - {"secondsSinceLastBackup"}
    assert set(told.values()) == {0}


def test_the_answers_have_every_member_in_the_type_that_widgets_know(here: Site, reader: Reader) -> None:
    with time_machine.travel(NOON, tick=False):
        send(here.database, body(NOON - HOUR, seconds=2311), NOON)
        told = reader.json("/api/summary")
        last = reader.json("/api/lastbackup/nas")
        several = reader.json("/api/lastbackups/nas")
    assert types(told) == SUMMARY
    assert types(last) == {"status": int, "latest_backup": dict, "server": dict}
    assert types(last["server"]) == SERVER
    assert types(last["latest_backup"]) == BACKUP
    assert types(several) == {
        "status": int,
        "latest_backups": list,
        "backup_jobs_count": int,
        "backup_names": list,
        "server": dict,
    }
    assert several["latest_backups"] == [last["latest_backup"]]
    assert several["server"] == last["server"]


def test_what_a_report_told_is_what_a_dashboard_reads(here: Site, reader: Reader) -> None:
    with time_machine.travel(NOON, tick=False):
        send(here.database, body(NOON - HOUR, seconds=2311, stored=5000, uploaded=70), NOON)
        told = reader.json("/api/summary")
        last = reader.json("/api/lastbackup/nas")
    assert told == {
        "totalServers": 1,
        "totalBackupsRuns": 1,
        "totalBackups": 1,
        "totalUploadedSize": 70,
        "totalStorageUsed": 5000,
        "totalBackupSize": 391655,
        "overdueBackupsCount": 0,
        "secondsSinceLastBackup": 3600,
    }
    assert last["server"] == {
        "id": "nas",
        "name": "nas",
        "backup_name": "Documents nightly",
        "backup_id": "DB-Documents nightly",
        "created_at": "2026-12-01T12:00:00Z",
    }
    backup = last["latest_backup"]
    assert (backup["name"], backup["server_id"], backup["status"]) == ("Documents nightly", "nas", "Success")
    assert backup["date"] == iso(NOON - HOUR - timedelta(seconds=2311))
    assert (backup["duration"], backup["duration_seconds"]) == ("00:38:31", 2311.0)
    assert backup["durationInMinutes"] == pytest.approx(38.5167, abs=1e-4)
    assert (backup["fileCount"], backup["fileSize"], backup["knownFileSize"]) == (7, 391655, 5000)
    assert backup["uploadedSize"] == 70


def test_the_last_backup_of_each_job_comes_newest_first(here: Site, reader: Reader) -> None:
    for name, hours in (("Photos", 3), ("Mail", 1), ("Photos", 2), ("Mail", 5)):
        send(here.database, body(NOON - hours * HOUR, name=name), NOON)
    told = reader.json("/api/lastbackups/nas")
    assert told["backup_names"] == ["Mail", "Photos"]
    assert told["backup_jobs_count"] == 2
    began = timedelta(minutes=1)
    assert [each["date"] for each in told["latest_backups"]] == [
        iso(NOON - HOUR - began),
        iso(NOON - 2 * HOUR - began),
    ]
    assert reader.json("/api/lastbackup/nas")["latest_backup"] == told["latest_backups"][0]


@pytest.mark.parametrize(
    ("data", "status"),
    [({"ParsedResult": "Warning"}, "Warning"), ({"PartialBackup": True}, "Partial"), ({}, "Success")],
)
def test_only_a_whole_backup_is_called_a_success(
    here: Site, reader: Reader, data: dict[str, Any], status: str
) -> None:
    send(here.database, body(NOON - HOUR, **data), NOON)
    assert reader.json("/api/lastbackup/nas")["latest_backup"]["status"] == status


def test_a_server_that_only_tried_out_has_no_last_backup(here: Site, reader: Reader) -> None:
    send(here.database, body(NOON - HOUR, Dryrun=True), NOON)
    told = reader.json("/api/lastbackup/nas")
    assert told["latest_backup"] is None
    assert told["server"]["backup_name"] is None
    assert reader.json("/api/lastbackups/nas")["latest_backups"] == []


# Which server


@pytest.mark.parametrize("name", ["nas & attic/€ 100%", "../nas", "1", "a b"])
def test_a_name_in_the_address_may_hold_anything(here: Site, reader: Reader, name: str) -> None:
    send(here.database, body(NOON - HOUR, machine=name), NOON)
    assert reader.json(f"/api/lastbackup/{quote(name, safe='')}")["server"]["name"] == name


@pytest.mark.parametrize("path", ["lastbackup", "lastbackups"])
@pytest.mark.parametrize("name", ["nowhere", "%00", "x" * 2000, "%FF", "nas%20", "NAS"])
def test_an_unknown_server_is_not_found(here: Site, reader: Reader, path: str, name: str) -> None:
    send(here.database, body(NOON - HOUR), NOON)
    answer = reader.get(f"/api/{path}/{name}")
    assert answer.status_code == 404
    assert answer.json["error"] == "Server not found"


def test_of_two_servers_with_one_name_the_id_must_be_told(here: Site, reader: Reader) -> None:
    for number in (1, 2):
        content = json.loads(body(NOON - HOUR, machine=f"id-{number}"))
        content["Extra"]["machine-name"] = "nas"
        send(here.database, json.dumps(content).encode(), NOON)
    answer = reader.get("/api/lastbackup/nas")
    assert answer.status_code == 409
    assert answer.json["error"] == "Several servers have this name"
    assert answer.json["servers"] == [{"id": "id-2", "name": "nas"}, {"id": "id-1", "name": "nas"}]
    assert reader.json("/api/lastbackup/id-1")["server"]["id"] == "id-1"


def test_an_id_goes_before_a_name(here: Site, reader: Reader) -> None:
    send(here.database, body(NOON - HOUR, machine="id-1"), NOON)
    content = json.loads(body(NOON - HOUR, machine="id-2"))
    content["Extra"]["machine-name"] = "id-1"
    send(here.database, json.dumps(content).encode(), NOON)
    assert reader.json("/api/lastbackup/id-1")["server"]["id"] == "id-1"


# Who may


def test_a_read_key_is_taken_from_each_place_and_its_use_is_noted(here: Site, reader: Reader) -> None:
    stranger = here.stranger()
    for given in (
        {"headers": {"X-Api-Key": reader.key}},
        {"headers": {"Authorization": f"Bearer {reader.key}"}},
        {"query_string": {"api_key": reader.key}},
    ):
        assert stranger.get("/api/summary", **given).status_code == 200
    with here.database.reading() as rows:
        assert rows.scalar(select(ApiKey.used_at).where(ApiKey.scope == accounts.READ)) is not None


def test_a_login_reads_too_whatever_key_comes_along(here: Site) -> None:
    viewer = here.viewer()
    assert viewer.get("/api/summary").status_code == 200
    assert viewer.get("/api/summary?api_key=vk_wrong").status_code == 200


def test_wrong_keys_are_slowed_and_a_read_key_always_works(here: Site, reader: Reader) -> None:
    stranger = here.stranger()
    for number in range(FAILURES_BEFORE_PAUSE):
        answer = stranger.get(f"/api/summary?api_key=vk_{number}", environ_base=ADDRESS)
        assert answer.status_code == 401
    answer = stranger.get(f"/api/summary?api_key={here.upload_key}", environ_base=ADDRESS)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    path = f"/api/summary?api_key={reader.key}"
    assert stranger.get(path, environ_base=ADDRESS).status_code == 200


def test_a_revoked_key_reads_no_more(here: Site, reader: Reader) -> None:
    with here.database.writing() as rows:
        rows.scalars(select(ApiKey).where(ApiKey.scope == accounts.READ)).one().revoked_at = NOON
    assert reader.get("/api/summary").status_code == 401


def test_an_open_network_for_reports_does_not_open_the_reads(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_OPEN_UPLOADS="1") as made:
        assert made.stranger().get("/api/summary").status_code == 401


# What it costs


def statements_of(here: Site, reader: Reader, path: str) -> list[str]:
    reader.get(path)  # notes the use of the key
    with noted(here.database) as found:
        reader.json(path)
    return found


def test_no_answer_costs_more_for_more_jobs_and_reports(here: Site, reader: Reader) -> None:
    paths = {"/api/summary": 4, "/api/lastbackup/nas": 3, "/api/lastbackups/nas": 3}
    send(here.database, body(NOON - HOUR, name="job 0"), NOON)
    before = {path: statements_of(here, reader, path) for path in paths}
    for number in range(30):
        send(here.database, body(NOON - number * HOUR, name=f"job {number % 10}"), NOON)
    assert {path: statements_of(here, reader, path) for path in paths} == before
    selects = {path: [each for each in found if "SELECT" in each] for path, found in before.items()}
    assert {path: len(found) for path, found in selects.items()} == paths


@pytest.mark.sqlite("asks for SQLite's plan")
def test_no_table_that_grows_is_read_as_a_whole(database: Database) -> None:
    """But for the few rows of the sums, every row is reached by an index."""
    send(database, body(NOON - HOUR), NOON)
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            cursor = connection.connection.dbapi_connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in cursor.fetchall())
            cursor.close()

    event.listen(database.engine, "before_cursor_execute", explain)
    with database.reading() as rows:
        summary.read(rows)
        (server,) = summary.find_servers(rows, "nas", 10)
        summary.find_servers(rows, "another name", 10)
        assert len(summary.last_backups(rows, server, 10)) == 1
    event.remove(database.engine, "before_cursor_execute", explain)
    scans = [each for each in plans if each.startswith("SCAN") or "TEMP B-TREE" in each]
    assert scans == ["SCAN report_total", "SCAN total"], plans
    used = {index for each in plans for index in each.split() if index.startswith("ix_")}
    assert used == {"ix_job_last_ended", "ix_job_server_ended", "ix_server_name"}


def test_no_server_can_make_the_answer_endless(
    here: Site, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.blueprints.external.BACKUPS_LIMIT", 3)
    for number in range(5):
        send(here.database, body(NOON - number * HOUR, name=f"job {number}"), NOON)
    told = reader.json("/api/lastbackups/nas")
    assert told["backup_names"] == ["job 0", "job 1", "job 2"]
    assert told["backup_jobs_count"] == 3


# Right after everything


def test_the_totals_follow_reports_checks_deletions_and_retention(database: Database) -> None:
    for server in ("nas", "desk"):
        for number in range(12):
            for day in range(3):
                ended_at = NOON + day * DAY
                data = body(ended_at, machine=server, name=f"job {number}", stored=1000 + day, uploaded=day)
                assert send(database, data, ended_at)
                assert not send(database, data, ended_at), "nothing counts twice"
    told = read(database)
    assert told == counted(database)
    assert (told.servers_count, told.jobs_count, told.runs_count) == (2, 24, 72)
    assert (told.uploaded_bytes, told.stored_bytes) == (24 * 3, 24 * 1002)

    checks.run(database, POLICY, NOON + 5 * DAY)
    assert read(database).overdue_count == counted(database).overdue_count == 24

    with database.writing() as rows:
        for job in rows.scalars(select(Job).where(Job.name.in_(("job 3", "job 7")))):
            jobs.forget(rows, job)
    assert read(database) == counted(database)
    assert (read(database).jobs_count, read(database).runs_count) == (20, 60)

    removed = retention.remove_stored_data(database, 100, NOON + 101 * DAY + HOUR)
    assert removed["reports"] == 40
    told = read(database)
    assert told == counted(database)
    assert (told.runs_count, told.uploaded_bytes, told.stored_bytes) == (20, 40, 20 * 1002)

    with database.writing() as rows:
        for job in rows.scalars(select(Job)):
            jobs.forget(rows, job)
    told = read(database)
    assert told == counted(database) == summary.Summary(0, 0, 0, 0, 0, 0, 0, None)


def test_the_size_of_a_job_is_what_its_newest_whole_run_told(database: Database) -> None:
    def sizes() -> tuple[int, int]:
        told = read(database)
        assert told == counted(database)
        return told.stored_bytes, told.examined_bytes

    send(database, body(NOON, stored=500, SizeOfExaminedFiles=90), NOON)
    assert sizes() == (500, 90)
    send(database, body(NOON - DAY, stored=400, SizeOfExaminedFiles=80), NOON)
    assert sizes() == (500, 90), "an older run that came later"
    failed = {"ParsedResult": "Fatal", "SizeOfExaminedFiles": 0}
    send(database, body(NOON + HOUR, stored=0, **failed), NOON + HOUR)
    assert sizes() == (500, 90), "a failed run takes nothing away"
    partial = {"PartialBackup": True, "SizeOfExaminedFiles": 3}
    send(database, body(NOON + 2 * HOUR, stored=510, **partial), NOON + 2 * HOUR)
    assert sizes() == (500, 90), "a part is not the size"
    send(database, body(NOON + 3 * HOUR, stored=1, Dryrun=True, SizeOfExaminedFiles=1), NOON + 3 * HOUR)
    assert sizes() == (500, 90), "nothing was stored"
    send(database, body(NOON + 4 * HOUR, stored=0, SizeOfExaminedFiles=0), NOON + 4 * HOUR)
    assert sizes() == (0, 0), "an empty backup is one"


def test_a_dry_run_does_not_let_the_last_backup_grow_too_old(database: Database) -> None:
    send(database, body(NOON), NOON)
    send(database, body(NOON + DAY, Dryrun=True), NOON + DAY)
    retention.remove_stored_data(database, 100, NOON + 300 * DAY)
    with database.reading() as rows:
        (server,) = summary.find_servers(rows, "nas", 10)
        assert len(summary.last_backups(rows, server, 10)) == 1
    assert read(database) == counted(database)


def test_what_a_broken_client_claims_overflows_nothing(database: Database) -> None:
    largest = 2**63 - 1
    for number in range(3):
        claimed = body(NOON + number * HOUR, stored=largest, uploaded=largest, SizeOfExaminedFiles=largest)
        assert send(database, claimed, NOON + number * HOUR)
    told = read(database)
    assert (told.uploaded_bytes, told.stored_bytes) == (3 * 2**50, 2**50)
    with database.writing() as rows:
        rows.execute(text("UPDATE report_total SET uploaded_bytes = :full"), {"full": 2**58 + 2**50})
    assert send(database, body(NOON + DAY, uploaded=largest), NOON + DAY)
    assert read(database).uploaded_bytes == totals.SLOTS * (2**58 + 2**50)
    with database.writing() as rows:
        jobs.forget(rows, rows.scalars(select(Job)).one())
    with database.reading() as rows:
        assert {type(each) for each in rows.scalars(select(ReportTotal.uploaded_bytes))} == {int}


def test_every_published_report_is_told_as_it_is_stored(here: Site, reader: Reader) -> None:
    """All at once in one installation; the totals are those of the rows, and each server can be read."""
    folder = SHARED_DATA / "reports"
    if not folder.is_dir():
        pytest.skip("published reports are not part of this repository")
    with time_machine.travel(LATER, tick=False):
        for path in sorted(folder.iterdir()):
            kind = "application/json" if path.suffix == ".json" else "application/x-www-form-urlencoded"
            address = f"/api/upload?api_key={here.upload_key}"
            here.stranger().post(address, data=path.read_bytes(), content_type=kind)
        told = read(here.database)
        assert told == counted(here.database)
        assert told.runs_count > 50
        assert told.stored_bytes > 0
        with here.database.reading() as rows:
            machines = list(rows.scalars(select(Server.machine_id)))
        assert len(machines) == reader.json("/api/summary")["totalServers"] > 10
        for machine in machines:
            several = reader.json(f"/api/lastbackups/{machine}")
            assert several["server"]["id"] == machine
            for backup in several["latest_backups"]:
                assert types(backup) in (BACKUP, BACKUP | {"backup_list_count": type(None)}), backup
