"""Unusable bodies are kept for people to look at, never until the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from app import quarantine, retention, upload
from app.db import Database
from app.models import QuarantinedBody
from app.record import Body
from app.reports import UnusableReport
from tests.stage import NOON, SENDER, new_database


def keep(database: Database, raw: bytes) -> None:
    quarantine.keep(database, Body(raw, ""), UnusableReport("No report."), SENDER, now=NOON)


def sizes(database: Database) -> list[int]:
    with database.reading() as rows:
        return list(rows.scalars(select(QuarantinedBody.size_bytes).order_by(QuarantinedBody.id)))


def test_of_very_many_bodies_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "QUARANTINE_BODIES", 5)
    database = new_database(tmp_path)
    for length in range(1, 12):
        keep(database, b"x" * length)
    assert sizes(database) == [7, 8, 9, 10, 11]
    database.dispose()


def test_together_they_take_no_more_than_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "QUARANTINE_BYTES", 10_000)
    monkeypatch.setattr(upload, "COMPRESSION", 0)
    database = new_database(tmp_path)
    for length in (4000, 3000, 2000, 3500, 50):
        keep(database, b"x" * length)
    assert sizes(database) == [3000, 2000, 3500, 50]
    keep(database, b"x" * 20_000)
    assert sizes(database) == [20_000], "the newest is kept whatever it takes"
    database.dispose()
