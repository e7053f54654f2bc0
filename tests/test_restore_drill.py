"""The restore drill: a used installation is archived, lost and brought back, with real processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from app.archive import sqlite_copy
from tests.conftest import CHECKOUT
from tests.meanwhile import again_and_again
from tests.processes import PASSWORD, Veilleur, until
from tests.stage import backup_body

pytestmark = pytest.mark.sqlite("a file that is lost; test_archive_postgresql.py has a server")

PASSPHRASE = "a passphrase long enough"
BASE = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Uploads:
    """Reports that come in one after the other, until the block ends."""

    url: str
    key: str
    answered: int = 0
    problems: list[str] = field(default_factory=list)

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

    def going_on(self) -> contextlib.AbstractContextManager[None]:
        return again_and_again(lambda: self.send(self.answered))


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


def test_a_lost_installation_is_brought_back_on_another_machine(tmp_path: Path) -> None:
    settings = {"VEILLEUR_BACKUP_PASSPHRASE": PASSPHRASE}
    here, archive = Veilleur(_folder(tmp_path, "here"), settings), tmp_path / "archive"
    key, told = _used_and_archived(here, archive)
    _brought_back(here, Veilleur(_folder(tmp_path, "there"), settings), archive, key, told)


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
        refused = here.finish("flask", "backup", "restore", "--yes", str(archive))
        assert refused.returncode == 1
        assert "is in use; stop the web application" in refused.stderr
        until(lambda: list((here.instance / "backups").glob("veilleur-*")) != [], "the daily archive")
    return key, told


def _brought_back(here: Veilleur, there: Veilleur, archive: Path, key: str, told: str) -> None:
    done(there, "verify", str(archive))
    assert not there.instance.exists(), "looking at an archive makes nothing"
    printed = done(there, "restore", "--yes", str(archive))
    assert "Veilleur is set up" not in printed, "no installation is made on the way"
    with there.web() as web, there.cron():
        assert "Veilleur is set up" not in web.output
        session = log_in(there)
        shown = session.get(f"{there.url}/api/cron-config", timeout=30).json()
        assert shown == {"cronExpression": "*/5 * * * *", "enabled": True}
        Uploads(there.url, key).send(100_000)
        content = sqlite_copy.look(there.instance / "veilleur.db")
        assert content is not None
        assert (content.jobs, content.reports) == (10, reports_of(told) + 1)
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
