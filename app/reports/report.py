"""The shape of a report, whatever format and version of Duplicati it came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

BACKUP = "Backup"


class UnusableReport(ValueError):
    """A body that can't be taken as a report; `reason` is a sentence that the user can act on."""

    def __init__(self, reason: str, missing_fields: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missing_fields = list(missing_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run. A field is None when the report does not tell; times are UTC, sizes are bytes."""

    operation: str
    outcome: str

    machine_id: str | None
    machine_name: str | None
    backup_id: str | None
    backup_name: str | None

    partial: bool
    interrupted: bool
    dry_run: bool

    began_at: datetime | None
    ended_at: datetime | None
    # Negative when the client's clock was set back during the run.
    duration_seconds: float | None
    next_scheduled_at: datetime | None

    duplicati_version: str | None
    operating_system: str | None
    destination_type: str | None

    examined_files: int | None
    opened_files: int | None
    added_files: int | None
    modified_files: int | None
    deleted_files: int | None
    files_with_error: int | None
    examined_bytes: int | None
    opened_bytes: int | None
    added_bytes: int | None
    modified_bytes: int | None

    uploaded_bytes: int | None
    downloaded_bytes: int | None
    stored_bytes: int | None
    stored_files: int | None
    versions: int | None
    free_quota_bytes: int | None
    total_quota_bytes: int | None
    assigned_quota_bytes: int | None

    warnings_count: int | None
    errors_count: int | None
    messages_count: int | None

    error: str | None
    log_lines: tuple[str, ...]
    salvaged: bool

    @property
    def is_backup(self) -> bool:
        return self.operation == BACKUP

    @property
    def good(self) -> bool:
        """Whether this run leaves a whole new backup behind; only such a run counts as fresh."""
        whole = not (self.partial or self.interrupted or self.dry_run)
        return self.is_backup and whole and self.outcome in ("Success", "Warning")

    @property
    def identity_from_name(self) -> bool:
        """Whether the job is known by its name alone, as clients up to 2.0.7 send it."""
        return not (self.machine_id and self.backup_id)

    @property
    def has_own_time(self) -> bool:
        """Whether the report says when the run ended; if not, the arrival stands in."""
        return self.ended_at is not None

    @property
    def fingerprint(self) -> str:
        """SHA-256 that is the same for the JSON and the text form of one run.

        Only what both forms carry goes in: seconds (the text has no fractions), no backend statistics.
        A failed run of old clients has no times: its error and log lines tell it from the next failure.
        """
        parts: list[object] = [
            [self.backup_name] if self.identity_from_name else [self.machine_id, self.backup_id],
            [self.operation, self.outcome, self.partial, self.interrupted, self.dry_run],
            [_seconds(self.began_at), _seconds(self.ended_at)],
            [self.examined_files, self.opened_files, self.added_files, self.modified_files],
            [self.deleted_files, self.files_with_error],
            [self.examined_bytes, self.opened_bytes, self.added_bytes, self.modified_bytes],
        ]
        if self.began_at is None and self.ended_at is None:
            parts.append([self.error, self.log_lines])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _seconds(moment: datetime | None) -> int | None:
    # Cut, not rounded, as Duplicati does for the number in brackets.
    return None if moment is None else int(moment.timestamp())
