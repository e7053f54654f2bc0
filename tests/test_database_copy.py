"""`flask db copy`: an SQLite installation moves to a real PostgreSQL, every row of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import time_machine
from click.testing import Result
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import OperationalError

from app import database_copy, schema
from app.clock import utcnow
from app.database_copy import source, target
from app.db import Base, Database
from app.models import (
    Alert,
    Channel,
    Downtime,
    Heartbeat,
    Job,
    Lease,
    LoginFailure,
    MaintenanceWindow,
    Report,
    ReportBody,
    Server,
    StoredSetting,
    UserSession,
)
from tests import factories
from tests.conftest import CHECKOUT
from tests.databases import Postgres
from tests.processes import Veilleur, until
from tests.stage import backup_body
from tests.web import PASSWORD, Site, log_in, opened, site

pytestmark = pytest.mark.sqlite("copies from SQLite to a server")

NOW = datetime(2026, 11, 25, 14, 7, 31, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


def fill(here: Site) -> None:
    """A made-up fleet, and rows of the tables that it leaves empty."""
    words = ("--servers", "6", "--jobs", "3", "--days", "20", "--now", NOW.isoformat())
    result = here.app.test_cli_runner().invoke(args=["demo", *words])
    assert result.exit_code == 0, result.output
    with here.database.writing() as rows:
        first, second = (factories.add_channel(rows, name, enabled=False) for name in ("one", "two"))
        first.fallback_id = second.id  # names a later row
        downtime = Downtime(began_at=NOW, ended_at=NOW + timedelta(minutes=5, microseconds=7))
        rows.add(downtime)
        rows.flush()
        job = rows.scalars(select(Job).limit(1)).one()
        job.downtime_id = downtime.id
        job.notes = "naïve ☃ 𝄞\ttabs\\ and 'quotes'\n"
        member = factories.add_alert(rows, job, facts={"b": 1.5, "a": [None, True, "\0"]})
        group = Alert(message_id="g" * 32, kind="overdue", facts={}, created_at=NOW)
        rows.add(group)
        rows.flush()
        member.group_id = group.id  # likewise
        factories.add_schedule(rows, job)
        factories.add_quarantined(rows, body=os.urandom(70_000))
        factories.add_message_template(rows)
        factories.add_report(rows, job, os.urandom(300_000), duration_seconds=0.1 + 0.2)
        rows.execute(insert(Heartbeat).values(name="web", beat_at=NOW))
        rows.execute(insert(LoginFailure), [_failure(name) for name in ("Ätna", "zoe", "Zoe", "zo")])
        rows.execute(insert(Lease).values(name="a", holder="nobody", expires_at=NOW))
        rows.execute(
            insert(StoredSetting).values(name="reminder", value="onetime", updated_at=NOW, updated_by="x")
        )
        rows.execute(insert(MaintenanceWindow).values(name="w", zone="UTC", created_at=NOW))
        seen = {"created_at": NOW, "seen_at": NOW, "expires_at": NOW, "address": "::1"}
        rows.execute(insert(UserSession).values(token_hash="f" * 64, user_id=1, **seen))


def _failure(name: str) -> dict[str, object]:
    return {"username": name, "count": 1, "last_at": NOW}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    with site(folder) as made:
        fill(made)
    return folder


@pytest.fixture
def here(filled: Path, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(filled / "instance", tmp_path / "instance")
    with opened(tmp_path) as made:
        made.database.dispose()
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url()


def run(here: Site, url: str) -> Result:
    here.database.dispose()
    return here.app.test_cli_runner().invoke(args=["db", "copy", "--to", url])


def done(here: Site, url: str) -> str:
    result = run(here, url)
    assert result.exit_code == 0, result.output
    return result.output


def refused(here: Site, url: str) -> str:
    result = run(here, url)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    database = Database(url)
    try:
        with database.reading() as rows:
            return {
                table.name: sorted((tuple(row) for row in rows.execute(select(table))), key=repr)
                for table in source.tables()
            }
    finally:
        database.dispose()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as rows:
        for each in statements:
            rows.execute(each.encode())


def revision(url: str) -> str:
    with psycopg.connect(url.replace("+psycopg", "")) as rows:
        found = rows.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found is not None
    return str(found[0])


def test_the_server_knows_what_was_copied_before_anybody_asks(small: Site, url: str) -> None:
    done(small, url)
    database = Database(url)
    with database.reading() as rows:
        unknown = text("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples < 0")
        ours = {each.name for each in Base.metadata.sorted_tables}
        assert ours & set(rows.scalars(unknown)) == set()
    database.dispose()


def test_everything_is_copied_equal_and_the_source_stays_as_it_was(here: Site, url: str) -> None:
    file = here.settings.instance_path / "veilleur.db"
    bytes_before = hashlib.sha256(file.read_bytes()).digest()
    told = done(here, url)
    wanted = contents(here.settings.database_url)
    assert contents(url) == wanted
    assert all(wanted.values()), [name for name, rows in wanted.items() if not rows]
    total = sum(len(each) for each in wanted.values())
    assert f"Copied {total} rows; all {total} were read back and are equal" in told
    assert "VEILLEUR_DATABASE_URL" in told
    assert str(here.settings.instance_path) in told
    assert hashlib.sha256(file.read_bytes()).digest() == bytes_before
    assert revision(url) == schema.newest()


def test_the_application_starts_on_the_copy_shows_the_same_and_takes_reports(
    here: Site, url: str, tmp_path: Path
) -> None:
    now = utcnow()
    with time_machine.travel(now, tick=False):
        before = here.administrator().get("/").text
    done(here, url)
    with opened(tmp_path, VEILLEUR_DATABASE_URL=url) as there:
        assert there.database.engine.dialect.name == "postgresql"
        with time_machine.travel(now, tick=False):
            admin = there.administrator()
            assert _sheet(admin.get("/").text) == _sheet(before)
        body = backup_body(utcnow() - timedelta(minutes=1), name="After the move")
        answer = there.stranger().post(f"/api/upload?api_key={here.upload_key}", data=body, headers=JSON)
        assert answer.json == {"success": True}
        assert "After the move" in admin.get("/").text


def _sheet(page: str) -> str:
    """The list of the jobs, without what differs between two requests."""
    return page.split("<table", 1)[1].split("</table>", 1)[0]


def test_new_rows_get_numbers_past_the_highest(here: Site, url: str) -> None:
    done(here, url)
    database = Database(url)
    with database.writing() as rows:
        for model, made in (
            (Server, Server(machine_id="new", name="new", created_at=NOW)),
            (Downtime, Downtime(began_at=NOW + timedelta(days=1))),
            (Channel, Channel(kind="ntfy", name="new", config={}, created_at=NOW)),
        ):
            highest = max(rows.scalars(select(model.id)))
            rows.add(made)
            rows.flush()
            assert made.id == highest + 1
    database.dispose()


def test_a_second_run_verifies_and_copies_nothing_twice(here: Site, url: str) -> None:
    done(here, url)
    before = contents(url)
    assert "Nothing was copied: the target holds all" in done(here, url)
    assert contents(url) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE job SET notes = 'x' WHERE id = 2", "job, row with id 2: its notes"),
        ("UPDATE report_body SET compressed = 'x' WHERE report_id = 3", "report_body, row with report_id 3"),
        ("DELETE FROM report_body WHERE report_id = 4", "lacks report_body, row with report_id 4"),
        ("UPDATE alert SET group_id = NULL", "its group_id"),
        (
            "INSERT INTO login_failure VALUES ('b', 1, now(), NULL)",
            "the target holds something else in login_failure: 5 rows",
        ),
        (
            "INSERT INTO server VALUES (0, 'x', 'x', now())",
            "the target holds something else in server: 7 rows",
        ),
    ],
)
def test_a_row_that_changed_at_the_target_is_found(here: Site, url: str, change: str, named: str) -> None:
    done(here, url)
    execute(url, change)
    assert named in refused(here, url)


def test_a_change_between_copy_and_end_is_found_by_the_digest(here: Site, url: str) -> None:
    with source.opened(here.settings, utcnow()) as origin, target.opened(url) as made:
        copied = database_copy.copy(origin, made, lambda _rows: None)
        execute(url, "UPDATE server SET name = 'another' WHERE id = 1")
        with pytest.raises(database_copy.CopyError, match="something else in server: 6 rows, digest"):
            database_copy.verify(made, copied, lambda _rows: None)


SLOW = """
import os, signal, sys
from app.database_copy.target import Target
left = int(sys.argv.pop(1))
add = Target.add
def dying(self, table, batch):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, table, batch)
Target.add = dying
from app.database_copy import source
source.BATCH_ROWS = 50
sys.argv[0] = "flask"
import flask.cli
flask.cli.main()
"""


def test_a_copy_that_is_killed_goes_on_where_it_ended(here: Site, url: str, tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path)
    wanted = contents(here.settings.database_url)
    here.database.dispose()
    counts = []
    for batches in ("8", "20", "9", "9"):
        killed = subprocess.run(
            [sys.executable, "-c", SLOW, batches, "db", "copy", "--to", url],
            cwd=CHECKOUT,
            env=veilleur.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert revision(url) == schema.UNFINISHED_COPY + schema.newest()
        counts.append(sum(len(each) for each in contents(url).values()))
    assert counts == sorted(set(counts)), "every try brings more rows"
    refusing = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": url}).finish("flask", "user", "list")
    assert refusing.returncode == 1
    assert "a copy that is not finished" in refusing.stderr
    finished = veilleur.finish("flask", "db", "copy", "--to", url)
    assert finished.returncode == 0, finished.stderr
    assert "Copying" in finished.stderr
    assert "Copying" not in finished.stdout
    total = sum(len(each) for each in wanted.values())
    assert f"Copied {total - counts[-1]} rows; all {total} were read back" in finished.stdout
    assert contents(url) == wanted


def test_a_row_that_changed_before_the_copy_goes_on_is_found(here: Site, url: str) -> None:
    done(here, url)
    execute(
        url,
        f"UPDATE alembic_version SET version_num = '{schema.UNFINISHED_COPY}{schema.newest()}'",
        "DELETE FROM report_body WHERE report_id > 20",
        "UPDATE report_body SET size_bytes = 1 WHERE report_id = 7",
    )
    assert "report_body, row with report_id 7: its size_bytes" in refused(here, url)
    assert revision(url).startswith(schema.UNFINISHED_COPY)


def test_large_bodies_are_copied_a_few_at_a_time(small: Site, url: str) -> None:
    with small.database.writing() as rows:
        job = factories.add_job(rows)
        for _each in range(6):
            factories.add_report(rows, job, os.urandom(3_000_000))
    small.database.dispose()
    with source.opened(small.settings, utcnow()) as origin:
        table = Base.metadata.tables["report_body"]
        assert [len(each) for each in origin.batches(table, [])] == [2, 2, 2]
    done(small, url)
    assert contents(url) == contents(small.settings.database_url)


def test_nul_characters_are_left_out_and_told(small: Site, url: str) -> None:
    with small.database.writing() as rows:
        job = factories.add_job(rows, name="a\0b", notes="\0")
        job_id = job.id
    told = done(small, url)
    assert f"Left out a NUL character, which PostgreSQL does not store: job, row with id {job_id}" in told
    assert ": name, notes" in told
    with psycopg.connect(url.replace("+psycopg", "")) as found:
        assert found.execute("SELECT name, notes FROM job").fetchall() == [("ab", "")]
    assert "Nothing was copied" in done(small, url)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "x" * 301}, "value too long"),
        ({"tolerance_seconds": 2**40}, "out of range"),
        ({"downtime_id": 77}, "violates foreign key"),
        ({"stored_bytes": "many"}, "invalid input syntax"),
    ],
)
def test_what_postgresql_refuses_is_named(
    small: Site, url: str, values: dict[str, object], reason: str
) -> None:
    with small.database.writing() as rows:
        ids = [factories.add_job(rows).id for _each in range(3)]
    with small.database.engine.connect() as rows:
        rows.execute(text("COMMIT"))
        rows.execute(text("PRAGMA foreign_keys=OFF"))
        rows.execute(update(Job).where(Job.id == ids[1]).values(values))
        rows.commit()
    line = refused(small, url)
    assert f"PostgreSQL refuses job, row with id {ids[1]} (" in line
    assert reason in line


def test_a_row_that_can_not_be_read_is_named(small: Site, url: str) -> None:
    with small.database.writing() as rows:
        ids = [factories.add_job(rows).id for _each in range(3)]
        rows.execute(text("UPDATE job SET created_at = 'soon' WHERE id = :id"), {"id": ids[2]})
    assert f"job: what follows job, row with id {ids[1]} can't be read (" in refused(small, url)


# Refused


@pytest.mark.parametrize("name", ["web", "cron"])
def test_it_is_refused_while_a_service_runs_on_the_source(tmp_path: Path, url: str, name: str) -> None:
    veilleur = Veilleur(tmp_path)
    with getattr(veilleur, name)() as process:
        answer = veilleur.finish("flask", "db", "copy", "--to", url)
        assert process.child.poll() is None
    assert answer.returncode == 1
    assert "is in use; stop the web application, the cron service" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert veilleur.finish("flask", "db", "copy", "--to", url).returncode == 0


@pytest.fixture
def elsewhere(small: Site, tmp_path: Path) -> Iterator[Site]:
    """A database that an installation in another folder could use as well."""
    database_url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with opened(tmp_path, VEILLEUR_DATABASE_URL=database_url) as made:
        yield made


def test_a_sign_of_life_from_another_folder_is_noticed(elsewhere: Site, url: str) -> None:
    with elsewhere.database.writing() as rows:
        rows.add(Heartbeat(name="web", beat_at=utcnow() - timedelta(seconds=20)))
    assert "a web application left a sign of life in the source 2" in refused(elsewhere, url)
    with elsewhere.database.writing() as rows:
        rows.execute(update(Heartbeat).values(beat_at=utcnow() - timedelta(minutes=2)))
        rows.add(Lease(name="check", holder="other:1", expires_at=utcnow() + timedelta(seconds=40)))
    assert "a cron service (other:1) is at work on the source" in refused(elsewhere, url)
    with elsewhere.database.writing() as rows:
        rows.execute(update(Lease).values(expires_at=utcnow() - timedelta(seconds=1)))
    done(elsewhere, url)


def test_a_source_that_is_written_to_meanwhile_is_noticed(elsewhere: Site, url: str) -> None:
    with source.opened(elsewhere.settings, utcnow()) as origin, target.opened(url) as made:
        with elsewhere.database.writing() as rows:
            rows.add(Server(machine_id="m", name="n", created_at=NOW))
        with pytest.raises(database_copy.CopyError, match="somebody has written to the source meanwhile"):
            database_copy.copy(origin, made, lambda _rows: None)
    assert revision(url).startswith(schema.UNFINISHED_COPY)


def test_the_source_can_not_be_written(small: Site) -> None:
    with (
        source.opened(small.settings, utcnow()) as origin,
        pytest.raises(OperationalError, match="readonly database"),
    ):
        origin.rows.execute(update(Job).values(name="x"))


@pytest.mark.parametrize(
    "to",
    [
        "sqlite:////tmp/x.db",
        "postgresql://u@h/d",
        "mysql://u@h/d",
        "postgresql+psycopg://u@h:port/d",
        "x",
        "",
    ],
)
def test_a_target_that_is_not_postgresql_is_refused(small: Site, to: str) -> None:
    assert "--to" in refused(small, to)


def test_a_target_that_can_not_be_reached_is_told_without_its_password(small: Site, free_port: int) -> None:
    line = refused(small, f"postgresql+psycopg://postgres:verysecret@127.0.0.1:{free_port}/x")
    assert "the target can't be used (" in line
    assert "verysecret" not in line


def test_a_target_with_tables_of_somebody_else_is_refused(small: Site, url: str) -> None:
    execute(url, "CREATE TABLE wiki (page int)")
    assert "the target holds something else: the table wiki" in refused(small, url)
    execute(url, "DROP TABLE wiki", "CREATE TABLE job (page int)")
    assert "the target holds something else: the table job" in refused(small, url)


def test_a_target_of_another_schema_is_refused(small: Site, url: str) -> None:
    schema.upgrade(url, "0003")
    assert "tables of schema 0003, not " in refused(small, url)
    assert revision(url) == "0003"


def test_another_installation_is_not_written_over(small: Site, url: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with opened(tmp_path / "other", VEILLEUR_DATABASE_URL=url):
        pass
    before = contents(url)
    assert "the target holds something else" in refused(small, url)
    assert contents(url) == before


def test_a_prepared_but_empty_target_is_taken(small: Site, url: str) -> None:
    schema.upgrade(url)
    assert "were read back and are equal" in done(small, url)


def test_a_target_that_can_not_hold_every_name_is_refused(small: Site, postgres: Postgres) -> None:
    with psycopg.connect(postgres.address("postgres"), autocommit=True) as rows:
        rows.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0")
    line = refused(small, f"postgresql+psycopg://postgres@127.0.0.1:{postgres.port}/plain")
    assert "encoding is SQL_ASCII" in line


def test_a_source_that_is_not_there_or_no_sqlite_is_refused(tmp_path: Path, url: str) -> None:
    nothing = Veilleur(tmp_path)
    answer = nothing.finish("flask", "db", "copy", "--to", url)
    assert "there is no database at" in answer.stderr
    assert not nothing.instance.exists()
    moved = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": url})
    assert "does not name an SQLite database" in moved.finish("flask", "db", "copy", "--to", url).stderr


def test_an_older_schema_of_the_source_is_not_changed_but_told(small: Site, url: str) -> None:
    with small.database.writing() as rows:
        rows.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    assert "the source has schema 0004" in refused(small, url)


def test_two_copies_into_one_target_do_not_meet(
    small: Site, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.LONG_WAIT_SECONDS", 1)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (target._LOCK,))
        made = target.make_engine
        monkeypatch.setattr(target, "make_engine", lambda url: made(url, wait_seconds=0.2))
        assert "another copy into this target is under way" in refused(small, url)
    until(lambda: run(small, url).exit_code == 0, "the lock to be free")


def test_the_address_of_the_target_may_come_from_the_environment(
    small: Site, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEILLEUR_COPY_TO", url)
    small.database.dispose()
    result = small.app.test_cli_runner().invoke(args=["db", "copy"])
    assert result.exit_code == 0, result.output


def test_a_login_works_on_the_copy(small: Site, url: str, tmp_path: Path) -> None:
    done(small, url)
    with opened(tmp_path, VEILLEUR_DATABASE_URL=url) as there:
        assert log_in(there.stranger(), "admin", PASSWORD).status_code == 200


def test_bodies_are_read_back_byte_by_byte(here: Site, url: str) -> None:
    done(here, url)
    for each in (here.settings.database_url, url):
        database = Database(each)
        with database.reading() as rows:
            found = rows.execute(select(Report.id, ReportBody.compressed).join(ReportBody)).all()
        assert len(found) > 50
        database.dispose()
