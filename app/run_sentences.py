"""The runs of tasks in the viewer's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from app import lease, task_runs
from app.models import TaskRun
from app.presentation import size
from app.task_runs import PastRun

TASKS = {
    "overdue-backup-check": _l("Check for overdue backups"),
    "retention-cleanup": _l("Clean-up of old reports"),
    "audit-log-cleanup": _l("Clean-up of the audit log"),
    "installation-backup": _l("Backup of Veilleur itself"),
}
_CAUSES = {
    "schedule": _l("on schedule"),
    "manual": _l("started by hand"),
    "catch-up": _l("made up for one that was missed"),
}
OUTCOMES = {
    task_runs.DONE: _l("done"),
    task_runs.FAILED: _l("failed"),
    task_runs.RUNNING: _l("under way"),
    task_runs.CUT_OFF: _l("cut off"),
}


def task_name(task: str) -> str:
    """Of a task, or of the lease of one."""
    return str(TASKS.get(lease.work_of(task), task))


def cause_name(cause: str) -> str:
    return str(_CAUSES.get(cause, cause))


def run_outcome(outcome: str) -> str:
    return str(OUTCOMES.get(outcome, outcome))


def result(run: TaskRun) -> str:
    """What a run came to; for one that failed, why."""
    told = run.statistics if isinstance(run.statistics, dict) else {}
    if not run.succeeded or not told:
        return run.message
    if "checkedBackups" in told:
        return _check_result(told)
    if "archiveBytes" in told:
        return str(_("An archive of %(size)s was written.", size=size(told["archiveBytes"])))
    return deleted(told)


def _check_result(told: Mapping[str, Any]) -> str:
    checked, overdue = told.get("checkedBackups", 0), told.get("overdueBackupsFound", 0)
    sent = told.get("notificationsSent", 0)
    parts = [
        ngettext("%(num)s job checked", "%(num)s jobs checked", checked),
        ngettext("%(num)s overdue", "%(num)s overdue", overdue),
        ngettext("%(num)s message sent", "%(num)s messages sent", sent),
    ]
    return ", ".join(parts)


def deleted(told: Mapping[str, Any]) -> str:
    """What a clean-up deleted, from its statistics."""
    kinds: dict[str, Callable[[int], str]] = {
        "reports": lambda n: ngettext("%(num)s report", "%(num)s reports", n),
        "quarantined_bodies": lambda n: ngettext("%(num)s unreadable body", "%(num)s unreadable bodies", n),
        "alerts": lambda n: ngettext("%(num)s alert", "%(num)s alerts", n),
        "task_runs": lambda n: ngettext("%(num)s run of a task", "%(num)s runs of tasks", n),
        "downtimes": lambda n: ngettext("%(num)s downtime", "%(num)s downtimes", n),
        "sessions": lambda n: ngettext("%(num)s expired login", "%(num)s expired logins", n),
        "login_failures": lambda n: ngettext("%(num)s failed login", "%(num)s failed logins", n),
        "auditEntries": lambda n: ngettext(
            "%(num)s entry of the audit log", "%(num)s entries of the audit log", n
        ),
    }
    parts = [words(told[name]) for name, words in kinds.items() if told.get(name)]
    if not parts:
        return str(_("Nothing was old enough to be deleted."))
    return str(_("Deleted: %(what)s.", what=", ".join(parts)))


def strip_words(runs: Sequence[PastRun]) -> str:
    """The strip of the last checks for those who can't see it."""
    counts = {name: sum(run.outcome == name for run in runs) for name in OUTCOMES}
    parts = [
        ngettext("%(num)s done", "%(num)s done", counts[task_runs.DONE]) if counts[task_runs.DONE] else "",
        ngettext("%(num)s failed", "%(num)s failed", counts[task_runs.FAILED])
        if counts[task_runs.FAILED]
        else "",
        ngettext("%(num)s cut off", "%(num)s cut off", counts[task_runs.CUT_OFF])
        if counts[task_runs.CUT_OFF]
        else "",
        ngettext("%(num)s under way", "%(num)s under way", counts[task_runs.RUNNING])
        if counts[task_runs.RUNNING]
        else "",
    ]
    told = ", ".join(filter(None, parts))
    return str(
        ngettext("The last check: %(told)s.", "The last %(num)s checks: %(told)s.", len(runs), told=told)
    )
