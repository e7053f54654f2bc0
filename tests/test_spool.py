"""Reports that wait in files while the database can't be written: none lost, none twice, none late."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app import spool
from app.cron.tasks import SpoolNotEmpty, TaskContext, check_overdue_backups
from app.db import EXTENSION, Database
from app.delivery import Courier
from app.models import Job, QuarantinedBody, Report
from app.spool import Arrival, Spool, SpoolFull
from tests import databases
from tests.stage import NOON, POLICY, SENDER, alert_kinds, backup_body, send
from tests.web import Site, site

BIG = 1 << 20


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        # Uploads wait for 5 s; what they do then is the matter here.
        made.app.extensions[EXTENSION] = databases.impatient(made.database)
        yield made


def locked(here: Site) -> AbstractContextManager[None]:
    return databases.locked(here.settings.instance_path)


def missing(here: Site) -> AbstractContextManager[None]:
    return databases.missing(here.settings.instance_path)


def upload(here: Site, body: bytes, key: str | None = None) -> TestResponse:
    query = {"api_key": here.upload_key if key is None else key}
    return here.stranger().post("/api/upload", query_string=query, data=body)


def waiting(here: Site) -> list[Path]:
    return sorted((here.settings.instance_path / "spool").glob("*.report"))


def take_in(here: Site) -> int:
    return spool_of(here).take_in(here.database, POLICY)


def spool_of(here: Site) -> Spool:
    """As the cron service has it: another object on the same folder."""
    return Spool(here.settings.instance_path, here.settings.spool_max_bytes)


def count(database: Database, model: type[Report] | type[QuarantinedBody]) -> int:
    with database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(model)) or 0


def test_a_report_that_meets_a_locked_database_is_kept_and_taken_in_as_of_then(here: Site) -> None:
    with time_machine.travel(NOON, tick=False), locked(here):
        assert upload(here, backup_body(NOON)).json == {"success": True}
        (file,) = waiting(here)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert here.stranger().get("/api/health").json["spooledReports"] == 1
        assert count(here.database, Report) == 0
    assert take_in(here) == 0
    assert waiting(here) == []
    with here.database.reading() as rows:
        assert rows.scalars(select(Report.received_at)).all() == [NOON]
    assert upload(here, backup_body(NOON)).json == {"success": True, "duplicate": True}


def test_while_the_database_is_locked_nothing_that_waits_is_touched(here: Site) -> None:
    with locked(here):
        upload(here, backup_body(NOON))
        with pytest.raises(Exception, match=databases.LOCKED):
            take_in(here)
        assert len(waiting(here)) == 1


def test_an_unusable_report_gets_its_answer_all_the_same(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(here):
        answer = upload(here, b"{}")
    assert answer.status_code == 400
    assert re.search(f"can't be kept: .*({databases.LOCKED})", caplog.text)
    assert waiting(here) == []


def test_another_operation_is_ignored_all_the_same(here: Site) -> None:
    with locked(here):
        answer = upload(here, backup_body(NOON, MainOperation="Restore"))
    assert answer.json == {"success": True, "ignored": "Restore"}
    assert waiting(here) == []


def test_a_key_that_could_not_be_checked_is_checked_when_the_report_is_taken_in(here: Site) -> None:
    with missing(here):
        assert upload(here, backup_body(NOON, name="ours")).json == {"success": True}
        assert upload(here, backup_body(NOON, name="foreign"), key="vk_wrong").json == {"success": True}
        assert here.upload_key.encode() not in b"".join(each.read_bytes() for each in waiting(here))
    assert take_in(here) == 0
    with here.database.reading() as rows:
        assert rows.scalars(select(Job.name)).all() == ["ours"]
        refused = rows.scalars(select(QuarantinedBody)).one()
    assert "not valid" in refused.reason
    assert refused.address == "127.0.0.1"


def test_on_an_open_network_a_report_with_any_key_is_taken_in(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_OPEN_UPLOADS="1") as here:
        with missing(here):
            assert upload(here, backup_body(NOON), key="vk_wrong").status_code == 200
        assert take_in(here) == 0
        assert count(here.database, Report) == 1


def test_without_a_key_nobody_is_heard(here: Site) -> None:
    with missing(here):
        assert upload(here, backup_body(NOON), key="").status_code == 401
    assert waiting(here) == []


def test_what_has_no_room_is_refused_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_SPOOL_MAX_BYTES="2500") as here:
        here.app.extensions[EXTENSION] = databases.impatient(here.database)
        with locked(here):
            answers = [upload(here, backup_body(NOON, name=f"job {number}")) for number in range(5)]
            kept = [each for each in answers if each.status_code == 200]
            refused = [each for each in answers if each.status_code == 503]
            assert 0 < len(kept) == len(waiting(here)) < 5
            assert len(kept) + len(refused) == 5
            assert refused[0].json["error"] == "Service unavailable"
            assert "send it again later" in refused[0].json["message"]
        assert take_in(here) == 0
        assert count(here.database, Report) == len(kept)


def test_without_a_spool_the_sender_is_told_that_nothing_was_stored(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_SPOOL_MAX_BYTES="0") as here:
        here.app.extensions[EXTENSION] = databases.impatient(here.database)
        with locked(here):
            assert upload(here, backup_body(NOON)).status_code == 503
        assert upload(here, backup_body(NOON)).json == {"success": True}


def add(folder: Path, body: bytes, received_at: datetime) -> Path:
    Spool(folder, BIG).add(Arrival(spool.Body(body, "application/json"), SENDER, received_at))
    return max((folder / "spool").glob("*.report"))


DAMAGES = {
    "empty": lambda raw: b"",
    "cut short": lambda raw: raw[:-1],
    "cut in the head": lambda raw: raw[:80],
    "one bit": lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:],
    "binary": lambda raw: bytes(range(256)),
    "no digest": lambda raw: raw.partition(b"\n")[2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_put_aside_and_holds_up_nobody(
    tmp_path: Path, database: Database, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = add(tmp_path, backup_body(NOON, name="damaged"), NOON)
    first.write_bytes(DAMAGES[damage](first.read_bytes()))
    add(tmp_path, backup_body(NOON, name="whole"), NOON + timedelta(seconds=1))
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    with database.reading() as rows:
        assert rows.scalars(select(Job.name)).all() == ["whole"]
    assert (tmp_path / "spool" / "damaged" / first.name).exists()
    assert f"{first.name} can't be taken in" in caplog.text


def test_a_folder_with_the_name_of_a_report_is_put_aside(tmp_path: Path, database: Database) -> None:
    (tmp_path / "spool" / "x.report").mkdir(parents=True)
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    assert (tmp_path / "spool" / "damaged" / "x.report").is_dir()


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_machine_has_no_means_to_read_stays(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    file = add(tmp_path, backup_body(NOON), NOON)

    def refuse(_path: Path) -> bytes:
        raise OSError(shortage, "none left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(OSError, match="none left"):
            Spool(tmp_path, BIG).take_in(database, POLICY)
    assert file.exists()
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    assert count(database, Report) == 1


def test_what_a_crash_left_half_written_is_no_report(tmp_path: Path, database: Database) -> None:
    add(tmp_path, backup_body(NOON), NOON)
    half = tmp_path / "spool" / "20261201T120000000000-aa-9.report.unfinished"
    half.write_bytes(b"half")
    assert Spool(tmp_path, BIG).count() == 1
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    assert half.exists()  # it may be being written


def test_a_file_left_after_its_commit_is_stored_once(tmp_path: Path, database: Database) -> None:
    file = add(tmp_path, backup_body(NOON), NOON)
    copy = shutil.copy(file, tmp_path / "copy")
    Spool(tmp_path, BIG).take_in(database, POLICY)
    shutil.copy(copy, file)
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    assert count(database, Report) == 1


def test_several_that_take_in_at_once_store_each_report_once(tmp_path: Path, database: Database) -> None:
    for number in range(30):
        add(tmp_path, backup_body(NOON, name=f"job {number}"), NOON + timedelta(seconds=number))
    threads = [
        threading.Thread(target=Spool(tmp_path, BIG).take_in, args=(database, POLICY)) for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert count(database, Report) == 30
    assert not list((tmp_path / "spool").glob("**/*.report"))


def test_reports_are_taken_in_as_they_came(tmp_path: Path, database: Database) -> None:
    add(tmp_path, backup_body(NOON, ParsedResult="Error"), NOON)
    add(tmp_path, backup_body(NOON + timedelta(hours=1)), NOON + timedelta(hours=1))
    assert Spool(tmp_path, BIG).take_in(database, POLICY) == 0
    assert alert_kinds(database) == ["failed", "recovered"]


def test_a_report_without_a_time_is_not_taken_for_a_later_one(tmp_path: Path, database: Database) -> None:
    """One that waited is stored after its successors, and looks like them."""
    body = b'{"Data": {"ParsedResult": "Success", "ExaminedFiles": 5}, "Extra": {"backup-name": "documents"}}'
    assert send(database, body, NOON + timedelta(days=1))
    add(tmp_path, body, NOON)
    Spool(tmp_path, BIG).take_in(database, POLICY)
    assert count(database, Report) == 2


def check(here: Site, now: datetime, may_go_on: bool = True) -> None:
    courier = Courier(here.app, here.database, here.settings, lambda: now)
    check_overdue_backups(TaskContext(here.settings, here.database, courier, now, lambda: may_go_on))


def test_nobody_is_called_overdue_whose_report_waits(here: Site) -> None:
    due_at = NOON + timedelta(days=1)
    upload_at = due_at + timedelta(minutes=5)
    send(here.database, backup_body(NOON, next_at=due_at), NOON)
    add(
        here.settings.instance_path,
        backup_body(upload_at, next_at=due_at + timedelta(days=1)),
        upload_at,
    )
    check(here, due_at + timedelta(hours=5))
    assert alert_kinds(here.database) == []
    with here.database.reading() as rows:
        job = rows.scalars(select(Job)).one()
        assert job.state == "ok"
        assert job.last_good_at == upload_at


def test_a_check_that_can_not_take_all_in_fails_and_calls_nobody_overdue(here: Site) -> None:
    due_at = NOON + timedelta(days=1)
    send(here.database, backup_body(NOON, next_at=due_at), NOON)
    add(here.settings.instance_path, backup_body(due_at, next_at=due_at + timedelta(days=1)), due_at)
    with pytest.raises(SpoolNotEmpty):
        check(here, due_at + timedelta(hours=5), may_go_on=False)
    with locked(here), pytest.raises(Exception, match=databases.LOCKED):
        here.app.extensions[EXTENSION] = here.database
        check(here, due_at + timedelta(hours=5))
    assert alert_kinds(here.database) == []


def test_a_spool_that_can_not_be_read_does_not_silence_the_check(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    due_at = NOON + timedelta(days=1)
    send(here.database, backup_body(NOON, next_at=due_at), NOON)
    (here.settings.instance_path / "spool").write_text("no folder")
    check(here, due_at + timedelta(hours=5))
    assert alert_kinds(here.database) == ["overdue"]
    assert "the spool can't be read" in caplog.text


def test_the_spool_says_when_it_is_full(tmp_path: Path) -> None:
    small = Spool(tmp_path, 10)
    with pytest.raises(SpoolFull):
        small.add(Arrival(spool.Body(b"x" * 100, ""), SENDER, datetime.now(UTC)))
    assert small.count() == 0


def test_made_up_keys_shut_out_no_key_that_was_good(tmp_path: Path) -> None:
    small, known = Spool(tmp_path, 20_000), "a" * 64
    small.recognize(known)

    def add_with(key_hash: str) -> None:
        small.add(Arrival(spool.Body(b"x" * 1000, ""), SENDER, datetime.now(UTC), key_hash))

    with pytest.raises(SpoolFull, match="unknown keys"):
        for number in range(100):
            add_with(f"{number:064}")
    before = small.count()
    assert before > 0
    add_with(known)
    assert small.count() == before + 1
