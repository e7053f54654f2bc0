"""The states of backups in words for strangers, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from app import access, formats, publication
from app.sentences import count
from app.watch import State, Watch

STATES = {
    "ok": _l("good"),
    "late": _l("late"),
    "overdue": _l("overdue"),
    "failed": _l("failed"),
    "new": _l("none yet"),
    "paused": _l("paused"),
}
_COLOURS = {"ok": "ok", "late": "late", "overdue": "bad", "failed": "bad"}


def state_words(state: str) -> str:
    return str(STATES.get(state, state))


def day(value: datetime) -> str:
    return formats.day(value)


def badge_of(state: str, checks: Watch) -> tuple[str, str]:
    """Words and colour for one job. What nobody has checked for long is not called good."""
    if not checks.is_well:
        return str(_("unknown")), "calm"
    return state_words(state), _COLOURS.get(state, "calm")


def badge_of_all(counts: Mapping[str, int], checks: Watch) -> tuple[str, str]:
    if not checks.is_well or not sum(counts.values()):
        return str(_("unknown")), "calm"
    if counts["overdue"]:
        return str(ngettext("%(num)s overdue", "%(num)s overdue", counts["overdue"])), "bad"
    if counts["failed"]:
        return str(ngettext("%(num)s failed", "%(num)s failed", counts["failed"])), "bad"
    if counts["late"]:
        return str(ngettext("%(num)s late", "%(num)s late", counts["late"])), "late"
    return (str(_("all good")), "ok") if counts["ok"] else badge_of("new", checks)


def overall(counts: Mapping[str, int]) -> str:
    """The truth about all published backups in one sentence."""
    total, bad = sum(counts.values()), counts["overdue"] + counts["failed"]
    if not total:
        return str(_("No backup is shown here yet."))
    if bad:
        told = {"bad": count(bad), "total": count(total)}
        return str(
            ngettext(
                "%(bad)s of %(total)s backup needs attention.",
                "%(bad)s of %(total)s backups need attention.",
                bad,
                **told,
            )
        )
    if counts["late"]:
        return str(ngettext("%(num)s backup is late.", "%(num)s backups are late.", counts["late"]))
    if counts["ok"] == total:
        return str(ngettext("The backup is good.", "All %(num)s backups are good.", total))
    return str(_("No backup is late."))


def overall_state(counts: Mapping[str, int], checks: Watch) -> str:
    """The state whose picture stands for all of them."""
    if not checks.is_well:
        return "unknown"
    worst = next((state for state, number in counts.items() if number), "new")
    return worst if worst in _COLOURS else "ok" if counts["ok"] else "new"


def doubt(checks: Watch) -> str | None:
    """Why the states below may be wrong; None while they are checked."""
    if checks.state is State.DISABLED:
        return str(_("Checks are switched off at present: what is shown here may be out of date."))
    if checks.is_well:
        return None
    if checks.completed_at is None:
        return str(_("Veilleur itself has not made a check yet: what is shown here is not certain."))
    return str(
        _(
            "Veilleur itself has not checked since %(time)s: what is shown here may be out of date.",
            time=f"{formats.moment(checks.completed_at)} {access.timezone()}",
        )
    )


def days(strip: Sequence[str]) -> str:
    """The last days of a job for those who can't see the picture."""
    good, bad = strip.count(publication.GOOD), strip.count(publication.BAD)
    none = len(strip) - good - bad
    parts = [
        ngettext("%(num)s day with a good backup", "%(num)s days with a good backup", good),
        ngettext("%(num)s with a failed one only", "%(num)s with failed ones only", bad) if bad else "",
        ngettext("%(num)s without any", "%(num)s without any", none) if none else "",
    ]
    return str(_("Last 30 days: %(what)s.", what=", ".join(filter(None, parts))))
