"""Migrations: complete, safe from several processes at once, never backwards."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from app import models, schema, summary, totals
from app.db import Base, Database, make_engine
from tests import databases
from tests.conftest import CHECKOUT


@pytest.fixture
def url(tmp_path: Path) -> str:
    return databases.url_of(tmp_path)


def test_the_migrations_make_exactly_the_tables_of_the_models(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        tables = set(inspect(connection).get_table_names())
    engine.dispose()
    assert differences == []
    assert models.Job.__tablename__ in tables


def test_four_processes_that_upgrade_at_once_all_succeed(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=schema.upgrade, args=(url,)) for _ in range(4)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0, 0, 0]
    engine = make_engine(url)
    assert schema.is_current(engine)
    engine.dispose()


def test_upgrading_again_changes_nothing_and_keeps_the_rows(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.execution_options(writing=True).begin() as connection:
        connection.execute(text("INSERT INTO total (name, value) VALUES ('jobs', 7)"))
    schema.upgrade(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT value FROM total WHERE name = 'jobs'")) == 7
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_in_plain_words(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.execution_options(writing=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(schema.SchemaTooNew, match="9999"):
        schema.upgrade(url)


def test_the_program_knows_its_revisions_without_alembic() -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    assert scripts.get_heads() == [max(schema._revisions())]
    assert {each.revision for each in scripts.walk_revisions()} == schema._revisions()


def test_a_start_on_the_newest_schema_leaves_alembic_alone(url: str) -> None:
    schema.upgrade(url)
    program = (
        f"import sys; from app import schema; schema.upgrade({url!r}); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=False).returncode == 0


def test_what_an_older_version_stored_is_kept_and_not_told_again(url: str) -> None:
    schema.upgrade(url, "0001")
    engine = make_engine(url)
    with engine.execution_options(writing=True).begin() as connection:
        for statement in OLDER_ROWS:
            connection.execute(text(statement))
    engine.dispose()
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        alert = connection.execute(text("SELECT job_id, kind, routed_at, created_at FROM alert")).one()
        assert (alert.job_id, alert.kind) == (7, "overdue")
        assert alert.routed_at == alert.created_at
        assert connection.execute(text("SELECT alert_id, channel_id, job_id FROM delivery")).one() == (
            3,
            5,
            7,
        )
        assert connection.scalar(text("SELECT state FROM job")) == "overdue"
    engine.dispose()


def test_the_totals_begin_with_what_is_stored_already(url: str) -> None:
    schema.upgrade(url, "0003")
    engine = make_engine(url)
    with engine.execution_options(writing=True).begin() as connection:
        for statement in REPORTS_OF_BEFORE:
            connection.execute(text(statement))
    engine.dispose()
    schema.upgrade(url)
    database = Database(url)
    with database.reading() as rows:
        told = summary.read(rows)
        found = rows.execute(text("SELECT last_report_id, stored_bytes, examined_bytes FROM job ORDER BY id"))
        assert found.all() == [(3, 700, None), (None, None, None)]
        assert rows.scalar(text("SELECT count(*) FROM report_total")) == totals.SLOTS
    database.dispose()
    assert (told.servers_count, told.runs_count, told.uploaded_bytes) == (1, 4, 2**50 + 30)
    assert (told.stored_bytes, told.examined_bytes) == (700, 0)


def report_of_before(number: int, job_id: int, day: int, sizes: str, dry_run: str = "FALSE") -> str:
    return (
        "INSERT INTO report (id, job_id, fingerprint, received_at, began_at, ended_at, time_source, outcome,"
        " good, partial, interrupted, dry_run, salvaged, uploaded_bytes, stored_bytes, examined_bytes)"
        f" VALUES ({number}, {job_id}, 'f{number}', '2026-11-05 10:00:00', '2026-11-05 10:00:00',"
        f" '2026-11-0{day} 10:00:00',"
        f" 'report', 'Success', TRUE, FALSE, FALSE, {dry_run}, FALSE, {sizes})"
    )


REPORTS_OF_BEFORE = (
    "INSERT INTO server VALUES (2, 'nas', 'nas', '2026-11-01 10:00:00')",
    "INSERT INTO job (id, server_id, backup_id, name, created_at, state, state_rank, state_since_at, why)"
    " VALUES (7, 2, 'DB-1', 'Photos', '2026-11-01 10:00:00', 'ok', 5, '2026-11-01 10:00:00', '{}'),"
    " (23, 2, 'DB-2', 'Mail', '2026-11-01 10:00:00', 'ok', 5, '2026-11-01 10:00:00', '{}')",
    report_of_before(3, 7, 3, "20, 700, NULL"),
    report_of_before(4, 7, 2, "10, 900, 900"),
    report_of_before(5, 7, 4, "0, 1, 1", dry_run="TRUE"),
    report_of_before(6, 23, 4, f"{2**60}, 5, 5", dry_run="TRUE"),
)
OLDER_ROWS = (
    "INSERT INTO server VALUES (2, 'nas', 'nas', '2026-11-01 10:00:00')",
    "INSERT INTO job (id, server_id, backup_id, name, created_at, state, state_rank, state_since_at, why)"
    " VALUES (7, 2, 'DB-1', 'Photos', '2026-11-01 10:00:00', 'overdue', 0, '2026-11-01 10:00:00', '{}')",
    "INSERT INTO alert (id, message_id, job_id, kind, facts, created_at)"
    " VALUES (3, 'abc', 7, 'overdue', '{}', '2026-11-02 10:00:00')",
    "INSERT INTO channel (id, kind, name, config, language, enabled, created_at)"
    " VALUES (5, 'ntfy', 'Phone', '{}', 'en', TRUE, '2026-11-01 10:00:00')",
    "INSERT INTO delivery (id, alert_id, channel_id, job_id, status, attempts)"
    " VALUES (9, 3, 5, 7, 'sent', 1)",
)
