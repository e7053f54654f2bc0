"""API keys: made and shown once, rotated with an overlap, expired, revoked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from app import accounts, record, stored_settings
from app.blueprints import ingest
from app.clock import utcnow
from app.models import ApiKey, AuditEntry, Job, QuarantinedBody, Report, Server
from app.reports import UnusableReport
from app.spool import Spool
from tests.conftest import SHARED_DATA
from tests.stage import backup_body
from tests.web import LoggedIn, Site, site

KEYS = "/settings/keys"
OLD_CLIENT = [
    ("012-adenau-form-good.txt", "013-adenau-form-failed.txt"),
    ("009-adenau-text-success.txt", "010-adenau-text-failed.txt"),
    ("033-tiago-sim-success.json", "033-tiago-sim-success.json"),
]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def secret_in(page: str) -> str:
    found = re.search(r'<pre id="secret">(vk_[\w-]+)</pre>', page)
    assert found, page
    return found[1]


def make(admin: LoggedIn, label: str = "nas", scope: str = "upload", **given: str) -> str:
    answer = admin.post(KEYS, data={"label": label, "scope": scope, **given})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return secret_in(answer.text)


def stored(here: Site, secret: str) -> ApiKey:
    with here.database.reading() as rows:
        return rows.scalars(select(ApiKey).where(ApiKey.key_hash == accounts.digest(secret))).one()


def upload(here: Site, secret: str, body: bytes | None = None) -> int:
    body = backup_body(utcnow()) if body is None else body
    return here.stranger().post(f"/api/upload?api_key={secret}", data=body).status_code


def read(here: Site, secret: str) -> int:
    return here.stranger().get("/api/summary", headers={"X-Api-Key": secret}).status_code


def rotate(here: Site, admin: LoggedIn, secret: str, hours: int = 24, **given: str) -> str:
    url = f"{KEYS}/{stored(here, secret).id}/rotate"
    answer = admin.post(url, data={"overlap_hours": str(hours), **given})
    assert answer.status_code == 200, answer.text
    return secret_in(answer.text)


def test_a_key_is_shown_once_with_the_lines_and_never_again(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    admin = here.administrator()
    answer = admin.post(KEYS, data={"label": "nas", "scope": "upload"})
    secret = secret_in(answer.text)
    assert f"--send-http-json-urls=http://localhost/api/upload?api_key={secret}" in answer.text
    assert f"--send-http-url=http://localhost/api/upload?api_key={secret}" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Location" not in answer.headers
    assert upload(here, secret) == 200
    with here.database.reading() as rows:
        traces = " ".join(str(vars(each)) for each in rows.scalars(select(AuditEntry)))
    later = "".join(admin.get(path).text for path in (KEYS, "/settings/audit", "/connect"))
    assert secret not in later + traces + caplog.text
    [entry] = here.audit("key added")
    assert (entry.actor, entry.target) == ("admin", f"key {stored(here, secret).id}: nas")


def test_a_read_key_reads_and_gets_no_lines_for_duplicati(here: Site) -> None:
    answer = here.administrator().post(KEYS, data={"label": "wall", "scope": "read"})
    secret = secret_in(answer.text)
    assert "send-http" not in answer.text
    assert (read(here, secret), upload(here, secret)) == (200, 401)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"label": ""}, "Say who or what will use it."),
        ({"label": "x" * 121}, "between 1 and 120"),
        ({"scope": "all"}, "Not a valid choice"),
        ({"expires_on": "2020-01-01"}, "Expected: today or a later day."),
        ({"expires_on": "9999-12-31"}, "Expected: today or a later day."),
        ({"expires_on": "soon"}, "Not a valid date"),
    ],
)
def test_a_refused_key_is_told_why(here: Site, given: dict[str, str], told: str) -> None:
    answer = here.administrator().post(KEYS, data={"label": "nas", "scope": "upload", **given})
    assert answer.status_code == 400
    assert told in answer.text
    assert here.audit("key added") == []


@pytest.mark.parametrize("scope", ["upload", "read"])
def test_a_key_works_to_the_end_of_its_last_day_in_the_zone_of_the_page(tmp_path: Path, scope: str) -> None:
    with (
        time_machine.travel(datetime(2026, 11, 23, 9, tzinfo=UTC)) as clock,
        site(tmp_path, VEILLEUR_TIMEZONE="Asia/Tokyo") as here,
    ):
        secret = make(here.administrator(), scope=scope, expires_on="2026-11-24")
        use = upload if scope == "upload" else read
        clock.move_to(datetime(2026, 11, 24, 14, 59, tzinfo=UTC))
        assert use(here, secret) == 200
        clock.move_to(datetime(2026, 11, 24, 15, 0, tzinfo=UTC))
        assert use(here, secret) == 401
        assert "expired" in here.administrator().get(KEYS).text


def test_both_keys_work_for_the_overlap_and_then_only_the_new_one(here: Site) -> None:
    admin = here.administrator()
    with time_machine.travel(utcnow()) as clock:
        old = make(admin)
        new = rotate(here, admin, old, hours=24)
        assert [upload(here, each) for each in (old, new)] == [200, 200]
        clock.shift(timedelta(hours=23, minutes=59))
        assert [upload(here, each) for each in (old, new)] == [200, 200]
        clock.shift(timedelta(minutes=1))
        assert [upload(here, each) for each in (old, new)] == [401, 200]
    assert (stored(here, new).label, stored(here, new).scope) == ("nas", "upload")
    assert stored(here, new).origin_id == stored(here, old).id
    [entry] = here.audit("key rotated")
    assert entry.target == f"key {stored(here, old).id}: nas"
    assert new not in str(vars(entry))


def test_the_list_shows_that_the_old_key_is_still_in_use(here: Site) -> None:
    admin = here.administrator()
    with time_machine.travel(utcnow()) as clock:
        old = make(admin)
        upload(here, old)
        clock.shift(timedelta(minutes=2))
        new = rotate(here, admin, old)
        page = admin.get(KEYS).text
        assert f"Replaced by number {stored(here, new).id}" in page
        assert "still in use" not in page
        clock.shift(timedelta(minutes=2))
        upload(here, old, backup_body(utcnow()))
        assert "still in use" in admin.get(KEYS).text


def test_a_key_that_ends_sooner_than_the_overlap_ends_then(here: Site) -> None:
    admin = here.administrator()
    old = make(admin, expires_on=f"{utcnow() + timedelta(days=2):%Y-%m-%d}")
    before = stored(here, old).expires_at
    rotate(here, admin, old, hours=720)
    assert stored(here, old).expires_at == before


def test_only_the_newest_valid_key_of_a_line_is_rotated(here: Site) -> None:
    admin = here.administrator()
    old = make(admin)
    new = rotate(here, admin, old)
    again = admin.post(f"{KEYS}/{stored(here, old).id}/rotate", data={"overlap_hours": "1"})
    assert again.status_code == 400
    assert f"replaced by number {stored(here, new).id} already" in again.text
    newest = rotate(here, admin, new)
    assert stored(here, newest).origin_id == stored(here, old).id
    admin.post(f"{KEYS}/{stored(here, newest).id}/revoke")
    refused = admin.post(f"{KEYS}/{stored(here, newest).id}/rotate", data={"overlap_hours": "1"})
    assert (refused.status_code, "works no more" in refused.text) == (400, True)
    wrong = admin.post(f"{KEYS}/{stored(here, new).id}/rotate", data={"overlap_hours": "5"})
    assert (wrong.status_code, "Not a valid choice" in wrong.text) == (400, True)


def jobs_and_reports(here: Site) -> tuple[int, int, int]:
    with here.database.reading() as rows:
        return tuple(
            rows.scalar(select(func.count()).select_from(each)) or 0 for each in (Server, Job, Report)
        )


@pytest.mark.parametrize(("first", "second"), OLD_CLIENT)
def test_a_client_without_machine_id_stays_the_same_job_after_rotations(
    here: Site, first: str, second: str
) -> None:
    folder = SHARED_DATA / "reports"
    if not folder.is_dir():
        pytest.skip("the shared reports are not there")
    admin = here.administrator()
    key = make(admin)
    assert upload(here, key, (folder / first).read_bytes()) == 200
    for _rotation in range(2):
        key = rotate(here, admin, key)
        assert upload(here, key, (folder / second).read_bytes()) == 200
    reports = 1 if first == second else 2
    assert jobs_and_reports(here) == (1, 1, reports)
    assert upload(here, make(admin, "another"), (folder / first).read_bytes()) == 200
    assert jobs_and_reports(here) == (2, 2, reports + 1)


def spooled(here: Site, monkeypatch: pytest.MonkeyPatch, secret: str, body: bytes, *, checked: bool) -> None:
    """Upload while the database can't be written, or not even be asked about the key."""

    def fails(*_given: object, **_named: object) -> None:
        raise OperationalError("", {}, Exception("database is locked"))

    with monkeypatch.context() as broken:
        broken.setattr(record, "take", fails)
        if not checked:
            broken.setattr(accounts, "find_key", fails)
        assert upload(here, secret, body) == 200


