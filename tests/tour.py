"""Every page of the product with an address that shows something, found in the application itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Connection, MetaData, Table, event, select, text
from werkzeug.routing import Rule as Route

from app import access, accounts, stored_settings
from app.access import Rule
from app.clock import utcnow
from app.db import Base, Database
from app.demo.installation import Demo, Size
from app.models import MessageTemplate, StoredSetting
from tests.web import PASSWORD, Site, copy, site

SIZE = Size(servers=8, jobs=3, days=22, seed=1)
VIEWER = "claire"
STRANGER, ADMINISTRATOR = "stranger", "admin"

# What a path names by this word: a query for a row of the demo that has something to show.
EXAMPLES = {
    "job_id": "SELECT id FROM job WHERE state = 'overdue' AND acknowledged_at IS NULL ORDER BY id",
    "report_id": "SELECT id FROM report WHERE job_id = :job_id ORDER BY ended_at DESC",
    "channel_id": "SELECT id FROM channel WHERE failing_since_at IS NOT NULL",
    "user_id": "SELECT id FROM user_account WHERE username = 'claire'",
    "key_id": "SELECT id FROM api_key WHERE scope = 'upload' AND revoked_at IS NULL ORDER BY id DESC",
    "body_id": "SELECT max(id) FROM quarantined_body",
    "window_id": "SELECT min(id) FROM maintenance_window",
    "alert_id": "SELECT min(id) FROM alert",
    "delivery_id": "SELECT min(id) FROM delivery",
    "server_id": "SELECT min(id) FROM server",
    "kind": "SELECT 'overdue'",
    "language": "SELECT 'fr'",
    "service_name": "SELECT 'ntfy'",
}
# Where a page of its own needs another row than the one above.
EXAMPLES_OF = {
    ("schedules.confirm_remove", "job_id"): "SELECT job_id FROM job_schedule ORDER BY id",
    ("status_page.badge_of_job", "job_id"): "SELECT id FROM job WHERE is_published ORDER BY id",
}
# Pages that show something only with these questions.
QUERIES = {
    "retention.confirm": "?report_days=30&audit_days=30",
    "connect.wait": "?since=1795000000",
}
# GET routes that answer HTML and are no page of the tour, and why.
EXCEPTIONS: dict[str, str] = {}


@dataclass(frozen=True)
class PageOfTour:
    """One page as somebody sees it; the name is that of its picture."""

    path: str
    who: str
    name: str


# The same page in other states, or by somebody else: endpoint, what the example is, who, name.
OTHERS: tuple[tuple[str, str, str, str], ...] = (
    ("dashboard.index", "?state=overdue", ADMINISTRATOR, "dashboard-overdue"),
    ("dashboard.index", "", VIEWER, "dashboard-viewer"),
    ("jobs.show", "SELECT id FROM job WHERE acknowledged_at IS NOT NULL", ADMINISTRATOR, "job-acknowledged"),
    ("jobs.show", "SELECT id FROM job WHERE state = 'failed' ORDER BY name", ADMINISTRATOR, "job-failed"),
    ("jobs.show", "SELECT id FROM job WHERE state = 'paused'", ADMINISTRATOR, "job-paused"),
    ("jobs.show", "SELECT id FROM job WHERE state = 'new'", ADMINISTRATOR, "job-new"),
    ("jobs.show", "SELECT id FROM job WHERE state = 'ok' ORDER BY id", VIEWER, "job-viewer"),
    (
        "jobs.report",
        "SELECT job_id, id AS report_id FROM report WHERE outcome = 'Fatal' ORDER BY id DESC",
        ADMINISTRATOR,
        "report-failed",
    ),
)


def get_routes(app: Flask) -> list[Route]:
    """All that a browser may open and that is neither a file nor meant for programs."""
    return [
        route
        for route in app.url_map.iter_rules()
        if "GET" in (route.methods or ())
        and route.endpoint != "static"
        and not route.rule.startswith("/api/")
    ]


class Guide:
    """Knows the pages of one installation and how to reach each."""

    def __init__(self, here: Site) -> None:
        self.here = here
        self._clients = {
            STRANGER: here.stranger(),
            ADMINISTRATOR: here.administrator().client,
        }

    def pages(self) -> list[PageOfTour]:
        """Those of the application, each once, and some of them in other states."""
        found = [
            PageOfTour(self.address(route), self.who(route), route.endpoint.replace(".", "-"))
            for route in get_routes(self.here.app)
            if route.endpoint not in EXCEPTIONS and self.is_html(route)
        ]
        return sorted(found, key=lambda page: page.name) + self._others()

    def _others(self) -> list[PageOfTour]:
        by_endpoint = {route.endpoint: route for route in get_routes(self.here.app)}
        found = []
        for endpoint, example, who, name in OTHERS:
            given = self._values(example, {}) if example.startswith("SELECT") else {}
            path = self.address(by_endpoint[endpoint], **given) + ("" if given else example)
            found.append(PageOfTour(path, who, name))
        return found

    def who(self, route: Route) -> str:
        rule = access.rule_of(self.here.app, route.endpoint)
        return STRANGER if rule in (Rule.PUBLIC, Rule.OWN_CHECK) else ADMINISTRATOR

    def address(self, route: Route, **given: object) -> str:
        """The path with an example in the place of each of its parts."""
        values: dict[str, object] = dict(given)
        for name in sorted(route.arguments):
            query = EXAMPLES_OF.get((route.endpoint, name)) or EXAMPLES.get(name)
            assert query, f"{route.rule}: put into EXAMPLES what stands for {name}"
            if name not in values:
                values |= {name: next(iter(self._values(query, values).values()))}
        with self.here.app.test_request_context():
            adapter = self.here.app.url_map.bind("localhost")
            return adapter.build(route.endpoint, values) + QUERIES.get(route.endpoint, "")

    def _values(self, query: str, known: dict[str, object]) -> dict[str, object]:
        with self.here.database.reading() as rows:
            row = rows.execute(text(query), known).mappings().first()
        assert row, f"nothing in the demo for {query}"
        found = dict(row)
        return {"job_id": found["id"]} if set(found) == {"id"} and "FROM job" in query else found

    def is_html(self, route: Route) -> bool:
        """Asked of the route itself: downloads, pictures and what is read by scripts are no pages."""
        answer = self._clients[self.who(route)].get(self.address(route))
        assert answer.status_code == 200, (
            f"{answer.status_code} for {self.address(route)}: give {route.endpoint} a better example, or put "
            "it into EXCEPTIONS with the reason"
        )
        return answer.mimetype == "text/html" and "<html" in answer.text


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """The statements that are sent to the database meanwhile."""
    seen: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def furnished(folders: pytest.TempPathFactory) -> Path:
    """A folder with the demo in it, made once by the first of the processes that run these tests."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    shared = folders.getbasetemp().parent / f"tour-{run}" if run else folders.getbasetemp() / "tour"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "made").exists():
            with site(shared) as here:
                _furnish(here)
            (shared / "made").touch()
    return shared


