"""The web application's sign of life, left by the real gunicorn."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from app.clock import utcnow
from app.db import Database
from app.models import Downtime, Heartbeat
from tests.processes import Veilleur, until


def _beat(database: Database) -> Heartbeat | None:
    with database.reading() as rows:
        return rows.scalars(select(Heartbeat)).one_or_none()


def test_gunicorn_leaves_signs_of_life_and_a_long_stop_is_a_downtime(tmp_path: Path) -> None:
    veilleur = Veilleur(tmp_path)
    with veilleur.web():
        database = veilleur.database()
        until(lambda: _beat(database) is not None, "the first sign of life")
    stopped = _beat(database)
    assert stopped is not None
    long_ago = utcnow().replace(year=2020)
    with database.writing() as rows:
        rows.merge(Heartbeat(name="web", beat_at=long_ago))
    with veilleur.web():
        until(lambda: _beat(database).beat_at > stopped.beat_at, "a sign of life after the stop")  # type: ignore[union-attr]
    with database.reading() as rows:
        found = rows.scalars(select(Downtime)).one()
    assert found.began_at == long_ago
    assert found.ended_at is not None
    assert found.ended_at > stopped.beat_at
    database.dispose()
