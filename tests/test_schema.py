"""Migrations: complete, safe from several processes at once, never backwards."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from app import models, schema
from app.db import Base, make_engine


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'veilleur.db'}"


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
        assert connection.scalar(text("SELECT value FROM total")) == 7
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_in_plain_words(url: str) -> None:
    schema.upgrade(url)
    engine = make_engine(url)
    with engine.execution_options(writing=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(schema.SchemaTooNew, match="9999"):
        schema.upgrade(url)
