"""Archives of the installation: whole or not there, proved to the last byte, restored wholly or not."""

from __future__ import annotations

import io
import itertools
import random
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import func, select

from app import downtime, installation, interval, schema
from app.archive import keeping, making, postgresql_copy, reading, sealing, swap
from app.archive.problems import ArchiveBusy, ArchiveDamaged, ArchiveError, WrongPassphrase
from app.archive.swap import Step
from app.clock import utcnow
from app.cron.tasks import TASKS, TaskContext, TaskResult
from app.db import Database
from app.delivery import Courier
from app.models import Alert, Delivery, Downtime, Job, Lease, UserSession
from tests import factories
from tests.stage import backup_body, send
from tests.web import Site, site

pytestmark = pytest.mark.sqlite("archives of a file; test_archive_postgresql.py has those of a server")

PASSPHRASE = "a passphrase long enough"
TASK = "installation-backup"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        send(made.database, backup_body(utcnow() - timedelta(minutes=5)), utcnow())
        yield made


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many archives in little time: a cheap key and small chunks; nothing else differs."""
    monkeypatch.setitem(sealing._SCRYPT, "n", 2)
    monkeypatch.setattr(sealing, "CHUNK", 100)


def create(here: Site, name: str = "archive", passphrase: str | None = None) -> Path:
    target = here.settings.instance_path.parent / name
    made = making.create(here.settings, target, passphrase=passphrase, version="0", now=utcnow())
    return made.path


def run(here: Site, *arguments: str, typed: str | None = None) -> Result:
    return here.app.test_cli_runner().invoke(args=["backup", *arguments], input=typed)


def refused(here: Site, *arguments: str, typed: str | None = None) -> str:
    result = run(here, *arguments, typed=typed)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output.strip().splitlines()[-1]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and each.suffix not in (".lock", ".db-shm")
    }


def count(database: Database, model: type) -> int:
    with database.reading() as rows:
        return rows.scalar(select(func.count()).select_from(model)) or 0


def reopened(here: Site) -> Database:
    here.database.dispose()
    return here.database


# Made and proved


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_an_archive_holds_everything_and_proves_it(here: Site, passphrase: str | None) -> None:
    interval.save(here.interval_file, "5min", updated_by="admin", now=utcnow())
    path = create(here, passphrase=passphrase)
    proved = reading.verify(path, passphrase)
    assert (proved.content.jobs, proved.content.reports) == (1, 1)
    assert [each.name for each in proved.manifest.files] == ["veilleur.db", "cron.json", "secrets.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sealing.is_encrypted(path) == bool(passphrase)


def test_an_ordinary_tar_reads_a_plain_archive(here: Site) -> None:
    with tarfile.open(create(here)) as tar:
        assert tar.getnames() == ["manifest.json", "veilleur.db", "secrets.json"]


def test_an_encrypted_archive_shows_nothing(here: Site) -> None:
    plain = create(here)
    beginning = plain.read_bytes()[:8]  # three bytes alone come by chance
    assert beginning.startswith(sealing._GZIP)
    plain.unlink()
    raw = create(here, passphrase=PASSPHRASE).read_bytes()
    assert b"manifest" not in raw
    assert beginning not in raw


def test_a_damaged_interval_file_is_archived_as_it_is(here: Site, tmp_path: Path) -> None:
    here.interval_file.write_bytes(b"\x00 no JSON")
    reading.unpack(create(here), None, _empty(tmp_path / "out"))
    assert (tmp_path / "out" / "cron.json").read_bytes() == b"\x00 no JSON"


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_what_is_there_is_not_overwritten(here: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert "is there already" in refused(here, "create", str(tmp_path / "mine"))
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_database_that_is_damaged_is_never_archived_as_sound(here: Site) -> None:
    reopened(here)
    path = making.sqlite_path(here.settings)
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = rows.execute("PRAGMA page_size").fetchone()[0]
        page = rows.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_report_received'"
        ).fetchone()[0]
    raw = bytearray(path.read_bytes())
    part = slice((page - 1) * size, page * size)
    raw[part] = bytes(byte ^ 0xFF for byte in raw[part])
    path.write_bytes(raw)
    assert "damaged" in refused(here, "create", str(path.parent / "x"))
    assert not (path.parent / "x").exists()


# A wrong byte, a missing byte, a wrong word


def sealed_bytes(content: bytes, passphrase: str | None) -> bytes:
    file = io.BytesIO()
    with sealing.sealed(file, passphrase) as stream:
        stream.write(content)
    return file.getvalue()


def opened_bytes(path: Path, raw: bytes, passphrase: str | None) -> bytes:
    path.write_bytes(raw)
    with sealing.opened(path, passphrase) as stream:
        return stream.read()


CONTENT = b"\x1f\x8b\x08" + random.Random(11).randbytes(450)  # noqa: S311  (no secret)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_every_changed_byte_and_every_cut_is_noticed(tmp_path: Path, passphrase: str | None) -> None:
    raw = sealed_bytes(CONTENT, passphrase)
    path = tmp_path / "archive"
    assert opened_bytes(path, raw, passphrase).startswith(CONTENT)
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises((ArchiveDamaged, WrongPassphrase)):
            opened_bytes(path, bytes(changed), passphrase)
        with pytest.raises((ArchiveDamaged, WrongPassphrase)):
            opened_bytes(path, raw[:place], passphrase)
    for more in (b"\0", b"more", raw):
        with pytest.raises(ArchiveDamaged):
            opened_bytes(path, raw + more, passphrase)


@pytest.mark.usefixtures("cheap")
def test_chunks_in_another_order_are_noticed(tmp_path: Path) -> None:
    raw = sealed_bytes(CONTENT, PASSPHRASE)
    start, size = sealing._HEADER, 100 + sealing._TAG
    chunks = [raw[at : at + size] for at in range(start, len(raw), size)]
    assert len(chunks) > 4
    for first, second in itertools.combinations(range(len(chunks)), 2):
        swapped = list(chunks)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        with pytest.raises(ArchiveDamaged):
            opened_bytes(tmp_path / "x", raw[:start] + b"".join(swapped), PASSPHRASE)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("size", [3, 99, 100, 101, 200, 1000])
def test_every_size_comes_back(tmp_path: Path, size: int) -> None:
    content = CONTENT[:3] + bytes(size - 3)
    assert opened_bytes(tmp_path / "x", sealed_bytes(content, PASSPHRASE), PASSPHRASE).startswith(content)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_real_archive_changed_anywhere_is_refused_and_nothing_is_touched(
    here: Site, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setitem(sealing._SCRYPT, "n", 2)
    passphrase = PASSPHRASE if encrypted else None
    path = create(here, passphrase=passphrase)
    raw = path.read_bytes()
    reopened(here)
    before = everything(here.settings.instance_path)
    numbers = random.Random(3)  # noqa: S311  (no secret)
    for place in [*(numbers.randrange(len(raw)) for _ in range(25)), 0, 40, len(raw) - 1]:
        changed = bytearray(raw)
        changed[place] ^= 1 + numbers.randrange(255)
        path.write_bytes(changed)
        with pytest.raises(ArchiveError):
            reading.verify(path, passphrase)
    assert "was not restored: it" in refused(
        here, "restore", "--yes", str(path), "--passphrase-file", _file(path)
    )
    assert everything(here.settings.instance_path) == before


def _file(beside: Path, content: str = PASSPHRASE) -> str:
    path = beside.with_name("passphrase")
    path.write_text(content + "\n")
    return str(path)


def test_a_wrong_or_missing_passphrase_is_one_clear_line(here: Site) -> None:
    path = create(here, passphrase=PASSPHRASE)
    assert "a passphrase is needed" in refused(here, "verify", str(path))
    wrong = _file(path, "another one, just as long")
    for verb in ("verify", "restore"):
        assert "passphrase is wrong" in refused(here, verb, str(path), "--passphrase-file", wrong)


def test_a_short_passphrase_is_refused(here: Site, tmp_path: Path) -> None:
    short = _file(tmp_path / "x", "short")
    assert "too short" in refused(here, "create", str(tmp_path / "a"), "--passphrase-file", short)


def test_a_typed_passphrase_encrypts_and_opens(here: Site, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    made = run(here, "create", path, "--ask-passphrase", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert ", encrypted." in made.output
    shown = run(here, "verify", path, "--ask-passphrase", typed=f"{PASSPHRASE}\n")
    assert "encrypted      yes" in shown.output


def test_any_other_file_is_no_archive(here: Site, tmp_path: Path) -> None:
    for content in (b"", b"hello", bytes(5000)):
        (tmp_path / "x").write_bytes(content)
        assert "it is no archive of Veilleur" in refused(here, "verify", str(tmp_path / "x"))


def test_an_archive_of_a_newer_version_is_refused(here: Site) -> None:
    with here.database.writing() as rows:
        rows.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    path = create(here)
    for verb in ("verify", "restore"):
        assert "schema 9999 (of Veilleur 0), unknown to this version" in refused(here, verb, str(path))


# Restored


def test_what_is_lost_is_told_and_no_means_no(here: Site) -> None:
    path = create(here)
    send(here.database, backup_body(utcnow(), name="Later"), utcnow())
    reopened(here)
    before = everything(here.settings.instance_path)
    result = run(here, "restore", str(path), typed="n\n")
    assert result.exit_code == 1
    assert "holds 1 jobs, 1 reports" in result.output
    assert "There are now 2 jobs, 2 reports, the newest of" in result.output
    assert everything(here.settings.instance_path) == before


def test_a_restore_brings_all_back_and_keeps_what_was_there_aside(here: Site) -> None:
    interval.save(here.interval_file, "5min", updated_by="admin", now=utcnow())
    path = create(here)
    interval.save(here.interval_file, "2hours", updated_by="admin", now=utcnow())
    send(here.database, backup_body(utcnow(), name="Later"), utcnow())
    here.database.dispose()
    result = run(here, "restore", str(path), typed="y\n")
    assert result.exit_code == 0, result.output
    assert count(reopened(here), Job) == 1
    assert interval.read(here.interval_file).interval == "5min"
    (aside,) = here.settings.instance_path.glob("before-restore-*")
    assert str(aside) in result.output
    kept = Database(f"sqlite:///{aside / 'veilleur.db'}")
    assert count(kept, Job) == 2
    kept.dispose()
    assert interval.read(aside / "cron.json").interval == "2hours"
    assert len(here.audit("archive restored")) == 1


def test_an_interval_that_the_archive_does_not_have_is_the_default_again(here: Site) -> None:
    path = create(here)
    interval.save(here.interval_file, "2hours", updated_by="admin", now=utcnow())
    assert run(here, "restore", "--yes", str(path)).exit_code == 0
    assert interval.read(here.interval_file).interval == interval.DEFAULT


def test_nothing_of_the_past_comes_alive(here: Site) -> None:
    """Neither a session, nor a message that waited, nor an alert without its messages, nor a lease."""
    here.administrator()
    with here.database.writing() as rows:
        job = rows.scalars(select(Job)).one()
        channel = factories.add_channel(rows)
        waiting = factories.add_alert(rows, job, routed_at=utcnow())
        factories.add_delivery(rows, waiting, channel, "pending", next_attempt_at=utcnow())
        factories.add_delivery(rows, factories.add_alert(rows, job, routed_at=utcnow()), channel)
        factories.add_alert(rows, job)
        rows.add(Lease(name="check", holder="another", expires_at=utcnow() + timedelta(days=1)))
    assert run(here, "restore", "--yes", str(create(here))).exit_code == 0
    database = reopened(here)
    assert (count(database, UserSession), count(database, Lease)) == (0, 0)
    with database.reading() as rows:
        assert rows.scalars(select(Alert).where(Alert.routed_at.is_(None))).all() == []
        given_up, sent = rows.scalars(select(Delivery).order_by(Delivery.id)).all()
        assert (given_up.status, given_up.next_attempt_at) == ("given_up", None)
        assert given_up.detail.startswith("Not sent: Veilleur was restored from an archive of 2")
        assert (sent.status, sent.detail) == ("sent", None)


def test_the_time_since_the_archive_counts_as_downtime(here: Site) -> None:
    made_at = utcnow() - timedelta(days=2)
    downtime.beat(here.database, made_at)
    path = create(here)
    downtime.beat(here.database, made_at + timedelta(seconds=60))
    assert run(here, "restore", "--yes", str(path)).exit_code == 0
    downtime.beat(reopened(here), utcnow())
    with here.database.reading() as rows:
        missed = rows.scalars(select(Downtime)).one()
    assert missed.began_at == made_at
    assert missed.ended_at is not None


def test_an_archive_of_an_older_schema_is_brought_up_to_date(here: Site, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    schema.upgrade(f"sqlite:///{old}", "0001")
    here.database.dispose()
    path = making.sqlite_path(here.settings)
    content = path.read_bytes()
    path.write_bytes(old.read_bytes())
    archive = create(here)
    path.write_bytes(content)
    assert "0001, known" in run(here, "verify", str(archive)).output
    assert run(here, "restore", "--yes", str(archive)).exit_code == 0
    assert schema.is_current(reopened(here).engine)


def test_a_used_installation_is_left_alone(here: Site) -> None:
    path = create(here)
    with installation.lock_file(here.settings.instance_path / installation.IN_USE_FILE) as lock:
        installation.fcntl.flock(lock, installation.fcntl.LOCK_SH)
        assert "is in use; stop the web application, the cron service" in refused(
            here, "restore", "--yes", str(path)
        )
    assert run(here, "restore", "--yes", str(path)).exit_code == 0


def test_nothing_starts_while_an_archive_is_restored(here: Site) -> None:
    folder = here.settings.instance_path
    with installation.alone(folder), pytest.raises(installation.InstallationInUse, match="start again when"):
        installation.occupy(folder)


def test_another_kind_of_database_is_refused(here: Site, tmp_path: Path) -> None:
    path = create(here)
    other = installation.replace(here.settings, database_url="postgresql+psycopg://nobody@127.0.0.1:1/x")
    here.app.extensions["settings"] = other
    assert "holds a SQLite database, but VEILLEUR_DATABASE_URL names PostgreSQL" in refused(
        here, "restore", "--yes", str(path)
    )


class Died(BaseException):
    """The process is gone at this point."""


@pytest.mark.parametrize("last", range(12))
def test_an_exchange_that_is_cut_off_anywhere_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    steps = []
    for name, there, staged in (("a", True, True), ("b", True, False), ("c", False, True)):
        step = Step(str(tmp_path / name), str(tmp_path / "aside" / name), str(tmp_path / "staged" / name))
        (tmp_path / "staged").mkdir(exist_ok=True)
        if there:
            Path(step.place).write_text(f"old {name}")
        if staged:
            Path(step.staged or "").write_text(f"new {name}")
        steps.append(step if staged else Step(step.place, step.aside, None))
    left = itertools.count()
    sync = swap.sync_folder

    def dying(folder: Path) -> None:
        sync(folder)
        if next(left) == last:
            raise Died

    monkeypatch.setattr(swap, "sync_folder", dying)
    try:
        swap.begin(tmp_path, steps)
        died = False
    except Died:
        died = True
    monkeypatch.undo()
    assert died == (last < 11), "as many places to die at as there are"
    swap.finish(tmp_path)
    assert everything(tmp_path) == {"a": b"new a", "c": b"new c", "aside/a": b"old a", "aside/b": b"old b"}
    assert not swap.finish(tmp_path)


def test_the_next_start_completes_an_exchange(here: Site) -> None:
    folder = here.settings.instance_path
    staged = _empty(folder / ".staged") / "cron.json"
    staged.write_text('{"interval": "1min"}')
    step = Step(str(here.interval_file), str(folder / "aside" / "cron.json"), str(staged))
    swap._write(folder / swap.JOURNAL, "aside", [step])
    installation.prepare(here.settings, utcnow())
    assert interval.read(here.interval_file).interval == "1min"


# The daily one


def task(here: Site, stop_after: int | None = None) -> TaskResult:
    asked = itertools.count()
    context = TaskContext(
        here.settings,
        here.database,
        Courier(here.app, here.database, here.settings, utcnow),
        utcnow(),
        lambda: stop_after is None or next(asked) < stop_after,
    )
    return TASKS[TASK].run(context)


def test_a_day_makes_one_and_the_oldest_goes(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_BACKUP_KEEP="2", VEILLEUR_BACKUP_PASSPHRASE=PASSPHRASE) as here:
        folder = keeping.folder_of(here.settings)
        _empty(folder)
        names = [keeping.name_for(utcnow() - timedelta(days=days), encrypted=False) for days in (1, 2, 3)]
        for name in [*names, "mine.tar.gz"]:
            (folder / name).write_bytes(b"x")
        assert "deleted 2 older ones" in task(here).message
        newest, old = keeping.kept(folder)
        assert (newest.is_encrypted, old.path.name) == (True, names[0])
        assert (folder / "mine.tar.gz").exists()
        assert run(here, "list").output.count("\n") == 2
        assert run(here, "verify", str(newest.path)).exit_code == 0


def test_keeping_none_makes_none(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_BACKUP_KEEP="0") as here:
        assert "Switched off" in task(here).message
        assert not keeping.folder_of(here.settings).exists()


def test_a_half_written_one_never_stays(here: Site) -> None:
    folder = keeping.folder_of(here.settings)
    for stop_after in itertools.count():
        try:
            task(here, stop_after)
            break
        except ArchiveError as problem:
            assert str(problem) == "stopped before it was done"
        assert list(folder.iterdir()) == []
    assert stop_after > 3
    assert len(list(folder.iterdir())) == 1


def test_what_a_killed_process_left_is_removed(here: Site) -> None:
    folder = _empty(keeping.folder_of(here.settings))
    (_empty(folder / f"{making._UNFINISHED}abc") / "veilleur.db").write_bytes(b"half")
    task(here)
    assert [each.name[:9] for each in folder.iterdir()] == ["veilleur-"]


def test_two_at_once_make_one(here: Site) -> None:
    with making._only_one(here.settings.instance_path / making._LOCK_FILE):
        assert "another process" in task(here).message
        with pytest.raises(ArchiveBusy):
            create(here)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with site(tmp_path, VEILLEUR_BACKUP_PATH=str(tmp_path / "file" / "x")) as here:
        with pytest.raises(OSError, match="Not a directory"):
            task(here)
        assert "No archive was made" in refused(here, "create")


def test_a_missing_program_of_postgresql_is_named_with_its_package(
    here: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql_copy, "_DEBIAN", tmp_path)
    url = "postgresql+psycopg://nobody@127.0.0.1:1/x"
    here.app.extensions["settings"] = installation.replace(here.settings, database_url=url)
    assert refused(here, "create", str(tmp_path / "x")).endswith(
        "pg_dump is not installed; on Debian: apt-get install postgresql-client"
    )
