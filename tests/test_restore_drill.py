"""The restore drill: a used installation is archived, lost and brought back, with real processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import requests

from tests.postgres import Postgres, postgres_server  # noqa: F401  (a fixture)
from tests.processes import PASSWORD, Veilleur, until
from tests.stage import backup_body

PASSPHRASE = "a passphrase long enough"
BASE = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Uploads:
    """Reports that come in one after the other, until the block ends."""

    url: str
    key: str
    answered: int = 0
    problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def send(self, number: int) -> None:
        body = backup_body(BASE + timedelta(minutes=number), name=f"Job {number % 10}")
        answer = requests.post(
            f"{self.url}/api/upload?api_key={self.key}",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=30,
        )
        if answer.json() != {"success": True}:
            self.problems.append(answer.text)
        self.answered += 1

    def _run(self) -> None:
        while not self._over.is_set():
            self.send(self.answered)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def log_in(here: Veilleur) -> requests.Session:
    session = requests.Session()
    answer = session.post(
        f"{here.url}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    session.headers["X-CSRF-Token"] = answer.json()["csrfToken"]
    return session


def done(here: Veilleur, *arguments: str) -> str:
    finished = here.finish("flask", "backup", *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def reports_of(text: str) -> int:
    """The number in front of the word, as `create`, `verify` and `restore` tell it."""
    words = text.replace(",", "").replace(".", "").split()
    return int(words[words.index("reports") - 1])


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_lost_installation_is_brought_back_on_another_machine(
    tmp_path: Path, passphrase: str | None
) -> None:
    settings = {"VEILLEUR_BACKUP_PASSPHRASE": passphrase} if passphrase else {}
    here, archive = Veilleur(_folder(tmp_path, "here"), settings), tmp_path / "archive"
    key, told = _used_and_archived(here, archive)
    there = Veilleur(_folder(tmp_path, "there"), settings)
    _brought_back(here, there, archive, key, told)


def _folder(beside: Path, name: str) -> Path:
    folder = beside / name
    folder.mkdir()
    return folder


def _used_and_archived(here: Veilleur, archive: Path) -> tuple[str, str]:
    """Both services, uploads all the time, an archive in the middle of it, and life that goes on."""
    with here.web(), here.cron():
        key = here.upload_key()
        set_interval = log_in(here).post(f"{here.url}/api/cron-config", json={"interval": "5min"}, timeout=30)
        assert set_interval.json() == {"success": True}
        uploads = Uploads(here.url, key)
        with uploads.going_on():
            until(lambda: uploads.answered > 20, "uploads")
            before = uploads.answered
            told = done(here, "create", str(archive))
            between = uploads.answered
            until(lambda: uploads.answered > between + 20, "more uploads")
        assert uploads.problems == []
        assert before <= reports_of(told) <= between + 1
        assert f"reports        {reports_of(told)}\n" in done(here, "verify", str(archive))
        refused = here.finish("flask", "backup", "restore", "--yes", str(archive))
        assert refused.returncode == 1
        assert "is in use; stop the web application" in refused.stderr
        until(lambda: list((here.instance / "backups").glob("veilleur-*")) != [], "the daily archive")
    return key, told


def _brought_back(here: Veilleur, there: Veilleur, archive: Path, key: str, told: str) -> None:
    printed = done(there, "restore", "--yes", str(archive))
    assert "Veilleur is set up" not in printed, "no installation is made on the way"
    with there.web() as web, there.cron():
        assert "Veilleur is set up" not in web.output
        session = log_in(there)
        shown = session.get(f"{there.url}/api/cron-config", timeout=30).json()
        assert shown == {"cronExpression": "*/5 * * * *", "enabled": True}
        Uploads(there.url, key).send(100_000)
        again = done(there, "create", str(there.folder / "again"))
        assert reports_of(again) == reports_of(told) + 1
        assert "10 jobs" in again
    assert (there.instance / "secrets.json").read_text() == (here.instance / "secrets.json").read_text()


def test_a_damaged_installation_is_restored_in_its_place(tmp_path: Path) -> None:
    here, archive = Veilleur(tmp_path), tmp_path / "archive"
    done(here, "create", str(archive))
    (here.instance / "secrets.json").write_text("{")
    (here.instance / "veilleur.db").write_bytes(b"no database " * 1000)
    assert here.finish("flask", "user", "list").returncode == 1
    printed = done(here, "restore", "--yes", str(archive))
    assert "What the database holds now can't be told." in printed
    assert here.finish("flask", "user", "list").stdout.startswith("admin")
    (aside,) = here.instance.glob("before-restore-*")
    assert (aside / "veilleur.db").read_bytes().startswith(b"no database")


def test_looking_at_an_archive_makes_no_installation(tmp_path: Path) -> None:
    here, there = Veilleur(_folder(tmp_path, "here")), Veilleur(_folder(tmp_path, "there"))
    done(here, "create", str(tmp_path / "archive"))
    done(there, "verify", str(tmp_path / "archive"))
    assert "There is no archive" in done(there, "list")
    assert not there.instance.exists()


def test_a_service_that_starts_while_an_archive_is_restored_says_so(tmp_path: Path) -> None:
    here, archive = Veilleur(tmp_path), tmp_path / "archive"
    done(here, "create", str(archive))
    with _restoring(here, archive):
        late = here.finish("flask", "cron-start")
    assert late.returncode == 1
    assert "an archive is being restored into" in late.stderr


@contextlib.contextmanager
def _restoring(here: Veilleur, archive: Path) -> Iterator[None]:
    """A restore that waits for an answer."""
    import subprocess
    import sys

    from tests.conftest import CHECKOUT

    command = [sys.executable, "-m", "flask", "backup", "restore", str(archive)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=here.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asking:
        try:
            for line in asking.stdout or ():
                if line.startswith(b"All that happened"):
                    break
            yield
        finally:
            asking.communicate(b"n\n", timeout=60)


# PostgreSQL


def test_postgresql_is_archived_lost_and_brought_back(
    tmp_path: Path,
    postgres: Postgres,
) -> None:
    here = Veilleur(_folder(tmp_path, "here"), {"VEILLEUR_DATABASE_URL": postgres.url()})
    key, told = _used_and_archived(here, tmp_path / "archive")
    there = Veilleur(_folder(tmp_path, "there"), {"VEILLEUR_DATABASE_URL": postgres.url()})
    _brought_back(here, there, tmp_path / "archive", key, told)


def test_postgresql_keeps_the_tables_from_before_and_what_is_not_ours(
    tmp_path: Path,
    postgres: Postgres,
) -> None:
    url = postgres.url()
    here, archive = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": url}), tmp_path / "archive"
    done(here, "create", str(archive))
    assert here.finish("flask", "key", "add", "later").returncode == 0
    address = postgres.address(url.rpartition("/")[2])
    with psycopg.connect(address, autocommit=True) as rows:
        rows.execute("CREATE TABLE foreign_to_us AS SELECT 1 AS one")
        refused = here.finish("flask", "backup", "restore", "--yes", str(archive))
        assert "the database is in use: 1 other connections" in refused.stderr
    printed = done(here, "restore", "--yes", str(archive))
    aside = next(word for word in printed.split() if word.startswith("veilleur_before_")).rstrip(";")
    with psycopg.connect(address) as rows:
        assert _number(rows, "api_key") == 1
        assert _number(rows, f"{aside}.api_key") == 2
        assert _number(rows, "foreign_to_us") == 1
    done(here, "create", str(tmp_path / "again"))


def test_a_restore_that_postgresql_refuses_changes_nothing(
    tmp_path: Path,
    postgres: Postgres,
) -> None:
    url = postgres.url()
    here, archive = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": url}), tmp_path / "archive"
    done(here, "create", str(archive))
    assert here.finish("flask", "key", "add", "later").returncode == 0
    address = postgres.address(url.rpartition("/")[2])
    with psycopg.connect(address) as rows:
        # An index of this name stays in the way when the tables are moved.
        rows.execute("CREATE TABLE stranger (one int)")
        rows.execute("CREATE INDEX stranger_one ON stranger (one)")
        rows.execute("ALTER INDEX ix_job_attention_at RENAME TO moved_away")
        rows.execute("ALTER INDEX stranger_one RENAME TO ix_job_attention_at")
    before = {each: (here.instance / each).read_bytes() for each in ("secrets.json",)}
    refused = here.finish("flask", "backup", "restore", "--yes", str(archive))
    assert refused.returncode == 1
    assert "already exists" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    with psycopg.connect(address) as rows:
        assert _number(rows, "api_key") == 2
        assert _number(rows, "pg_namespace WHERE nspname LIKE 'veilleur%'") == 0
    assert {each: (here.instance / each).read_bytes() for each in before} == before


def test_the_password_of_postgresql_is_needed_and_never_on_a_command_line(
    tmp_path: Path,
    postgres: Postgres,
) -> None:
    name = postgres.url().rpartition("/")[2]
    with psycopg.connect(postgres.address(name), autocommit=True) as rows:
        rows.execute("CREATE ROLE keeper LOGIN PASSWORD 'pa%ss: wörd'")
        rows.execute(
            f'GRANT ALL ON SCHEMA public TO keeper; ALTER DATABASE "{name}" OWNER TO keeper'.encode()
        )
        rows.execute(
            "COPY (VALUES ('host all keeper 127.0.0.1/32 scram-sha-256'), ('host all all 127.0.0.1/32 trust')) "
            f"TO '{_setting(rows, 'hba_file')}'".encode()
        )
        rows.execute("SELECT pg_reload_conf()")
    where = f"127.0.0.1:{postgres.port}/{name}"
    wrong = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": f"postgresql+psycopg://keeper:no@{where}"})
    until(lambda: wrong.finish("flask", "user", "list").returncode == 1, "the password to be demanded")
    url = f"postgresql+psycopg://keeper:pa%25ss%3A%20w%C3%B6rd@{where}"
    right = Veilleur(tmp_path, {"VEILLEUR_DATABASE_URL": url})
    done(right, "create", str(tmp_path / "archive"))
    done(right, "restore", "--yes", str(tmp_path / "archive"))


def _number(rows: psycopg.Connection, source: str) -> int:
    found = rows.execute(f"SELECT count(*) FROM {source}".encode()).fetchone()
    assert found is not None
    return int(found[0])


def _setting(rows: psycopg.Connection, name: str) -> str:
    found = rows.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert found is not None
    return str(found[0])
