"""What each process leaves out of memory: a look at its modules, and none at the clock or at megabytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from werkzeug.security import check_password_hash, generate_password_hash

from app import accounts
from app.apart import done_apart
from app.commands import COMMANDS, is_ours
from tests.conftest import CHECKOUT
from tests.processes import Veilleur

LOADED = """
import json, sys
sys.argv = json.loads(sys.argv[1])
import wsgi
if sys.argv[1:] == ["cron-start"]:
    import click
    wsgi.app.cli.get_command(click.Context(wsgi.app.cli), "cron-start")
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


# As gunicorn does it, up to the moment in which it would fork its first worker.
READY = """
import gc, json, runpy, sys
from types import SimpleNamespace
sys.argv = json.loads(sys.argv[1])
conf = runpy.run_path("gunicorn.conf.py")
import wsgi
engine = wsgi.app.extensions["database"].engine
opened = []
from sqlalchemy import event
event.listen(engine, "connect", lambda *given: opened.append(given))
conf["when_ready"](SimpleNamespace(app=SimpleNamespace(callable=wsgi.app)))
from app.db import Base
found = {
    "asked": len(opened),
    "open": engine.pool.checkedin() + engine.pool.checkedout(),
    "unprepared": [each.class_.__name__ for each in Base.registry.mappers if not each.configured],
    "frozen": gc.get_freeze_count() > 100_000,
}
sys.stderr.write(json.dumps(found))
"""


def loaded(folder: Path, *command_line: str) -> set[str]:
    """The modules in memory once such a process is assembled, which makes the database at its first start."""
    return set(_told(LOADED, folder, *command_line))


def _told(program: str, folder: Path, *command_line: str) -> Any:
    finished = subprocess.run(
        [sys.executable, "-c", program, json.dumps(command_line)],
        cwd=CHECKOUT,
        env=Veilleur(folder).environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(finished.stderr)


def of(modules: set[str], *packages: str) -> set[str]:
    return {each for each in modules if each.startswith(tuple(f"{name}." for name in packages))} | (
        modules & set(packages)
    )


RARE = ("alembic", "mako", "apprise", "cryptography", "app.demo", "app.database_copy", "unittest")


def test_the_cron_service_holds_neither_pages_nor_what_is_rarely_used(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "flask", "cron-start")
    assert "app.cron.service" in modules
    pages = ("app.assembly", "app.blueprints", "app.presentation", "app.access", "flask_wtf", "wtforms")
    assert of(modules, *pages, *RARE, "gunicorn") == set()
    assert of(modules, "app.commands") == {"app.commands"}


def test_the_web_application_holds_neither_the_service_nor_the_commands(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "gunicorn", "wsgi:app")
    assert "app.blueprints.dashboard" in modules
    assert of(modules, *RARE, "app.cron", "schedule", "waitress") == set()
    assert of(modules, "app.commands") == {"app.commands"}


@pytest.mark.sqlite("PostgreSQL needs its own dialect, of course")
@pytest.mark.parametrize("command_line", [("gunicorn", "wsgi:app"), ("flask", "cron-start")])
def test_with_sqlite_nothing_is_held_for_postgresql(tmp_path: Path, command_line: tuple[str, ...]) -> None:
    modules = loaded(tmp_path, *command_line)
    assert "sqlalchemy.dialects.sqlite" in modules
    assert of(modules, "sqlalchemy.dialects.postgresql", "psycopg") == set()


def test_what_the_first_query_makes_is_there_before_the_fork_and_no_connection_is(tmp_path: Path) -> None:
    found = _told(READY, tmp_path, "gunicorn", "wsgi:app")
    assert found == {"asked": 1, "open": 0, "unprepared": [], "frozen": True}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_known_by_its_name_alone(name: str) -> None:
    assert is_ours(["flask", name, "--help"])
    assert not is_ours(["gunicorn", "wsgi:app", name])


@pytest.mark.sqlite("the same on both, and this one has a file to look at")
def test_the_first_start_leaves_no_migrations_behind_and_makes_all_the_same(tmp_path: Path) -> None:
    assert of(loaded(tmp_path, "gunicorn", "wsgi:app"), "alembic") == set()
    assert (tmp_path / "instance" / "veilleur.db").stat().st_size > 100_000


def test_what_is_done_apart_comes_back() -> None:
    assert done_apart(lambda: {"process": os.getpid()}, ()) != {"process": os.getpid()}
    with pytest.raises(KeyError, match="lost"):
        done_apart(lambda: {}["lost"], (KeyError,))


def test_a_process_that_ends_without_a_word_ends_the_other() -> None:
    with pytest.raises(SystemExit) as ended:
        done_apart(lambda: os._exit(3), ())
    assert ended.value.code == 1


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(SystemExit, match="ended by signal 9"):
        done_apart(lambda: os.kill(os.getpid(), signal.SIGKILL), ())


def test_nobody_s_password_is_checked_at_the_same_cost_and_is_no_password() -> None:
    method, _salt, digest = accounts._NOBODY.split("$")
    made_method, _salt, made_digest = generate_password_hash("any", accounts._METHOD).split("$")
    assert (method, len(digest)) == (made_method, len(made_digest))
    assert not check_password_hash(accounts._NOBODY, "")
