"""States, outcomes and the reasons behind them, in the viewer's words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import reduce

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app import clock
from app.formats import count as count
from app.formats import duration, moment
from app.formats import zoned as zoned
from app.models import Job
from app.refusal import Refusal

STATES = {
    "overdue": _l("Overdue"),
    "failed": _l("Failed"),
    "late": _l("Late"),
    "new": _l("New"),
    "paused": _l("Paused"),
    "ok": _l("Good"),
}
_ORIGINS = {
    "declared": _l("from Duplicati's own schedule"),
    "collected": _l("from the schedule read from the Duplicati server"),
    "typed": _l("from the schedule entered here"),
    "default": _l("once a day, assumed from its reports: nobody has given a schedule yet"),
}
_REMINDERS = {
    "onetime": _l("Once, never again"),
    "every_day": _l("Every day"),
    "every_week": _l("Every week"),
    "every_month": _l("Every month"),
}
_KINDS = {
    "overdue": _l("Overdue"),
    "failed": _l("Failed"),
    "reminder": _l("Reminder"),
    "recovered": _l("Recovered"),
    "unverified": _l("Unverified"),
    "test": _l("Test"),
}
_DELIVERIES = {
    "pending": _l("waiting to be sent"),
    "sent": _l("sent"),
    "given_up": _l("given up"),
}
_OUTCOMES = {
    "Success": _l("Success"),
    "Warning": _l("Warning"),
    "Error": _l("Error"),
    "Fatal": _l("Fatal error"),
    "Unknown": _l("Unknown"),
    "Interrupted": _l("Interrupted"),
    "Partial": _l("Stopped early"),
}
_EXPECTING = ("ok", "on_time", "waiting", "new", "late", "overdue")
_SILENT = ("late", "overdue")
_LONGEST_ERROR = 160


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


def translated(problem: Refusal) -> str:
    """Why something was refused, without the field it is about, in the viewer's language."""
    return _(problem.sentence, **problem.values)


def state_name(state: str) -> str:
    return str(STATES.get(state, state))


def outcome_name(outcome: str) -> str:
    return str(_OUTCOMES.get(outcome, outcome))


def alert_name(kind: str) -> str:
    return str(_KINDS.get(kind, kind))


def delivery_name(status: str) -> str:
    return str(_DELIVERIES.get(status, status))


def reminder_name(reminder: str) -> str:
    return str(_REMINDERS.get(reminder, reminder))


def origin(source: str | None) -> str:
    """On whose word the next run is expected; empty when nobody has said anything."""
    return str(_ORIGINS.get(source or "", ""))


def when(value: object) -> datetime | None:
    """A stored time such as `2026-11-23T07:00:00Z`; None for anything that can't be read."""
    try:
        return clock.from_iso(value) if isinstance(value, str) else None
    except ValueError:
        return None


def reason(job: Job) -> str:
    """Why a job is in its state, in one sentence of parts; every fact of `why` may be missing."""
    facts = job.why if isinstance(job.why, dict) else {}
    why = facts.get("reason")
    told = [_lead(str(why or ""), facts)]
    if why in _EXPECTING and told[0]:
        told.append(_tolerance(facts))
        told += _excuses(facts)
    if why != "new":
        told.append(_last_good(facts))
    if why == "failed":
        told.append(_next_run(facts))
    if why in _SILENT:
        told.append(_last_report(facts))
    sentence = joined(told).rstrip(".")
    return f"{sentence}." if facts and sentence else ""


def joined(parts: Iterable[str]) -> str:
    """Parts of one sentence, set apart as the language does it; empty ones are left out."""
    first, *rest = [*filter(None, parts), ""]
    return reduce(lambda told, more: _("%(told)s; %(more)s", told=told, more=more), filter(None, rest), first)


