"""Archives of an installation on PostgreSQL: dumped, and brought back in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

from app.clock import utcnow
from tests.databases import Postgres
from tests.processes import until
from tests.stage import backup_body
from tests.web import PASSWORD, Site, log_in, site

JSON = {"Content-Type": "application/json"}


@contextmanager
def on_postgres(folder: Path, url: str) -> Iterator[Site]:
    folder.mkdir(exist_ok=True)
    with site(folder, VEILLEUR_DATABASE_URL=url) as here:
        yield here


def run(here: Site, *arguments: str) -> Result:
    here.database.dispose()  # else our own idle connections would count as others
    return here.app.test_cli_runner().invoke(args=["backup", *arguments])


def done(here: Site, *arguments: str) -> str:
    result = run(here, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def upload(here: Site, key: str, name: str) -> None:
    body = backup_body(utcnow() - timedelta(minutes=1), name=name)
    answer = here.stranger().post(f"/api/upload?api_key={key}", data=body, headers=JSON)
    assert answer.json == {"success": True}


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url()


def _address(postgres: Postgres, url: str) -> str:
    return postgres.address(url.rpartition("/")[2])


def _number(address: str, source: str) -> int:
    with psycopg.connect(address) as rows:
        found = rows.execute(f"SELECT count(*) FROM {source}".encode()).fetchone()
    assert found is not None
    return int(found[0])


def _execute(address: str, *statements: str) -> None:
    with psycopg.connect(address, autocommit=True) as rows:
        for each in statements:
            rows.execute(each.encode())


def test_an_installation_comes_back_in_another_database(
    tmp_path: Path,
    postgres: Postgres,
    url: str,
) -> None:
    archive = str(tmp_path / "archive")
    with on_postgres(tmp_path / "here", url) as here:
        key = here.add_key("upload")
        upload(here, key, "Before")
        assert "1 jobs, 1 reports" in done(here, "create", archive)
        upload(here, key, "After")
    with on_postgres(tmp_path / "there", postgres.url()) as there:
        shown = done(there, "verify", archive)
        assert "jobs           1\nreports        1\nnewest report  20" in shown
        assert "There are now 0 jobs, 0 reports." in done(there, "restore", "--yes", archive)
        assert log_in(there.stranger(), "admin", PASSWORD).status_code == 200
        upload(there, key, "After")
        assert "2 jobs, 2 reports" in done(there, "create", str(tmp_path / "again"))
        assert len(there.audit("archive restored")) == 1


def test_the_tables_from_before_are_kept_and_what_is_not_ours_stays(
    tmp_path: Path,
    postgres: Postgres,
    url: str,
) -> None:
    archive, address = str(tmp_path / "archive"), _address(postgres, url)
    with on_postgres(tmp_path / "here", url) as here:
        done(here, "create", archive)
        here.add_key("upload", "later")
        _execute(address, "CREATE TABLE not_ours AS SELECT 1 AS one")
        with psycopg.connect(address):
            refused = run(here, "restore", "--yes", archive)
        assert "the database is in use: 1 other connections" in refused.output
        until(lambda: _others(address) == 0, "the other connection to end")
        printed = done(here, "restore", "--yes", archive)
        aside = next(word for word in printed.split() if word.startswith("veilleur_before_")).rstrip(";")
        assert _number(address, f"{aside}.api_key") == _number(address, "api_key") + 1
        assert _number(address, "not_ours") == 1
        done(here, "create", str(tmp_path / "again"))


def _others(address: str) -> int:
    return _number(
        address,
        "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'",
    )


def test_a_restore_that_the_database_refuses_changes_nothing(
    tmp_path: Path,
    postgres: Postgres,
    url: str,
) -> None:
    archive, address = str(tmp_path / "archive"), _address(postgres, url)
    with on_postgres(tmp_path / "here", url) as here:
        done(here, "create", archive)
        here.add_key("upload", "later")
        here.database.dispose()
        # Somebody else's index, with a name that one of ours needs once the tables are out of the way.
        _execute(
            address,
            "CREATE TABLE stranger (one int)",
            "ALTER INDEX ix_job_attention_at RENAME TO renamed",
            "CREATE INDEX ix_job_attention_at ON stranger (one)",
        )
        keys, secrets = (
            _number(address, "api_key"),
            (here.settings.instance_path / "secrets.json").read_bytes(),
        )
        refused = run(here, "restore", "--yes", archive)
        assert refused.exit_code == 1
        assert "already exists" in refused.output.strip().splitlines()[-1]
        assert _number(address, "api_key") == keys
        assert _number(address, "pg_namespace WHERE nspname LIKE 'veilleur%'") == 0
        assert (here.settings.instance_path / "secrets.json").read_bytes() == secrets
        assert not list(here.settings.instance_path.glob("before-restore-*"))


def test_a_changed_dump_inside_is_noticed(tmp_path: Path, url: str) -> None:
    with on_postgres(tmp_path / "here", url) as here:
        archive = tmp_path / "archive"
        done(here, "create", str(archive))
        raw = bytearray(archive.read_bytes())
        raw[len(raw) // 2] ^= 1
        archive.write_bytes(raw)
        assert "can't be restored: its content was changed" in run(here, "verify", str(archive)).output


def test_the_password_reaches_the_programs(
    tmp_path: Path,
    postgres: Postgres,
    url: str,
) -> None:
    name, address = url.rpartition("/")[2], _address(postgres, url)
    with psycopg.connect(address) as rows:
        found = rows.execute("SHOW hba_file").fetchone()
    assert found is not None
    rules = ("host all keeper 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust")
    _execute(
        address,
        "CREATE ROLE keeper LOGIN PASSWORD 'pa%ss: wörd'",
        f'ALTER DATABASE "{name}" OWNER TO keeper',
        f"COPY (VALUES ('{rules[0]}'), ('{rules[1]}')) TO '{found[0]}'",
        "SELECT pg_reload_conf()",
    )

    def is_demanded() -> bool:
        try:
            psycopg.connect(address.replace("user=postgres", "user=keeper")).close()
        except psycopg.OperationalError:
            return True
        return False

    until(is_demanded, "the password to be demanded")
    secret = url.replace("postgres@", "keeper:pa%25ss%3A%20w%C3%B6rd@")
    with on_postgres(tmp_path / "here", secret) as here:
        done(here, "create", str(tmp_path / "archive"))
        done(here, "restore", "--yes", str(tmp_path / "archive"))
