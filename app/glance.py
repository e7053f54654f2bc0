"""What the first page says at a glance: the line on top, its sign, and what to do about a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flask_babel import gettext as _
from flask_babel import ngettext

from app import checks, formats
from app.maintenance import Window
from app.models import Job
from app.presentation import ago, moment
from app.sentences import when
from app.watch import State, Watch

UNKNOWN = "warning"


def headline(counts: Mapping[str, int], watch: Watch) -> str:
    """The truth in one line. Nobody is called good for certain while no checks are made."""
    total = sum(counts.values())
    if not total:
        return str(_("No backup has reported yet"))
    if counts["ok"] < total:
        return ", ".join(filter(None, _told(counts)))
    if watch.state == State.OK:
        return str(ngettext("Your backup is good", "All %(num)s backups are good", total))
    return str(
        ngettext(
            "Your backup was good by its last report",
            "All %(num)s backups were good by their last reports",
            total,
        )
    )


def _told(counts: Mapping[str, int]) -> list[str]:
    return [
        ngettext("%(num)s overdue", "%(num)s overdue", counts["overdue"]) if counts["overdue"] else "",
        ngettext("%(num)s failing", "%(num)s failing", counts["failed"]) if counts["failed"] else "",
        ngettext("%(num)s late", "%(num)s late", counts["late"]) if counts["late"] else "",
        ngettext("%(num)s new", "%(num)s new", counts["new"]) if counts["new"] else "",
        ngettext("%(num)s paused", "%(num)s paused", counts["paused"]) if counts["paused"] else "",
        ngettext("%(num)s good", "%(num)s good", counts["ok"]) if counts["ok"] else _("none good"),
    ]


def sign(counts: Mapping[str, int], watch: Watch) -> str:
    """The state that the big sign shows: the worst there is, or that nobody knows."""
    for each in ("overdue", "failed"):
        if counts[each]:
            return each
    if watch.state != State.OK and any(counts.values()):
        return UNKNOWN
    return next((each for each in counts if counts[each]), "new")


def freshness(watch: Watch) -> str:
    """How old the answer is, and when the next one comes."""
    if watch.completed_at is None:
        return ""
    if watch.state != State.OK or watch.next_at is None:
        return str(_("Last check %(ago)s.", ago=ago(watch.completed_at)))
    next_at = formats.time_of_day(watch.next_at)
    return str(_("Last check %(ago)s, next at %(time)s.", ago=ago(watch.completed_at), time=next_at))


def lasts(job: Job, now: datetime) -> str:
    """For how long the job has been as it is, in the states in which that matters."""
    long = formats.lasting(now - job.state_since_at)
    if job.state == "overdue":
        return str(_("Overdue for %(duration)s.", duration=long))
    if job.state == "failed":
        return str(_("Failing for %(duration)s.", duration=long))
    return str(_("Late for %(duration)s.", duration=long)) if job.state == "late" else ""


def advice(job: Job) -> str:
    """What to do about it; empty where nothing is to be done."""
    if job.state == "overdue":
        return str(_("Check that the machine is on and that Duplicati runs there, then start the backup."))
    if job.state == "failed":
        return str(_("Read what the last run reported, mend it, then run the backup again."))
    overdue_at = when(job.why.get("overdueAt")) if isinstance(job.why, dict) else None
    if job.state == "late" and overdue_at:
        return str(_("Nothing to do yet: it counts as overdue from %(time)s.", time=moment(overdue_at)))
    return ""


def acknowledgement(job: Job, now: datetime) -> str:
    """Who knows about it already, and until when nobody is reminded."""
    if not checks.is_quiet(job, now):
        return ""
    name = job.acknowledged_by or _("somebody")
    if job.acknowledged_until_at is None:
        return str(_("Acknowledged by %(name)s", name=name))
    until_at = moment(job.acknowledged_until_at)
    return str(_("Acknowledged by %(name)s until %(time)s", name=name, time=until_at))


def maintenance_of(job: Job, windows: Sequence[tuple[Window, datetime]]) -> str:
    """That maintenance of this job or its server is under way; the one that ends last."""
    for window, ends_at in windows:
        if not _concerns_all(window) and window.concerns(job.server_id, job.id):
            return str(_("Maintenance until %(time)s", time=moment(ends_at)))
    return ""


def maintenance_of_all(windows: Sequence[tuple[Window, datetime]]) -> str:
    """That maintenance of everything is under way, which is said once and not with every job."""
    ends_at = next((each for window, each in windows if _concerns_all(window)), None)
    if ends_at is None:
        return ""
    return str(_("Maintenance of everything until %(time)s: backups may be late.", time=moment(ends_at)))


def _concerns_all(window: Window) -> bool:
    return window.server_id is None and window.job_id is None
