"""A pytest plugin: one run of the tests is about SQLite, another about PostgreSQL, and neither uses the other.

Tests that need no database, and those marked `sqlite`, are in the first run alone; those that ask for `postgres`
are in the second alone; all others are in both.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.installation import DATABASE_FILE
from tests import databases, postgres
from tests.databases import POSTGRESQL, RUN, SQLITE, Postgres

# Through these a test gets a database; a module that imports none of them has tests without one.
DOORS = frozenset(
    f"tests.{name}"
    for name in (
        "databases",
        "couriers",
        "crash",
        "crowd",
        "faults",
        "nginx",
        "processes",
        "simulated_year",
        "stage",
        "tour",
        "visitors",
        "web",
        "web_crash",
    )
)
_PORT = "postgres_port"
_opened: list[str] = []  # SQLite's files, by this process, in the test that runs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=[SQLITE, POSTGRESQL], default=SQLITE, help="what the run is about (default: sqlite)"
    )


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_note)
    if config.option.database == POSTGRESQL:
        RUN.postgres = _of_the_first_process(config) or _started(config)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect":
        _opened.append(str(arguments[0]))


def _of_the_first_process(config: pytest.Config) -> Postgres | None:
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return Postgres(given[_PORT]) if given else None


def _started(config: pytest.Config) -> Postgres:
    if postgres.binaries() is None:
        told = "PostgreSQL's server is not installed: NOTHING IS TESTED ON POSTGRESQL"
        pytest.exit(told, returncode=1 if os.environ.get("CI") else 0)
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    return stack.enter_context(postgres.running())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Processes of xdist share the server of the process that starts them."""
    if RUN.postgres:
        node.workerinput[_PORT] = RUN.postgres.port


def pytest_report_header() -> str:
    if RUN.postgres:
        return "database: POSTGRESQL, for all tests that use one and are not about SQLite itself"
    return "database: SQLITE, and all tests that use none (PostgreSQL: --database postgresql)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = [item for item in items if RUN.kind in kinds_of(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(wanted)])
    items[:] = wanted


def kinds_of(item: pytest.Item) -> set[str]:
    """The runs in which a test takes part."""
    if "postgres" in getattr(item, "fixturenames", ()):
        return {POSTGRESQL}
    return {SQLITE, POSTGRESQL} if _uses_database(item) else {SQLITE}


def _uses_database(item: pytest.Item) -> bool:
    """Whether it belongs into both runs."""
    if item.get_closest_marker("sqlite") or item.get_closest_marker("no_database"):
        return False
    if "database" in getattr(item, "fixturenames", ()):
        return True
    module = getattr(item, "module", None)
    return any(_home(each) in DOORS for each in vars(module).values())


def _home(named: object) -> str | None:
    return getattr(named, "__module__", None) or getattr(named, "__name__", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    opened, _opened[:] = list(_opened), []
    if RUN.postgres:
        opened += _left_by_processes(item)
        assert not opened, f"an SQLite database in the run on PostgreSQL: {opened}"
    elif not _uses_database(item) and not item.get_closest_marker("sqlite"):
        assert not opened, f"uses a database, so it must run on both, see tests/both_databases.py: {opened}"


def _left_by_processes(item: pytest.Item) -> list[str]:
    folders = {*RUN.names, *_folder_of(item)}
    return [str(file) for folder in folders for file in folder.rglob(DATABASE_FILE)]


def _folder_of(item: pytest.Item) -> set[Path]:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    return {folder} if folder else set()


@pytest.fixture(scope="session", name="postgres")
def postgres_server() -> Postgres:
    """The server of this run."""
    assert RUN.postgres
    return RUN.postgres


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for one test; its databases end with it, for a server would keep them all to the end."""
    yield tmp_path
    databases.drop(tmp_path)
