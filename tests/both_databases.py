"""A pytest plugin: one run of the tests is on SQLite, another on PostgreSQL, and neither uses the other.

Tests without a database, and those marked `sqlite` or `one_database`, are in the first run alone; those that
ask for `postgres` are in the second alone; all others are in both. `one_database` is for a test that would
ask the second database nothing but what other tests there ask it: for the same page in other colours, or for
nothing at all, with a start that is refused before.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from app.installation import DATABASE_FILE
from tests import databases, postgres
from tests.databases import PORT, POSTGRESQL, RUN, SQLITE, Postgres

# Through these a test gets a database.
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
_opened: list[str] = []  # SQLite's files, by this process, in the test that runs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=[SQLITE, POSTGRESQL],
        default=SQLITE,
        help="what the run is about (default: sqlite)",
    )


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_note)
    if hasattr(config, "workerinput"):  # a process of xdist shares the server of the one that started it
        return
    RUN.postgres = _started(config) if config.option.database == POSTGRESQL else None
    os.environ[PORT] = str(RUN.postgres.port) if RUN.postgres else ""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect":
        _opened.append(str(arguments[0]))


def _started(config: pytest.Config) -> Postgres:
    if postgres.binaries() is None:
        told = "PostgreSQL's server is not installed: NOTHING IS TESTED ON POSTGRESQL"
        pytest.exit(told, returncode=1 if os.environ.get("CI") else 0)
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    return stack.enter_context(postgres.running())


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
    if _is_marked(item):
        return {SQLITE}
    if "postgres" in getattr(item, "fixturenames", ()):
        return {POSTGRESQL}
    return {SQLITE, POSTGRESQL} if _uses_database(item) else {SQLITE}


def _is_marked(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("sqlite", "one_database"))


def _uses_database(item: pytest.Item) -> bool:
    """Where this overlooks a database, the run on SQLite fails."""
    if not isinstance(item, pytest.Function):
        return False
    fixtures = [each.func for all_ in item._fixtureinfo.name2fixturedefs.values() for each in all_]
    return _leads_to_database(frozenset([item.function, *fixtures]))


@functools.cache
def _leads_to_database(starts: frozenset[object]) -> bool:
    """Whether one of them, or a function or class of the tests that they name, names one of the DOORS."""
    seen, ahead = set(starts), list(starts)
    while ahead:
        for each in _found_in(ahead.pop()):
            if _home(each) in DOORS:
                return True
            if _is_of_tests(each) and each not in seen:
                seen.add(each)
                ahead.append(each)
    return False


def _found_in(named: object) -> list[object]:
    """What stands behind the names in its code, or in its methods' code."""
    if isinstance(named, type):
        return [found for each in vars(named).values() for found in _found_in(each)]
    function = inspect.unwrap(named) if callable(named) else getattr(named, "fget", None)
    if not inspect.isfunction(function):
        return []
    return [function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__]


def _names(code: CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*inner)


def _is_of_tests(named: object) -> bool:
    return (isinstance(named, type) or inspect.isfunction(named)) and named.__module__.startswith("tests.")


def _home(named: object) -> str | None:
    return named.__name__ if inspect.ismodule(named) else getattr(named, "__module__", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    files = taken(item)
    if RUN.postgres:
        assert not files, f"an SQLite database in the run on PostgreSQL: {files}"
    elif POSTGRESQL not in kinds_of(item) and not _is_marked(item):
        assert not files, f"uses a database, so it must run on both, see tests/both_databases.py: {files}"


def taken(item: pytest.Item) -> list[str]:
    """The SQLite databases that this process has opened for the test, and those that others left behind."""
    opened, _opened[:] = list(_opened), []
    folders = {*RUN.names, *_folder_of(item)}
    return opened + [str(file) for folder in folders for file in folder.rglob(DATABASE_FILE)]


def _folder_of(item: pytest.Item) -> set[Path]:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    return {folder} if folder else set()


@pytest.fixture(scope="session", name="postgres")
def postgres_server() -> Iterator[Postgres]:
    """The server of this run; in one about SQLite, one for those that copy from there."""
    with contextlib.nullcontext(RUN.postgres) if RUN.postgres else postgres.running() as server:
        yield server


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for one test; its databases end with it, for a server would keep them all to the end."""
    yield tmp_path
    databases.drop(tmp_path)
