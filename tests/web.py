"""The real web application in a folder of its own, and clients that log in as browsers and programs do."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from app import accounts, installation
from app.assembly import create_app
from app.clock import utcnow
from app.cron_client import CronClient
from app.db import EXTENSION, Database
from app.models import AuditEntry
from app.settings import Settings, load
from tests.conftest import unused_port

PASSWORD = "correct horse battery"
VIEWER_PASSWORD = "may only look at it"


@dataclass
class Site:
    """One installation: `admin` and `viewer` may log in, `upload_key` may upload."""

    app: Flask
    settings: Settings
    upload_key: str

    @property
    def database(self) -> Database:
        found: Database = self.app.extensions[EXTENSION]
        return found

    @property
    def interval_file(self) -> Path:
        return self.settings.instance_path / "cron.json"

    def stranger(self) -> FlaskClient:
        return self.app.test_client()

    def administrator(self) -> LoggedIn:
        return LoggedIn(self.app.test_client(), "admin", PASSWORD)

    def viewer(self) -> LoggedIn:
        return LoggedIn(self.app.test_client(), "viewer", VIEWER_PASSWORD)

    def add_key(self, scope: str, label: str = "another key") -> str:
        with self.database.writing() as rows:
            return accounts.add_key(rows, label, scope, utcnow())

    def audit(self, action: str) -> list[AuditEntry]:
        query = select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.id)
        with self.database.reading() as rows:
            return list(rows.scalars(query))


class LoggedIn:
    """A client with a session that sends its CSRF token along."""

    def __init__(self, client: FlaskClient, username: str, password: str) -> None:
        self.client = client
        answer = log_in(client, username, password)
        assert answer.status_code == 200, answer.text
        self.token = str(answer.json["csrfToken"])

    def get(self, path: str, **given: Any) -> TestResponse:
        return self.client.get(path, **given)

    def post(self, path: str, **given: Any) -> TestResponse:
        headers = {"X-CSRF-Token": self.token, **given.pop("headers", {})}
        return self.client.post(path, headers=headers, **given)

    @property
    def cookie(self) -> str:
        found = self.client.get_cookie("veilleur_session")
        assert found is not None
        return found.value


def log_in(client: FlaskClient, username: str, password: str) -> TestResponse:
    return client.post("/api/auth/login", json={"username": username, "password": password})


@dataclass
class FirstStart:
    folder: Path
    upload_key: str


@functools.cache
def _first_start() -> FirstStart:
    """Done once and copied for every site, since passwords are slow to hash by intent."""
    folder = Path(tempfile.mkdtemp(prefix="veilleur-tests-"))
    atexit.register(shutil.rmtree, folder)
    environ = {"VEILLEUR_INSTANCE_PATH": str(folder), "VEILLEUR_ADMIN_PASSWORD": PASSWORD}
    settings, told = installation.prepare(load(environ), utcnow())
    assert told is not None
    database = Database(settings.database_url)
    with database.writing() as rows:
        accounts.add_user(rows, "viewer", VIEWER_PASSWORD, accounts.VIEWER, utcnow())
    database.dispose()
    return FirstStart(folder, told.upload_key)


@contextmanager
def site(folder: Path, **environ: str) -> Iterator[Site]:
    """A fresh installation in the folder."""
    shutil.copytree(_first_start().folder, folder / "instance", dirs_exist_ok=True)
    with opened(folder, **environ) as made:
        yield made


@contextmanager
def opened(folder: Path, **environ: str) -> Iterator[Site]:
    """`prepare` and `create_app` as the processes call them; nothing listens where the cron service would."""
    given = {
        "VEILLEUR_INSTANCE_PATH": str(folder / "instance"),
        "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
        "CRON_PORT": str(unused_port()),
        **environ,
    }
    settings, _again = installation.prepare(load(given), utcnow())
    app = create_app(settings)
    database: Database = app.extensions[EXTENSION]
    try:
        yield Site(app, settings, _first_start().upload_key)
    finally:
        # An idle connection of this thread would otherwise be found open at the end of the tests.
        client: CronClient = app.extensions["cron_client"]
        client._session().close()
        database.dispose()
