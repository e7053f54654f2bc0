"""What this installation is made of and how it fares, for administrators."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template

from app import access, clock, diagnosis, holdings, service_health, task_runs, watch
from app.db import database
from app.spool import Spool

ARCHIVE_TASK = "installation-backup"

bp = Blueprint("about", __name__, url_prefix="/settings/about")


@bp.get("")
@access.administrator
def index() -> str:
    now, settings, stored = clock.utcnow(), access.settings(), database()
    spool: Spool = current_app.extensions["spool"]
    with stored.reading() as rows:
        found = {
            "database_version": diagnosis.database_version(rows, stored),
            "schema_revision": diagnosis.schema_revision(rows),
            "queue": diagnosis.queue(rows),
            "heartbeats": diagnosis.heartbeats(rows),
            "leases": diagnosis.leases(rows, now),
            "watch": watch.look(rows, now),
            "archive_run": task_runs.last(rows, ARCHIVE_TASK),
        }
    return render_template(
        "about/index.html",
        **found,
        versions=diagnosis.versions(),
        most_counted=diagnosis.MOST_COUNTED,
        database_bytes=holdings.database_bytes(stored),
        database_url=diagnosis.masked_url(stored.engine.url),
        spooled=spool.count(),
        spooled_bytes=spool.size_bytes(),
        disk=diagnosis.disk(settings.instance_path),
        archive=diagnosis.newest_archive(settings),
        health=service_health.ask(),
        assets=diagnosis.vendored_assets(),
    )
