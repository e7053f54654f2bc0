"""Real faults of disks and files, and what a whole installation is asked while they last."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from app.models import Job, Report
from tests.processes import PASSWORD, Process, Veilleur
from tests.stage import backup_body

CHECK = "overdue-backup-check"
PATIENCE_SECONDS = 40


@dataclass
class Running:
    """Both processes of one installation, and somebody who is logged in."""

    veilleur: Veilleur
    web: Process
    cron: Process
    admin: requests.Session
    key: str
    test: int = 0  # goes into the names of jobs, so that one test does not meet the reports of another

    @property
    def database(self) -> Path:
        return self.veilleur.instance / "veilleur.db"

    @property
    def interval_file(self) -> Path:
        return self.veilleur.instance / "cron.json"

    @property
    def cron_url(self) -> str:
        return f"http://127.0.0.1:{self.veilleur.cron_port}"

    def get(self, path: str) -> requests.Response:
        return self.admin.get(f"{self.veilleur.url}{path}", timeout=PATIENCE_SECONDS)

    def post(self, path: str, content: object = None) -> requests.Response:
        return self.admin.post(f"{self.veilleur.url}{path}", json=content, timeout=PATIENCE_SECONDS)

    def upload(self, name: str, key: str | None = None, padding: int = 0) -> requests.Response:
        """The report of a job with this name, whose backup has just ended."""
        return self._upload(name, datetime.now(UTC), key or self.key, padding)

    def upload_silent(self, name: str) -> requests.Response:
        """The last report of a job that should have reported again long ago."""
        return self._upload(name, datetime.now(UTC) - timedelta(days=3), self.key, 0)

    def _upload(self, name: str, ended_at: datetime, key: str, padding: int) -> requests.Response:
        return requests.post(
            f"{self.veilleur.url}/api/upload",
            params={"api_key": key},
            data=backup_body(ended_at, name=f"{self.test}:{name}") + b" " * padding,
            timeout=PATIENCE_SECONDS,
        )

    def log_in(self) -> requests.Response:
        content = {"username": "admin", "password": PASSWORD}
        return requests.post(f"{self.veilleur.url}/api/auth/login", json=content, timeout=PATIENCE_SECONDS)

    def save(self, interval: str) -> requests.Response:
        return self.post("/api/cron-config", {"interval": interval})

    def check(self) -> requests.Response:
        """An overdue check, now; asked for around the web application, which needs the database for that."""
        token = json.loads((self.veilleur.instance / "secrets.json").read_text())["cronToken"]
        return requests.post(
            f"{self.cron_url}/trigger/{CHECK}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
        )

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/health").json()
        return found

    def cron_health(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.cron_url}/health", timeout=PATIENCE_SECONDS).json()
        return found

    def stored(self) -> list[str]:
        """The jobs of this test, one for each report that is in the database."""
        database, mine = self.veilleur.database(), f"{self.test}:"
        with database.reading() as rows:
            names = rows.scalars(select(Job.name).join(Report, Report.job_id == Job.id)).all()
        database.dispose()
        return sorted(name.removeprefix(mine) for name in names if name.startswith(mine))

    def spooled(self) -> list[Path]:
        return sorted((self.veilleur.instance / "spool").glob("*.report"))

    def assert_discreet_logs(self) -> None:
        """One line for each fault, and never what Python prints of its own."""
        for process in (self.web, self.cron):
            assert "Traceback" not in process.output, process.output
            assert "sqlalche.me" not in process.output, process.output


@contextlib.contextmanager
def running(folder: Path, *, veilleur: Veilleur | None = None, **settings: str) -> Iterator[Running]:
    veilleur = veilleur or Veilleur(folder)
    veilleur.settings |= {"VEILLEUR_WEB_WORKERS": "1", **settings}
    with veilleur.web() as web, veilleur.cron() as cron:
        admin = requests.Session()
        found = Running(veilleur, web, cron, admin, veilleur.upload_key())
        answer = admin.post(
            f"{veilleur.url}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
        )
        admin.headers["X-CSRF-Token"] = answer.json()["csrfToken"]
        yield found
        admin.close()


@contextlib.contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    """Something mounted on a folder for as long as the block lasts; skipped where that is not permitted."""
    done = subprocess.run(["mount", *arguments, str(target)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as a read-only file system for all that is opened from now on, root's files included.

    Made read-only aside and put in place then: where the processes work already, a file that one of them
    writes in that moment would keep it busy."""
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        with mounted(aside, "--bind", str(folder)):
            subprocess.run(["mount", "-o", "remount,bind,ro", name], check=True)
            with mounted(folder, "--bind", name):
                yield


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not one byte more fits on the file system of this folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")
    try:
        yield
    finally:
        filler.unlink()
