"""The tasks of the cron service: what each does and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy.orm import Session

from app import checks, retention, stored_settings
from app.archive import keeping, making
from app.archive.problems import ArchiveBusy
from app.checks import Policy
from app.db import Database
from app.delivery import Courier
from app.settings import Settings
from app.spool import Spool
from app.version import VERSION

CHECK = checks.TASK
SENT = "notificationsSent"
DAILY = "0 2 * * *"
AFTER_CLEANUP = "0 3 * * *"


log = logging.getLogger(__name__)


class SpoolNotEmpty(Exception):
    """There was no time to take in all reports that wait; without them a check could be wrong."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a task may use. A long one asks between its steps, and ends early when told no: `may_go_on`, or
    `is_ours` when it has to come to its end even though the service is to stop.
    """

    settings: Settings
    database: Database
    courier: Courier
    now: datetime
    may_go_on: Callable[[], bool]
    is_ours: Callable[[], bool] = lambda: True
    joins: bool = False  # another service is at it as well


@dataclass(frozen=True, slots=True)
class TaskResult:
    message: str
    statistics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """`cron` is an expression in UTC, or None for the configured interval.

    One that runs `beside` the loop holds up no other, and is told to end early only by a stop. `has_room`
    tells whether there is work for one more service while another one is at it; else that one waits.
    """

    run: Callable[[TaskContext], TaskResult]
    cron: str | None
    beside: bool = False
    has_room: Callable[[Session, datetime], bool] = lambda _session, _now: False


def check_overdue_backups(context: TaskContext) -> TaskResult:
    """Record what has become overdue and wake the courier; sending goes on beside the loop."""
    sent_before = context.courier.sent_count
    policy = stored_settings.policy(context.database, context.settings)
    stored_settings.settle(context.database, context.now)
    _take_in_spooled(context, policy)
    found = checks.run(
        context.database,
        policy,
        context.now,
        context.is_ours,
        joins=context.joins,
        has_recorded=context.courier.wake,
    )
    context.courier.wake()
    message = (
        f"Checked {found.checked_jobs} of {found.total_jobs} backup jobs: "
        f"{found.overdue_jobs} overdue, {found.alerts} new alerts"
    )
    return TaskResult(
        message,
        {
            "totalBackupConfigs": found.total_jobs,
            "checkedBackups": found.checked_jobs,
            "overdueBackupsFound": found.overdue_jobs,
            SENT: context.courier.sent_count - sent_before,
        },
    )


def _take_in_spooled(context: TaskContext, policy: Policy) -> None:
    """Nobody is called overdue whose report waits in the spool."""
    spool = Spool(context.settings.instance_path, context.settings.spool_max_bytes)
    try:
        left = spool.take_in(context.database, policy, context.may_go_on)
    except OSError as problem:
        # A folder that can't be read must not silence every alert.
        log.error("the spool can't be read: %s", problem)
        return
    if left:
        raise SpoolNotEmpty(f"{left} reports still wait in the spool; the next check goes on with them")


def clean_audit_log(context: TaskContext) -> TaskResult:
    days = stored_settings.in_force(context.database, context.settings).audit_retention_days
    removed = retention.remove_audit_entries(context.database, days, context.now, context.may_go_on)
    return TaskResult(
        f"Deleted {removed} entries of the audit log older than {days} days", {"auditEntries": removed}
    )


def clean_stored_data(context: TaskContext) -> TaskResult:
    days = stored_settings.in_force(context.database, context.settings).report_retention_days
    removed = retention.remove_stored_data(context.database, days, context.now, context.may_go_on)
    told = ", ".join(f"{count} {name}" for name, count in removed.items() if count)
    return TaskResult(
        f"Deleted {told}" if told else "Nothing was old enough to be deleted",
        {name.replace(" ", "_"): count for name, count in removed.items()},
    )


def archive_installation(context: TaskContext) -> TaskResult:
    settings = context.settings
    if settings.backup_keep == 0:
        return TaskResult("Switched off: VEILLEUR_BACKUP_KEEP is 0")
    folder, passphrase = keeping.folder_of(settings), settings.backup_passphrase or None
    try:
        made = making.create(
            settings,
            folder / keeping.name_for(context.now, encrypted=bool(passphrase)),
            passphrase=passphrase,
            version=VERSION,
            now=context.now,
            may_go_on=context.may_go_on,
        )
    except ArchiveBusy as problem:
        return TaskResult(f"Nothing made: {problem}")
    removed = keeping.remove_old(folder, settings.backup_keep)
    return TaskResult(
        f"Made {made.path.name} with {made.content.jobs} jobs and {made.content.reports} reports, "
        f"deleted {removed} older ones",
        {"archiveBytes": made.size_bytes, "deletedArchives": removed},
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        CHECK: Task(check_overdue_backups, None, has_room=checks.has_room),
        "audit-log-cleanup": Task(clean_audit_log, DAILY, beside=True),
        "retention-cleanup": Task(clean_stored_data, DAILY, beside=True),
        "installation-backup": Task(archive_installation, AFTER_CLEANUP, beside=True),
    }
)