def _furnish(here: Site) -> None:
    now = utcnow()
    Demo(SIZE, now).fill(here.database, stored_settings.policy(here.database, here.settings), lambda: None)
    wording = {"title": "{job}: aucune sauvegarde", "body": "{job} sur {server} est en retard."}
    with here.database.writing() as rows:
        accounts.set_password(rows, VIEWER, PASSWORD)
        rows.add(
            MessageTemplate(kind="overdue", language="fr", updated_at=now, updated_by="admin", **wording)
        )
        for name, value in {"enabled": "1", "title": "Our backups", "shows_servers": "1"}.items():
            rows.add(
                StoredSetting(name=f"status_page_{name}", value=value, updated_at=now, updated_by="admin")
            )


def copied(folders: pytest.TempPathFactory, name: str) -> Path:
    folder = folders.mktemp(name)
    copy(furnished(folders) / "instance", folder / "instance")
    return folder


# Rows that exist once, or that no page lists.
_ALONE = {"alembic_version", "total", "report_total", "report_body", "lease", "heartbeat", "downtime"}
_ALONE |= {"message_template", "stored_setting", "user_session", "login_failure"}
_APART = 10_000_000


def multiply(database: Database, times: int) -> None:
    """Ten of everything where there was one: the same rows again under other numbers and names."""
    metadata: MetaData = Base.metadata
    tables = [each for each in metadata.sorted_tables if each.name not in _ALONE]
    with database.writing() as rows:
        for copy in range(1, times):
            for table in tables:
                rows.connection().exec_driver_sql(_copy_statement(table, {t.name for t in tables}, copy))
        rows.execute(text("UPDATE total SET value = value * :times"), {"times": times})


def _copy_statement(table: Table, copied: set[str], copy: int) -> str:
    shift = copy * _APART
    values = []
    for column in table.columns:
        referred = {key.column.table.name for key in column.foreign_keys}
        if column.name == "id" or referred & copied or column.name == "last_report_id":
            values.append(f'"{column.name}" + {shift}')
        elif column.name == "job_id":
            values.append(f'"job_id" + {shift}')
        elif column.unique:
            length = getattr(column.type, "length", None)
            start = f'substr("{column.name}", 1, {length - 2})' if length else f'"{column.name}"'
            values.append(f"{start} || '-{copy}'")
        else:
            values.append(f'"{column.name}"')
    names = ", ".join(f'"{each.name}"' for each in table.columns)
    rows = f'SELECT {", ".join(values)} FROM "{table.name}" WHERE id < {_APART}'
    return f'INSERT INTO "{table.name}" ({names}) {rows}'


def count_of(database: Database, table: str) -> int:
    with database.reading() as rows:
        return int(rows.scalar(select(text("count(*)")).select_from(text(table))) or 0)
