"""PostgreSQL that locks, refuses or forgets its clients: reports are kept and taken in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from tests.faults import Running, running
from tests.postgres import Postgres
from tests.processes import until


def stored(url: str) -> list[str]:
    """Without the number that `Running` puts before each name."""
    with closing(psycopg.connect(url.replace("+psycopg", ""))) as connection:
        rows = connection.execute("SELECT job.name FROM report JOIN job ON job.id = report.job_id")
        return sorted(name.partition(":")[2] for (name,) in rows)


def recovers(here: Running, url: str, expected: list[str]) -> None:
    until(lambda: not here.spooled(), "the spool to be empty")
    assert stored(url) == sorted(expected)
    until(lambda: here.check().status_code == 200, "a check that succeeds")
    assert here.log_in().status_code == 200
    here.assert_discreet_logs()


def test_a_server_that_refuses_or_locks_loses_no_report(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.url()
    name = url.rpartition("/")[2]
    with running(tmp_path, VEILLEUR_DATABASE_URL=url, VEILLEUR_WATCHDOG_SECONDS="20") as here:
        assert here.upload("before").json() == {"success": True}
        with closing(psycopg.connect(postgres.address("postgres"), autocommit=True)) as master:
            master.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            master.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            assert here.upload("refused").json() == {"success": True}
            assert here.upload("foreign", key="vk_wrong").json() == {"success": True}
            assert here.get("/").status_code == 503
            assert here.health()["spooledReports"] == 2
            assert here.check().status_code == 500
            master.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        recovers(here, url, ["before", "refused"])
        with closing(psycopg.connect(url.replace("+psycopg", ""))) as blocker:
            blocker.execute("LOCK TABLE report IN EXCLUSIVE MODE")
            assert here.upload("locked").json() == {"success": True}
            assert here.get("/").status_code == 200
            assert here.health()["spooledReports"] == 1
        recovers(here, url, ["before", "refused", "locked"])
