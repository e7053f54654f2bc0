"""What tests of every kind share: where real reports lie, free ports, tools that must be there."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
SAMPLES = TESTS / "samples"
SHARED_DATA = CHECKOUT.parent / "shared" / "data"

# Helper modules beside the tests are imported by their plain names as well.
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
