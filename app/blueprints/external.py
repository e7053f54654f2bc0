"""Reads for dashboards elsewhere, such as Homepage, in the shapes they know from duplistatus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app import access, clock, summary
from app.db import database
from app.models import Job, Report, Server

bp = Blueprint("external", __name__, url_prefix="/api")

BACKUPS_LIMIT = 200
_NAMESAKES_SHOWN = 10

Found = Sequence[Row[Job, Report]]


@bp.get("/summary")
@access.read_key
def overall() -> ResponseReturnValue:
    with database().reading() as rows:
        found = summary.read(rows)
    ended_at = found.last_ended_at
    seconds = None if ended_at is None else max(0, int((clock.utcnow() - ended_at).total_seconds()))
    return jsonify(
        totalServers=found.servers_count,
        totalBackupsRuns=found.runs_count,
        totalBackups=found.jobs_count,
        totalUploadedSize=found.uploaded_bytes,
        totalStorageUsed=found.stored_bytes,
        totalBackupSize=found.examined_bytes,
        overdueBackupsCount=found.overdue_count,
        secondsSinceLastBackup=seconds,
    )


@bp.get("/lastbackup/<path:server>")
@access.read_key
def last_backup(server: str) -> ResponseReturnValue:
    def told(found: Server, rows: Session) -> dict[str, Any]:
        backups = summary.last_backups(rows, found, 1)
        return {"latest_backup": _backup(found, *backups[0]) if backups else None, **_server(found, backups)}

    return _of_server(server, told)


@bp.get("/lastbackups/<path:server>")
@access.read_key
def last_backups(server: str) -> ResponseReturnValue:
    def told(found: Server, rows: Session) -> dict[str, Any]:
        backups = summary.last_backups(rows, found, BACKUPS_LIMIT)
        return {
            "latest_backups": [_backup(found, job, report) for job, report in backups],
            "backup_jobs_count": len(backups),
            "backup_names": list(dict.fromkeys(job.name for job, _report in backups)),
            **_server(found, backups),
        }

    return _of_server(server, told)


def _of_server(name: str, told: Callable[[Server, Session], dict[str, Any]]) -> ResponseReturnValue:
    """What is told of the one server of this machine-id or name; else why there is not one."""
    with database().reading() as rows:
        servers = summary.find_servers(rows, name, _NAMESAKES_SHOWN)
        if len(servers) == 1:
            return jsonify(status=200, **told(servers[0], rows))
    if not servers:
        message = "No server has this machine-id or name."
        return jsonify(error="Server not found", message=message, status=404), 404
    return jsonify(
        error="Several servers have this name",
        message="Ask with the machine-id of one of them instead; the newest stands first.",
        servers=[{"id": each.machine_id, "name": each.name} for each in servers],
        status=409,
    ), 409


def _server(server: Server, backups: Found) -> dict[str, Any]:
    newest = backups[0][0] if backups else None
    return {
        "server": {
            "id": server.machine_id,
            "name": server.name,
            "backup_name": newest.name if newest else None,
            "backup_id": newest.backup_id if newest else None,
            "created_at": clock.iso(server.created_at),
        }
    }


def _backup(server: Server, job: Job, report: Report) -> dict[str, Any]:
    """Numbers the report does not tell are 0, since widgets calculate with them."""
    seconds = max(0.0, report.duration_seconds or 0.0)
    return {
        "id": str(report.id),
        "server_id": server.machine_id,
        "name": job.name,
        "date": clock.iso(report.began_at),
        "status": job.last_outcome,
        "warnings": report.warnings_count or 0,
        "errors": report.errors_count or 0,
        "messages": report.messages_count or 0,
        "fileCount": report.examined_files or 0,
        "fileSize": report.examined_bytes or 0,
        "uploadedSize": report.uploaded_bytes or 0,
        "duration": _duration(int(seconds)),
        "duration_seconds": seconds,
        "durationInMinutes": seconds / 60,
        "knownFileSize": report.stored_bytes or 0,
        "backup_list_count": report.versions,
        "messages_array": None,
        "warnings_array": None,
        "errors_array": None,
        "available_backups": [],
    }


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"
