"""The page about the installation: what it is made of, how it fares, and nothing that is secret."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app import diagnosis, lease
from app.clock import utcnow
from app.diagnosis import Disk
from app.models import Heartbeat
from app.version import VERSION
from tests import databases, factories
from tests.web import LoggedIn, Site, site

PAGE = "/settings/about"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("about")) as made:
        yield made


@pytest.fixture(scope="module")
def admin(here: Site) -> LoggedIn:
    return here.administrator()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_it_names_versions_database_and_licences(admin: LoggedIn) -> None:
    page = text_of(admin.get(PAGE).text)
    assert f"Veilleur {VERSION}" in page
    for pattern in (
        r"Python 3\.\d+\.\d+",
        r"Flask \d",
        r"SQLAlchemy 2\.",
        r"Kind PostgreSQL 1\d" if databases.RUN.postgres else r"Kind SQLite 3\.",
        r"Schema 000\d",
        r"Size \d",
        r"uplot 1\.\d+\.\d+ MIT",
    ):
        assert re.search(pattern, page), pattern


def test_nothing_secret_is_on_it(here: Site, admin: LoggedIn) -> None:
    page = admin.get(PAGE).text
    for secret in (here.settings.secret_key, here.settings.cron_token, here.upload_key):
        assert secret
        assert secret not in page
    assert here.viewer().get(PAGE).status_code == 403


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://v:hunter2@db/v?password=hunter2", "postgresql+psycopg://v:***@db/v"),
        ("sqlite:////var/lib/v/veilleur.db", "sqlite:////var/lib/v/veilleur.db"),
    ],
)
def test_the_address_of_the_database_does_not_open_it(url: str, shown: str) -> None:
    assert diagnosis.masked_url(make_url(url)) == shown


def test_it_tells_who_is_alive_and_who_works(here: Site, admin: LoggedIn) -> None:
    page = text_of(admin.get(PAGE).text)
    assert "Web application no sign of life so far" in page
    assert "Cron service not running" in page
    assert "nobody: all tasks are at rest" in page
    with here.database.writing() as rows:
        rows.add(Heartbeat(name="web", beat_at=utcnow() - timedelta(seconds=20)))
        assert lease.acquire(rows, "overdue-backup-check", "nas:1:aa", utcnow())
        lease.join(rows, "overdue-backup-check", "pi:2:bb", utcnow())
    page = text_of(admin.get(PAGE).text)
    assert "Web application running" in page
    assert "Check for overdue backups: nas:1:aa Check for overdue backups: pi:2:bb" in page


def test_it_tells_what_waits(here: Site, admin: LoggedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with here.database.writing() as rows:
        job, channel = factories.add_job(rows, now=utcnow()), factories.add_channel(rows)
        for attempts in (0, 0, 3):
            alert = factories.add_alert(rows, job)
            waiting = {"attempts": attempts, "next_attempt_at": utcnow()}
            factories.add_delivery(rows, alert, channel, "pending", **waiting)
        assert diagnosis.queue(rows) == diagnosis.Queue(waiting=3, failing=1)
    assert "Messages to be delivered 3" in text_of(admin.get(PAGE).text)
    monkeypatch.setattr(diagnosis, "MOST_COUNTED", 2)
    assert "Messages to be delivered 2 or more" in text_of(admin.get(PAGE).text)


@pytest.mark.parametrize(
    ("free", "total", "is_low"),
    [
        (50_000_000_000, 100_000_000_000, False),
        (9_000_000_000, 100_000_000_000, True),
        (400_000_000, 1_000_000_000, True),
        (600_000_000, 1_000_000_000, False),
    ],
)
def test_a_disk_that_is_nearly_full_is_said(
    admin: LoggedIn, monkeypatch: pytest.MonkeyPatch, free: int, total: int, is_low: bool
) -> None:
    assert Disk(free, total).is_low is is_low
    monkeypatch.setattr("app.diagnosis.shutil.disk_usage", lambda _folder: Usage(total, total - free, free))
    assert ("is nearly full" in admin.get(PAGE).text) is is_low


def test_the_last_backup_of_veilleur_is_named(here: Site, admin: LoggedIn) -> None:
    assert re.search(r"Last backup of Veilleur none so far", text_of(admin.get(PAGE).text))
    folder = here.settings.instance_path / "backups"
    folder.mkdir()
    for name in ("veilleur-20261101T030000Z.tar.gz", "veilleur-20261122T030000Z.tar.gz", "other.tar.gz"):
        (folder / name).write_bytes(b"x" * 1234)
    with here.database.writing() as rows:
        factories.add_check(rows, task="installation-backup", succeeded=False, message="no room")
    page = text_of(admin.get(PAGE).text)
    assert "veilleur-20261122T030000Z.tar.gz, 1.2 kB" in page
    assert "Last backup of Veilleur failed" in page


def test_every_vendored_file_has_its_licence_in_the_table() -> None:
    assert [(each.name, each.licence) for each in diagnosis.vendored_assets()] == [("uplot", "MIT")]
    vendored = Path(diagnosis.__file__).parent / "static" / "vendor"
    folders = {each.name for each in vendored.iterdir() if each.is_dir()}
    assert folders == {each.name for each in diagnosis.vendored_assets()}