def take_in(here: Site) -> None:
    spool: Spool = here.app.extensions["spool"]
    assert spool.take_in(here.database, stored_settings.policy(here.database, here.settings)) == 0


@pytest.mark.parametrize("checked", [True, False])
def test_what_waited_in_the_spool_keeps_its_job_after_a_rotation(
    here: Site, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    admin, now = here.administrator(), utcnow()
    key = make(admin)
    assert upload(here, key, backup_body(now - timedelta(days=1), machine=None)) == 200
    new = rotate(here, admin, key)
    spooled(here, monkeypatch, new, backup_body(now, machine=None), checked=checked)
    take_in(here)
    assert jobs_and_reports(here) == (1, 1, 2)


def test_what_was_quarantined_keeps_its_job_after_a_rotation(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, now = here.administrator(), utcnow()
    key = make(admin)
    assert upload(here, key, backup_body(now - timedelta(days=1), machine=None)) == 200
    new = rotate(here, admin, key)

    def fails(*_given: object) -> None:
        raise UnusableReport("an older version could not read it", [])

    with monkeypatch.context() as older:
        older.setattr(ingest, "read", fails)
        assert upload(here, new, backup_body(now, machine=None)) == 400
    assert admin.post("/quarantine/1/retry").status_code == 302
    assert jobs_and_reports(here) == (1, 1, 2)


def test_a_key_whose_successor_has_expired_is_rotated_again(here: Site) -> None:
    admin = here.administrator()
    old = make(admin)
    tomorrow = (utcnow() + timedelta(days=1)).date().isoformat()
    rotate(here, admin, old, hours=7 * 24, expires_on=tomorrow)
    with time_machine.travel(utcnow() + timedelta(days=3)):
        again = here.administrator()
        newest = rotate(here, again, old)
        assert upload(here, newest) == 200
        assert stored(here, newest).origin_id == stored(here, old).id


@pytest.mark.parametrize(("arrives_after_the_end", "expected"), [(False, (1, 1, 1)), (True, (0, 0, 0))])
def test_a_key_is_judged_by_when_the_report_came_not_by_when_it_is_taken_in(
    here: Site, monkeypatch: pytest.MonkeyPatch, arrives_after_the_end: bool, expected: tuple[int, int, int]
) -> None:
    admin = here.administrator()
    with time_machine.travel(utcnow()) as clock:
        key = make(admin)
        rotate(here, admin, key, hours=1)
        clock.shift(timedelta(minutes=61 if arrives_after_the_end else 59))
        spooled(here, monkeypatch, key, backup_body(utcnow()), checked=False)
        clock.shift(timedelta(hours=3))
        take_in(here)
    assert jobs_and_reports(here) == expected
    with here.database.reading() as rows:
        kept = rows.scalars(select(QuarantinedBody)).all()
    assert len(kept) == (1 if arrives_after_the_end else 0)


def test_a_key_is_revoked_at_once_after_a_page_that_says_what_stops(here: Site) -> None:
    admin = here.administrator()
    key = make(admin)
    url = f"{KEYS}/{stored(here, key).id}/revoke"
    assert "What stops at once" in admin.get(url).text
    assert upload(here, key) == 200
    assert admin.post(url).status_code == 302
    assert upload(here, key) == 401
    again = admin.post(url)
    assert (again.status_code, "opens nothing any more" in again.text) == (400, True)
    assert len(here.audit("key revoked")) == 1


def test_many_keys_are_shown_page_by_page_with_few_queries(here: Site) -> None:
    with here.database.writing() as rows:
        for number in range(120):
            rows.add(
                ApiKey(
                    label=f"key {number}",
                    scope="upload",
                    key_hash=f"hash {number}",
                    hint="vk_12345",
                    created_at=utcnow(),
                    origin_id=1,
                )
            )
    admin, found, path = here.administrator(), [], KEYS
    while path:
        statements: list[str] = []

        def note(*given: object, into: list[str] = statements) -> None:
            into.append(str(given[2]))

        event.listen(here.database.engine, "before_cursor_execute", note)
        page = admin.get(path).text
        event.remove(here.database.engine, "before_cursor_execute", note)
        assert len([each for each in statements if each.startswith("SELECT")]) <= 5, statements
        found += re.findall(r"· number (\d+)", page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert len(found) == len(set(found)) == 121


# The command line


def run(here: Site, *arguments: str) -> tuple[int, str]:
    result = here.app.test_cli_runner().invoke(args=["key", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("by", ["label", "number"])
def test_the_command_rotates_by_label_or_number_and_lists_the_end(here: Site, by: str) -> None:
    old = run(here, "add", "the nas")[1].splitlines()[0]
    number = str(stored(here, old).id)
    code, told = run(here, "rotate", "the nas" if by == "label" else number, "--overlap-hours", "2")
    assert code == 0, told
    new = told.splitlines()[0]
    assert [upload(here, each) for each in (old, new)] == [200, 200]
    listed = run(here, "list")[1]
    assert new not in listed
    assert re.search(
        rf"^{number}\tupload\t.*\tthe nas\tvalid until 20\S+\tlast used 20", listed, re.MULTILINE
    )
    with time_machine.travel(utcnow() + timedelta(hours=2)):
        assert upload(here, old) == 401
        assert re.search(rf"^{number}\t.*\texpired 20", run(here, "list")[1], re.MULTILINE)
    # The label now means the newest key, so that the same command works again.
    assert run(here, "rotate", "the nas")[0] == 0
    assert new not in str([vars(each) for each in here.audit("key rotated")])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "key: there is no key nothing"),
        (["99"], "key: there is no key 99"),
        (["9" * 40], "key: there is no key"),
        (["twice"], "several keys are called twice"),
        (["gone"], "key: there is no key gone"),
        (["1", "--overlap-hours", "-1"], "--overlap-hours"),
    ],
)
def test_a_key_that_can_not_be_rotated_is_told(here: Site, arguments: list[str], told: str) -> None:
    for label in ("twice", "twice", "gone"):
        gone = run(here, "add", label)[1].splitlines()[0]
    run(here, "revoke", str(stored(here, gone).id))
    code, output = run(here, "rotate", *arguments)
    assert code != 0
    assert told in output
    assert here.audit("key rotated") == []
