"""What a report says, part by part, before it is judged: both formats end here and become a Report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from app.reports import values
from app.reports.report import BACKUP, Report, UnusableReport

ERROR_LIMIT = 500
LOG_LINES_LIMIT = 200
LOG_LINE_LIMIT = 2000
_EXTRA_LIMIT = 1000
_OUTCOMES = {name.lower(): name for name in ("Success", "Warning", "Error", "Fatal", "Unknown")}
_FROM_RESULT = {
    "examined_files": "ExaminedFiles",
    "opened_files": "OpenedFiles",
    "added_files": "AddedFiles",
    "modified_files": "ModifiedFiles",
    "deleted_files": "DeletedFiles",
    "files_with_error": "FilesWithError",
    "examined_bytes": "SizeOfExaminedFiles",
    "opened_bytes": "SizeOfOpenedFiles",
    "added_bytes": "SizeOfAddedFiles",
    "modified_bytes": "SizeOfModifiedFiles",
    "warnings_count": "WarningsActualLength",
    "errors_count": "ErrorsActualLength",
    "messages_count": "MessagesActualLength",
}
_FROM_STATISTICS = {
    "uploaded_bytes": "BytesUploaded",
    "downloaded_bytes": "BytesDownloaded",
    "stored_bytes": "KnownFileSize",
    "stored_files": "KnownFileCount",
    "assigned_quota_bytes": "AssignedQuotaSpace",
}
_FAILURES = ("Error", "Fatal")
_GRAVE = ("[Error-", "[Warning-")

NO_IDENTITY = (
    "The report does not say which backup it is about. "
    "Update Duplicati, or give the backup a name with --backup-name."
)
NO_RESULT = "The report does not say how the backup ended: ParsedResult is missing."
NO_TIME = "The report's end time can't be read. Send the report as JSON with --send-http-json-urls."
DAMAGED = (
    "The report is damaged JSON and too little of it can be read. "
    "Set --allow-paths-in-log-messages=true in Duplicati, so that it does not break its own reports."
)


@dataclass(slots=True, kw_only=True)
class Sections:
    """The parts of one report. `extra` has its keys folded by `fold`."""

    result: Mapping[str, object]
    statistics: Mapping[str, object] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    failed: bool = False
    failure: str | None = None
    log_lines: Sequence[object] = ()
    salvaged: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """When the run was, as far as it can be read."""

    began_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    unreadable: bool


def fold(mapping: Mapping[str, object]) -> dict[str, object]:
    """The same values under keys that no longer tell `backup-name` from `BackupName`."""
    few = islice(mapping.items(), _EXTRA_LIMIT)
    return {key.replace("-", "").replace("_", "").lower(): value for key, value in few}


def report_from(sections: Sections) -> Report:
    """The report, or UnusableReport when a backup lacks what a watcher needs."""
    operation = _operation(sections)
    outcome = _outcome(sections)
    span = _span(sections.result)
    _demand_enough(sections, operation == BACKUP, outcome, span)
    return _report(sections, operation, outcome or "Unknown", span)


def _operation(sections: Sections) -> str:
    told = (sections.result.get("MainOperation"), sections.extra.get("operationname"))
    found = next((name for name in map(values.identifier, told) if name), BACKUP)
    return BACKUP if found.lower() == BACKUP.lower() else found


def _outcome(sections: Sections) -> str | None:
    written = values.identifier(sections.result.get("ParsedResult"))
    found = _OUTCOMES.get(written.lower(), "Unknown") if written else None
    return "Fatal" if sections.failed and found not in _FAILURES else found


def _demand_enough(sections: Sections, is_backup: bool, outcome: str | None, span: Span) -> None:
    if not (is_backup or sections.salvaged):
        return
    missing = _missing_identity(sections.extra)
    reasons = [NO_IDENTITY] if missing else []
    if is_backup and outcome is None:
        missing.append("ParsedResult")
        reasons.append(NO_RESULT)
    if is_backup and span.unreadable:
        missing.append("EndTime")
        reasons.append(NO_TIME)
    if missing:
        raise UnusableReport(DAMAGED if sections.salvaged else " ".join(reasons), missing)


def _missing_identity(extra: Mapping[str, object]) -> list[str]:
    ids = [
        name
        for name in ("machine-id", "backup-id")
        if not values.identifier(extra.get(name.replace("-", "")))
    ]
    return ["backup-name", *ids] if ids and not values.label(extra.get("backupname")) else []


def _span(result: Mapping[str, object]) -> Span:
    began_at, began_unreadable = _moment(result.get("BeginTime"))
    ended_at, ended_unreadable = _moment(result.get("EndTime"))
    seconds = values.duration(result.get("Duration"))
    # A run that never ended reports the duration 0: it means none, and so no end.
    if ended_at is None and began_at is not None:
        seconds = seconds or None
        if seconds is not None and seconds > 0:
            ended_at = began_at + timedelta(seconds=seconds)
    if seconds is None and began_at is not None and ended_at is not None:
        seconds = (ended_at - began_at).total_seconds()
    return Span(began_at, ended_at, seconds, ended_at is None and (began_unreadable or ended_unreadable))


def _moment(value: object) -> tuple[datetime | None, bool]:
    try:
        return values.moment(value), False
    except ValueError:
        return None, True


def _log_lines(lines: Sequence[object]) -> Iterable[str]:
    texts = [line for line in lines if isinstance(line, str)]
    if len(texts) > LOG_LINES_LIMIT:
        # The sort is stable: what went wrong is kept, then the beginning of the rest, each in its order.
        texts.sort(key=lambda line: not any(mark in line[:200] for mark in _GRAVE))
    return (values.plain(line, LOG_LINE_LIMIT) for line in texts[:LOG_LINES_LIMIT])


def _error(failure: str | None) -> str | None:
    first, *_ = (failure or "")[: 4 * ERROR_LIMIT].strip().splitlines() or [""]
    return values.plain(first.strip(), ERROR_LIMIT) or None


def _quota(statistics: Mapping[str, object]) -> tuple[int | None, int | None]:
    free, total = (values.count(statistics.get(key)) for key in ("FreeQuotaSpace", "TotalQuotaSpace"))
    # A destination that knows no quota is written as 0 of 0.
    return (None, None) if not free and not total else (free, total)


def _report(sections: Sections, operation: str, outcome: str, span: Span) -> Report:
    result, statistics, extra = sections.result, sections.statistics, sections.extra
    free_quota_bytes, total_quota_bytes = _quota(statistics)
    versions = values.count(statistics.get("KnownFilesets"))
    next_scheduled_at, _ = _moment(extra.get("nextscheduledrun"))
    counts: dict[str, Any] = {name: values.count(result.get(key)) for name, key in _FROM_RESULT.items()}
    counts |= {name: values.count(statistics.get(key)) for name, key in _FROM_STATISTICS.items()}
    return Report(
        operation=operation,
        outcome=outcome,
        machine_id=values.identifier(extra.get("machineid")),
        machine_name=values.identifier(extra.get("machinename")),
        backup_id=values.identifier(extra.get("backupid")),
        backup_name=values.label(extra.get("backupname")),
        partial=values.flag(result.get("PartialBackup")),
        interrupted=values.flag(result.get("Interrupted")),
        dry_run=values.flag(result.get("Dryrun")),
        began_at=span.began_at,
        ended_at=span.ended_at,
        duration_seconds=span.duration_seconds,
        next_scheduled_at=next_scheduled_at,
        duplicati_version=values.identifier(result.get("Version")),
        operating_system=values.identifier(extra.get("operatingsystem")),
        destination_type=values.identifier(extra.get("destinationtype")),
        versions=values.count(statistics.get("BackupListCount")) if versions is None else versions,
        free_quota_bytes=free_quota_bytes,
        total_quota_bytes=total_quota_bytes,
        error=_error(sections.failure),
        log_lines=tuple(_log_lines(sections.log_lines)),
        salvaged=sections.salvaged,
        **counts,
    )
