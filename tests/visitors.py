"""Everybody who may call: somebody with nothing, people, keys, and those whose login or token is not good."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from werkzeug.test import TestResponse

from app import accounts, clock
from app.models import (
    ApiKey,
    Channel,
    Job,
    MaintenanceWindow,
    MessageTemplate,
    QuarantinedBody,
    Report,
    User,
    UserSession,
)
from tests import databases, factories
from tests.factories import NOW
from tests.web import LoggedIn, Site

# What stands in a path for the part of this name; 1 for any other. The first key and user are needed here.
FILLED = {
    "path": "health",
    "filename": "style.css",
    "server": "nas-attic",
    "key_id": "900",
    "user_id": "900",
    "service_name": "ntfy",
    "kind": "overdue",
    "language": "en",
}

Call = tuple[str, str]


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    expected: dict[str, str]

    @property
    def call(self) -> Call:
        return self.method, self.path

    @property
    def filled(self) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: FILLED.get(found[1], "1"), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def read_table(text: str) -> list[Row]:
    header, *lines = filter(str.strip, text.splitlines())
    visitors = header.split()
    rows = []
    for line in lines:
        method, path, *answers = line.split()
        assert len(answers) == len(visitors), line
        told = [answers[0] if answer == "=" else answer for answer in answers]
        rows.append(Row(method, path, dict(zip(visitors, told, strict=True))))
    return rows


def furnish(here: Site) -> None:
    """One of everything that a path can name, by its number there, however often it has been deleted."""
    with here.database.writing() as rows:
        rows.merge(ApiKey(id=900, label="nas", scope="upload", key_hash="0", hint="vk_0", created_at=NOW))
        rows.merge(User(id=900, username="vera", password_hash="", role="viewer", created_at=NOW))
        if rows.get(Job, 1) is None:
            factories.add_job(rows, "Documents", now=clock.utcnow(), id=1)
        if rows.get(Report, 1) is None:
            factories.add_report(rows, rows.get_one(Job, 1), b"{}", id=1)
        if rows.get(QuarantinedBody, 1) is None:
            factories.add_quarantined(rows, id=1)
        if rows.get(Channel, 1) is None:
            factories.add_channel(rows, id=1)
        if rows.get(MessageTemplate, ("overdue", "en")) is None:
            factories.add_message_template(rows)
        if rows.get(MaintenanceWindow, 1) is None:
            once = {"starts_at": clock.utcnow(), "ends_at": clock.utcnow() + timedelta(hours=1)}
            rows.add(MaintenanceWindow(id=1, name="Rack", zone="UTC", created_at=clock.utcnow(), **once))
        databases.number_anew(rows)


class Visitors:
    """Sends one call as any of the visitors; a session is opened once, and again when a call has ended it."""

    def __init__(self, here: Site) -> None:
        self.here = here
        self._sessions: dict[str, LoggedIn] = {}
        self._expired = self._login_that_expired()
        self._keys = {
            "upload": here.upload_key,
            "read": here.add_key(accounts.READ),
            "wrong": "vk_" + "x" * 32,
        }

    def _login_that_expired(self) -> LoggedIn:
        admin = self.here.administrator()
        with self.here.database.writing() as rows:
            rows.execute(update(UserSession).values(expires_at=clock.utcnow()))
        return admin

    def _session(self, who: str) -> LoggedIn:
        found = self._sessions.get(who)
        if found is None or found.get("/api/auth/me").status_code != 200:
            opened = self.here.viewer() if who == "viewer" else self.here.administrator()
            found = self._sessions[who] = opened
        return found

    def send(self, who: str, row: Row, **given: Any) -> TestResponse:
        if who in self._keys:
            return self._with_key(self._keys[who], row, **given)
        client, headers = self.here.stranger(), dict(given.pop("headers", {}))
        if who != "stranger":
            login = self._expired if who == "expired" else self._session(who)
            client = login.client
            if who != "tokenless":
                headers["X-CSRF-Token"] = login.token
        return client.open(row.filled, method=row.method, headers=headers, **given)

    def _with_key(self, key: str, row: Row, **given: Any) -> TestResponse:
        """In every place where a key may come."""
        headers = {"X-Api-Key": key, "Authorization": f"Bearer {key}", **given.pop("headers", {})}
        path = f"{row.filled}?api_key={key}"
        return self.here.stranger().open(path, method=row.method, headers=headers, **given)


def answered(answer: TestResponse) -> str:
    """The answer in the words of the table."""
    if answer.status_code == 302 and answer.location.partition("?")[0] == "/login":
        return "login"
    return str(answer.status_code)