def _lead(why: str, facts: dict[str, object]) -> str:
    if why == "paused":
        until_at = when(facts.get("pausedUntilAt"))
        if until_at:
            return _("Paused until %(time)s: nobody is told anything until then", time=moment(until_at))
        return _("Paused until somebody resumes it: nobody is told anything meanwhile")
    if why == "failed":
        return _failure(facts)
    expected = _expected(facts)
    if why == "new" and expected:
        return _("No good backup has come yet. %(expected)s", expected=expected)
    if why == "new":
        return _("No good backup has come yet, and no schedule is known")
    return expected


def _expected(facts: dict[str, object]) -> str:
    expected_at, until_at = when(facts.get("expectedAt")), when(facts.get("untilAt"))
    if expected_at is None:
        return ""
    words = origin(str(facts.get("source") or ""))
    if until_at and until_at != expected_at:
        span = {"start": zoned(expected_at), "end": zoned(until_at), "origin": words}
        return _("Expected between %(start)s and %(end)s, %(origin)s", **span).strip(", ")
    return _("Expected %(time)s, %(origin)s", time=zoned(expected_at), origin=words).strip(", ")


def _tolerance(facts: dict[str, object]) -> str:
    seconds = facts.get("toleranceSeconds")
    if not isinstance(seconds, int):
        return ""
    overdue_at = when(facts.get("overdueAt"))
    if facts.get("reason") == "overdue" and overdue_at:
        late = {"tolerance": duration(seconds), "time": moment(overdue_at)}
        return _("tolerance %(tolerance)s, so overdue since %(time)s", **late)
    return _("tolerance %(tolerance)s", tolerance=duration(seconds))


def _excuses(facts: dict[str, object]) -> list[str]:
    """Why the deadline is later than the tolerance says."""
    told = []
    overdue_at = when(facts.get("overdueAt"))
    maintenance_at = when(facts.get("maintenanceUntilAt"))
    if maintenance_at:
        told.append(_("maintenance until %(time)s", time=moment(maintenance_at)))
    unverified = facts.get("unverified")
    if isinstance(unverified, dict):
        began_at, ended_at = when(unverified.get("beganAt")), when(unverified.get("endedAt"))
        if ended_at:
            span = {"start": moment(began_at), "end": moment(ended_at)}
            told.append(_("unverified: Veilleur could not take reports from %(start)s to %(end)s", **span))
        else:
            told.append(_("unverified: Veilleur can't take reports since %(start)s", start=moment(began_at)))
    if told and overdue_at and facts.get("reason") == "late":
        told.append(_("overdue from %(time)s", time=moment(overdue_at)))
    return told


def _last_good(facts: dict[str, object]) -> str:
    good_at = when(facts.get("lastGoodAt"))
    return _("last good backup %(time)s", time=moment(good_at)) if good_at else _("no good backup so far")


def _last_report(facts: dict[str, object]) -> str:
    good_at, report_at = when(facts.get("lastGoodAt")), when(facts.get("lastReportAt"))
    if report_at is None or report_at == good_at:
        return _("no report since")
    outcome = facts.get("outcome")
    if not outcome:
        return _("last report %(time)s", time=moment(report_at))
    return _("last report %(time)s: %(outcome)s", time=moment(report_at), outcome=outcome_name(str(outcome)))


def _next_run(facts: dict[str, object]) -> str:
    expected_at = when(facts.get("expectedAt"))
    return _("next run expected %(time)s", time=zoned(expected_at)) if expected_at else ""


def _failure(facts: dict[str, object]) -> str:
    report_at = when(facts.get("lastReportAt"))
    named = {"outcome": outcome_name(str(facts.get("outcome") or "Unknown")), "time": moment(report_at)}
    error = " ".join(str(facts.get("error") or "").split())
    if len(error) > _LONGEST_ERROR:
        error = error[: _LONGEST_ERROR - 1] + "…"
    if error:
        return _(
            "The last run was not a good backup (%(outcome)s, %(time)s): %(error)s", error=error, **named
        )
    return _("The last run was not a good backup (%(outcome)s, %(time)s)", **named)
