"""Brings the database to the newest schema, whichever process comes first."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import make_engine

MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRESQL_LOCK = 0x5645494C  # any number will do, as long as all processes use the same


class SchemaTooNew(Exception):
    """The database was written by a newer Veilleur; going back would lose data."""


def upgrade(url: str) -> None:
    """Apply the missing migrations in one transaction; the others wait, then find nothing to do.

    Raises SchemaTooNew when the database is ahead of this program.
    """
    engine = make_engine(url, may_create=True)
    event.listen(engine, "connect", _loosen_foreign_keys)
    try:
        if not is_current(engine):
            _upgrade(engine)
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    scripts = ScriptDirectory.from_config(_config())
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {each.revision for each in scripts.walk_revisions()}:
        raise SchemaTooNew(f"the database has schema {found}, unknown to this version; use a newer one")
    return found == scripts.get_current_head()


def is_known(revision: str) -> bool:
    """Whether this program can bring a database of that schema to the newest."""
    scripts = ScriptDirectory.from_config(_config())
    return revision in {each.revision for each in scripts.walk_revisions()}


def _upgrade(engine: Engine) -> None:
    with engine.execution_options(writing=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        command.upgrade(_config(connection), "head")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _loosen_foreign_keys(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # SQLite alters a table by copying and dropping it; with the keys on, the drop deletes the children.
    if type(connection).__module__ == "sqlite3":
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=OFF")
        cursor.close()
