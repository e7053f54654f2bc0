"""Brings the database to the newest schema, whichever process comes first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import make_engine

MIGRATIONS = Path(__file__).parent / "migrations"
# Stands before the revision in a database into which another one is being copied.
UNFINISHED_COPY = "copying "
_POSTGRESQL_LOCK = 0x5645494C  # any number will do, as long as all processes use the same


class SchemaTooNew(Exception):
    """The database was written by a newer Veilleur; going back would lose data."""


class CopyUnfinished(SchemaTooNew):
    """A copy into this database was begun and not brought to its end: it may lack rows."""


class MigrationFailed(Exception):
    """A migration can't be applied to what is there."""


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the missing migrations up to `revision` in one transaction; others that come meanwhile wait, then
    find nothing to do.

    Raises SchemaTooNew when the database is ahead of this program, MigrationFailed when Alembic gives up.
    """
    engine = make_engine(url, may_create=True)
    event.listen(engine, "connect", _loosen_foreign_keys)
    try:
        if not is_current(engine):
            _upgrade(engine, revision)
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    """Raises SchemaTooNew when the database is ahead of this program."""
    with engine.connect() as connection:
        found = revision_of(connection)
    if found is not None and found.startswith(UNFINISHED_COPY):
        raise CopyUnfinished(
            "the database holds a copy that is not finished; run `flask db copy` with it as target again"
        )
    if found is not None and not is_known(found):
        raise SchemaTooNew(f"the database has schema {found}, unknown to this version; use a newer one")
    return found == newest()


def is_known(revision: str) -> bool:
    """Whether this program can bring a database of that schema to the newest."""
    return revision in _revisions()


def newest() -> str:
    """The revision that this program brings a database to."""
    return max(_revisions())


def _revisions() -> set[str]:
    # Read from the names of the files: Alembic itself costs each process a tenth of a second and 11 MB.
    return {each.name.partition("_")[0] for each in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def revision_of(connection: Connection) -> str | None:
    """None for a database without a schema of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(engine: Engine, revision: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    with engine.execution_options(writing=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as problem:
            raise MigrationFailed(str(problem)) from problem


def _loosen_foreign_keys(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # SQLite alters a table by copying and dropping it; with the keys on, the drop deletes the children.
    if type(connection).__module__ == "sqlite3":
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=OFF")
        cursor.close()
