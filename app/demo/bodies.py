"""Report bodies as Duplicati writes them, for runs that never were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.demo.fleet import Client

CONTENT_TYPE = "application/json"
_QUOTA_BYTES = 4_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job and what it came to."""

    client: Client
    began_at: datetime
    ended_at: datetime
    outcome: str = "Success"
    next_at: datetime | None = None
    partial: bool = False
    interrupted: bool = False
    dry_run: bool = False
    exception: str | None = None
    lines: tuple[str, ...] = ()
    examined_bytes: int = 0
    added_bytes: int = 0
    modified_bytes: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    versions: int = 1
    files: int = 0
    changed_files: int = 0
    arrives_after: timedelta = field(default=timedelta(seconds=3))

    @property
    def arrives_at(self) -> datetime:
        return self.ended_at + self.arrives_after


def body_of(run: Run) -> bytes:
    """The JSON report of the run, as its version of Duplicati sends it."""
    return json.dumps(
        {
            "Data": _data(run),
            "Extra": _extra(run),
            "LogLines": [_line(run, each) for each in run.lines],
            "Exception": run.exception,
        },
        separators=(",", ":"),
    ).encode()


def _data(run: Run) -> dict[str, object]:
    statistics = _statistics(run)
    failed = run.outcome == "Fatal"
    test = None if failed or run.interrupted else _test(run, statistics)
    return {
        "DeletedFiles": run.changed_files // 9,
        "DeletedFolders": run.changed_files // 200,
        "ModifiedFiles": run.changed_files // 3,
        "ExaminedFiles": run.files,
        "OpenedFiles": run.changed_files,
        "AddedFiles": run.changed_files - run.changed_files // 3,
        "SizeOfModifiedFiles": run.modified_bytes,
        "SizeOfAddedFiles": run.added_bytes,
        "SizeOfExaminedFiles": run.examined_bytes,
        "SizeOfOpenedFiles": run.added_bytes + run.modified_bytes,
        "NotProcessedFiles": 0,
        "AddedFolders": run.changed_files // 40,
        "TooLargeFiles": 0,
        "FilesWithError": sum("PathProcessingFailed" in each for each in run.lines),
        "ModifiedFolders": 0,
        "ModifiedSymlinks": 0,
        "AddedSymlinks": 0,
        "DeletedSymlinks": 0,
        "PartialBackup": run.partial,
        "Dryrun": run.dry_run,
        "MainOperation": "Backup",
        "CompactResults": None,
        "VacuumResults": None,
        "DeleteResults": None,
        "RepairResults": None,
        "TestResults": test,
        "ParsedResult": run.outcome,
        "Interrupted": run.interrupted,
        **_result(run),
        "BackendStatistics": statistics,
    }


def _result(run: Run) -> dict[str, object]:
    return {
        "Version": run.client.machine.version,
        "EndTime": _time(run.ended_at),
        "BeginTime": _time(run.began_at),
        "Duration": _span(run.ended_at - run.began_at),
        "MessagesActualLength": 12 + run.changed_files // 50,
        "WarningsActualLength": sum("[Warning" in each for each in run.lines),
        "ErrorsActualLength": sum("[Error" in each for each in run.lines),
    }


def _statistics(run: Run) -> dict[str, object]:
    volumes = run.stored_bytes // 52_428_800 * 2 + run.versions
    uploads = run.uploaded_bytes // 52_428_800 * 2 + 3
    return {
        "RemoteCalls": uploads + 5,
        "BytesUploaded": run.uploaded_bytes,
        "BytesDownloaded": 0 if run.outcome == "Fatal" else 52_480_000,
        "FilesUploaded": uploads,
        "FilesDownloaded": 3,
        "FilesDeleted": 0,
        "FoldersCreated": 0,
        "RetryAttempts": 5 if run.outcome == "Fatal" else 0,
        "UnknownFileSize": 0,
        "UnknownFileCount": 0,
        "KnownFileCount": volumes,
        "KnownFileSize": run.stored_bytes,
        "KnownFilesets": run.versions,
        "LastBackupDate": _time(run.began_at),
        "BackupListCount": run.versions,
        "TotalQuotaSpace": _QUOTA_BYTES,
        "FreeQuotaSpace": max(0, _QUOTA_BYTES - 2 * run.stored_bytes),
        "AssignedQuotaSpace": -1,
        "ReportedQuotaError": False,
        "ReportedQuotaWarning": False,
        "MainOperation": "Backup",
        "ParsedResult": "Success",
        "Interrupted": False,
        "Version": run.client.machine.version,
        "EndTime": "0001-01-01T00:00:00",
        "BeginTime": _time(run.began_at),
        "Duration": "00:00:00",
        "MessagesActualLength": 0,
        "WarningsActualLength": 0,
        "ErrorsActualLength": 0,
    }


def _test(run: Run, statistics: dict[str, object]) -> dict[str, object]:
    names = [f"duplicati-{run.began_at:%Y%m%dT%H%M%SZ}.dlist.zip.aes"]
    names += [f"duplicati-{part[0]}{_hex(run, part)}.d{part}.zip.aes" for part in ("index", "block")]
    return {
        "MainOperation": "Test",
        "VerificationsActualLength": len(names),
        "Verifications": [{"Key": each, "Value": []} for each in names],
        "ParsedResult": "Success",
        "Interrupted": False,
        **_result(run),
        "BackendStatistics": statistics,
    }


def _hex(run: Run, part: str) -> str:
    number = hash((run.client.number, run.began_at.timestamp(), len(part)))
    return UUID(int=number % 2**128).hex


def _extra(run: Run) -> dict[str, str | None]:
    """Up to 2.0.7 the name of the backup is all it tells of itself."""
    machine = run.client.machine
    told: dict[str, str | None] = {"OperationName": "Backup", "backup-name": run.client.name}
    if not machine.is_named:
        return told
    told |= {
        "machine-id": machine_id(machine.name),
        "machine-name": machine.name,
        "backup-id": f"DB-{run.client.number + 1}",
    }
    if machine.declares:
        next_at = run.next_at
        told |= {
            "operating-system": machine.system,
            "installation-type": "win-x64-gui.msi" if machine.system == "Windows" else "linux-x64-cli.zip",
            "destination-type": ("ssh", "s3", "file", "b2")[run.client.number % 4],
            "next-scheduled-run": f"{next_at:%Y%m%dT%H%M%SZ}" if next_at else None,
            "update-channel": "stable",
        }
    return told


def machine_id(name: str) -> str:
    return UUID(bytes=name.encode().ljust(16, b"-")[:16]).hex


def _line(run: Run, text: str) -> str:
    return f"{run.ended_at:%Y-%m-%d %H:%M:%S} +00 - {text}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}1Z"


def _span(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{length.microseconds:06}0"
