"""A PostgreSQL server of its own for tests: in a temporary folder, on a loopback port, gone at the end."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from tests.conftest import unused_port
from tests.databases import Postgres
from tests.processes import is_listening, until

_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # it would visit hundreds of databases that live for a second
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
}


# Where that is possible, the server ends even when the tests are killed.
_WITH_US = [shutil.which("setpriv"), "--pdeathsig", "INT"] if shutil.which("setpriv") else []


def binaries() -> Path | None:
    """Where the server's programs are: on the path, or where Debian has them."""
    found = shutil.which("initdb")
    places = (
        [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((each for each in places if (each / "initdb").exists()), None)


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Postgres]:
    """Skips the test when there is no server to start, except on CI, where that is a failure.

    Other settings go before those that make it fast and forgetful.
    """
    programs = binaries()
    if programs is None:
        reason = "PostgreSQL's server is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="veilleur-postgres-"))
    port, user = unused_port(), _user()
    # The server refuses to run as root; then it gets a user of its own.
    as_user = functools.partial(
        subprocess.Popen, user=user, group=user and pwd.getpwnam(user).pw_gid, extra_groups=user and []
    )
    try:
        if user:
            shutil.chown(folder, user)
        with _serving(as_user, programs, folder, port, {**_SETTINGS, **settings}):
            yield Postgres(port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    return "postgres" if os.geteuid() == 0 else None


@contextlib.contextmanager
def _serving(
    as_user: functools.partial[subprocess.Popen[bytes]],
    programs: Path,
    folder: Path,
    port: int,
    settings: Mapping[str, str],
) -> Iterator[None]:
    data, log = folder / "data", folder / "log"
    with log.open("wb") as output:
        made = as_user(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
        assert made.wait(120) == 0, log.read_text()
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = as_user(
            [*_WITH_US, programs / "postgres", "-D", data, "-p", str(port), *options],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: server.poll() is not None or is_listening(port), "PostgreSQL")
        assert server.poll() is None, log.read_text()
        until(lambda: _accepts(port), "PostgreSQL to accept connections")
        yield
    finally:
        server.send_signal(signal.SIGINT)  # ends sessions that are left, then itself
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _accepts(port: int) -> bool:
    try:
        psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True
