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

from app import access, accounts, audit, installation
from app.assembly import create_app
from app.clock import utcnow
from app.cron_client import CronClient
from app.db import EXTENSION, Database
from app.installation import DATABASE_FILE
from app.models import AuditEntry, User
from app.settings import Settings, load
from tests import databases
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
        return self._let_in("admin")

    def viewer(self) -> LoggedIn:
        return self._let_in("viewer")

    def _let_in(self, username: str) -> LoggedIn:
        """What a login leaves behind, without the password: that takes a tenth of a second by intent."""
        client, now = self.app.test_client(), utcnow()
        with self.database.writing() as rows:
            user = rows.scalars(select(User).where(User.username == username)).one()
            hours = self.settings.session_hours
            token = accounts.open_session(rows, user, address="127.0.0.1", now=now, hours=hours)
            audit.note(rows, actor=username, action="login", target="session", now=now, address="127.0.0.1")
        with client.session_transaction() as cookie:
            cookie[access.SESSION_TOKEN] = token
            cookie.permanent = True
        return LoggedIn(client)

    def add_key(self, scope: str, label: str = "another key") -> str:
        with self.database.writing() as rows:
            return accounts.add_key(rows, label, scope, utcnow())

    def audit(self, action: str) -> list[AuditEntry]:
        query = select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.id)
        with self.database.reading() as rows:
            return list(rows.scalars(query))


class LoggedIn:
    """A client with a session that sends its CSRF token along."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        answer = client.get("/api/csrf")
        assert answer.status_code == 200 and answer.json is not None, answer.text
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
    environ = {
        "VEILLEUR_INSTANCE_PATH": str(folder),
        "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
        **databases.environ_of(folder),
    }
    settings, told = installation.prepare(load(environ), utcnow())
    assert told is not None
    database = Database(settings.database_url)
    with database.writing() as rows:
        accounts.add_user(rows, "viewer", VIEWER_PASSWORD, accounts.VIEWER, utcnow())
    database.dispose()
    return FirstStart(folder, told.upload_key)


def copy(origin: Path, folder: Path, *, with_database: bool = True) -> None:
    """An instance folder and what is in its database, which nobody has open."""
    shutil.copytree(origin, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{DATABASE_FILE}*"))
    if with_database:
        databases.copy(origin, folder)


@contextmanager
def site(folder: Path, **environ: str) -> Iterator[Site]:
    """A fresh installation in the folder."""
    copy(_first_start().folder, folder / "instance", with_database="VEILLEUR_DATABASE_URL" not in environ)
    with opened(folder, **environ) as made:
        yield made


@contextmanager
def opened(folder: Path, **environ: str) -> Iterator[Site]:
    """`prepare` and `create_app` as the processes call them; nothing listens where the cron service would."""
    instance = folder / "instance"
    given = {
        "VEILLEUR_INSTANCE_PATH": str(instance),
        "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
        "CRON_PORT": str(unused_port()),
        **({} if "VEILLEUR_DATABASE_URL" in environ else databases.environ_of(instance)),
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
        client.close()
        for each in {database, app.extensions[EXTENSION]}:  # a test may have put another one there
            each.dispose()
