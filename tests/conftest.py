"""What tests of every kind share: where real reports lie, free ports, tools that must be there."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from tests import databases

pytest_plugins = ["tests.both_databases", "tests.browser", "tests.order"]

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
SAMPLES = TESTS / "samples"
SHARED_DATA = CHECKOUT.parent / "shared" / "data"


def require_tool(name: str) -> str:
    """The path of a program; without it the test is skipped, except on CI, where that is a failure."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found:
        return found
    reason = f"{name} is not installed"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def unused_port() -> int:
    """A port that is free, and so is the one above it, where the cron service goes by default.

    Taken from below the range the kernel uses for outgoing connections, which would race with the test. Each
    process that runs tests has its own part of them and gives each out once, for they are bound later.
    """
    return next(port for port in _PORTS if _is_free(port) and _is_free(port + 1))


def _ports() -> Iterator[int]:
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    mine = list(range(20000 + part * 1500, 20000 + (part + 1) * 1500, 2))
    random.shuffle(mine)
    return itertools.cycle(mine)


_PORTS = _ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def free_port() -> int:
    """A port nothing listens on at this moment."""
    return unused_port()


def pytest_configure() -> None:
    """Tests see Veilleur's defaults, whatever the shell that started them has set."""
    for name in list(os.environ):
        if name.startswith("VEILLEUR_") or name in _OTHER_SETTINGS:
            del os.environ[name]


_OTHER_SETTINGS = ("HOST", "PORT", "CRON_HOST", "CRON_PORT", "CRON_SERVICE_URL")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema."""
    made = databases.with_schema(tmp_path)
    yield made
    made.dispose()
