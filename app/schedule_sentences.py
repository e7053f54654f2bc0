"""Schedules, windows, clock changes and what a backtest found, in the viewer's words."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _l

from app import formats
from app.expectation import Source
from app.forecast import ClockChange, Window
from app.guess import Guess
from app.job_forms import DAYS
from app.presentation import duration
from app.recurrence import WEEKDAYS, Schedule

_IN_FORCE = {
    None: _l("No report has come yet and no schedule is known: nothing is expected."),
    Source.DECLARED: _l(
        "Duplicati announces its next run itself; what you enter here serves where it does not."
    ),
    Source.COLLECTED: _l(
        "The schedule was read from the Duplicati server; what you enter here serves where that is missing."
    ),
    Source.TYPED: _l("The schedule that was entered here is in force."),
    Source.DEFAULT: _l(
        "Nobody has given a schedule yet, so the rhythm is assumed from the reports; what you enter here "
        "replaces that."
    ),
}
_WITHOUT_EFFECT = {
    Source.DECLARED: _l(
        "Duplicati announces its own times, so this schedule changes nothing at present. It serves as soon "
        "as Duplicati stops announcing them."
    ),
    Source.COLLECTED: _l(
        "A schedule was read from the Duplicati server, so this one changes nothing at present."
    ),
}
_SUCCESSORS = {
    None: _l("Without it, nothing is expected of this backup until its next report."),
    Source.DECLARED: _l(
        "Duplicati announces its next run itself: that is in force already, and nothing changes for now."
    ),
    Source.COLLECTED: _l("The schedule that was read from the Duplicati server takes over."),
    Source.DEFAULT: _l("Then the rhythm is assumed from the reports: once a day, where they tell no other."),
}


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


def in_force(source: str | None) -> str:
    """Which source counts now, and what a typed schedule is good for beside it."""
    return str(_IN_FORCE[Source(source) if source else None])


def without_effect(source: Source | None) -> str:
    """Why a typed schedule would not be in force; empty where it would."""
    return str(_WITHOUT_EFFECT[source]) if source in _WITHOUT_EFFECT else ""


def successor(source: Source | None) -> str:
    """What counts once the typed schedule is gone."""
    return str(_SUCCESSORS.get(source, ""))


# Times in a zone of one's choice


def moment_in(value: datetime, zone: ZoneInfo) -> str:
    """`Tue 24 Nov 2026, 22:00` by the clock of a zone."""
    return formats.moment(value, zone)


def until_in(value: datetime, after: datetime, zone: ZoneInfo) -> str:
    """The end of a span: the time of day alone where the day is the one it began on."""
    same_day = value.astimezone(zone).date() == after.astimezone(zone).date()
    return clock_in(value, zone) if same_day else moment_in(value, zone)


def clock_in(value: datetime, zone: ZoneInfo) -> str:
    return formats.time_of_day(value, zone)


def day_in(value: datetime, zone: ZoneInfo) -> str:
    return formats.date(value, zone)


# Schedules


def describe(schedule: Schedule) -> str:
    """`Every day at 22:00`, with weekdays where some are left out."""
    every = _every(schedule)
    days = [str(DAYS[day]) for day in WEEKDAYS if day in schedule.days] if len(schedule.days) < 7 else []
    if days:
        every = _("%(every)s, on %(days)s", every=every, days=", ".join(days))
    at = clock_in(schedule.anchor_at, schedule.zone_info)
    if not schedule.rule.keeps_wall_clock:
        return _("%(every)s, counted from %(time)s", every=every, time=at)
    return _("%(every)s at %(time)s", every=every, time=at)


def _every(schedule: Schedule) -> str:
    if len(schedule.rule.parts) != 1:
        return _("Every %(repeat)s", repeat=schedule.repeat)
    count, unit = schedule.rule.parts[0]
    told = {
        "s": ngettext("Every second", "Every %(num)s seconds", count),
        "m": ngettext("Every minute", "Every %(num)s minutes", count),
        "h": ngettext("Every hour", "Every %(num)s hours", count),
        "D": ngettext("Every day", "Every %(num)s days", count),
        "W": ngettext("Every week", "Every %(num)s weeks", count),
        "M": ngettext("Every month", "Every %(num)s months", count),
        "Y": ngettext("Every year", "Every %(num)s years", count),
    }[unit]
    local = schedule.anchor_at.astimezone(schedule.zone_info)
    if unit == "W" and not schedule.days:
        return _("%(every)s, on %(days)s", every=told, days=DAYS[WEEKDAYS[local.weekday()]])
    if unit == "M":
        return _("%(every)s, on day %(day)s", every=told, day=local.day)
    return str(told)


def suggestion(found: Guess) -> str:
    """`Looks like every day about 22:00; 27 of 30 runs fit.`"""
    every = _every(found.schedule)
    days = [str(DAYS[day]) for day in WEEKDAYS if day in found.schedule.days]
    if days:
        every = _("%(every)s, on %(days)s", every=every, days=", ".join(days))
    values = {
        "every": every[:1].lower() + every[1:],
        "time": clock_in(found.schedule.anchor_at, found.schedule.zone_info),
        "fits": found.fits,
        "runs": found.runs,
    }
    if found.schedule.rule.keeps_wall_clock:
        return _("Looks like %(every)s about %(time)s; %(fits)s of %(runs)s runs fit.", **values)
    return _("Looks like %(every)s, counted from about %(time)s; %(fits)s of %(runs)s runs fit.", **values)


# Changes of the clocks


def change_words(change: ClockChange, zone: ZoneInfo) -> str:
    """`The clocks in Europe/Paris go back by 1 h on Sun 25 Oct 2026.`"""
    values = {
        "zone": zone.key,
        "duration": duration(abs(change.by).total_seconds()),
        "day": day_in(change.at - timedelta(seconds=1), zone),
    }
    if change.by > timedelta():
        return _("The clocks in %(zone)s go forward by %(duration)s on %(day)s.", **values)
    return _("The clocks in %(zone)s go back by %(duration)s on %(day)s.", **values)


def notes(window: Window, schedule: Schedule, viewer: ZoneInfo, viewers: ClockChange | None) -> list[str]:
    """What is special about a window: nothing for nearly all."""
    zone, told = schedule.zone_info, []
    if window.twice_at:
        told.append(_twice(window, zone, window.twice_at))
    if window.change:
        told.append(change_words(window.change, zone))
        told += _new_time_of_day(window, zone)
        if window.earliest_at < window.until_at:
            span = {"start": clock_in(window.earliest_at, zone), "end": clock_in(window.until_at, zone)}
            told.append(_("For this run, a begin at %(start)s counts as well as one at %(end)s.", **span))
    elif viewers and viewer != zone:
        told.append(change_words(viewers, viewer))
        told.append(_("From here on the same run comes at another time by your clock."))
    if window.is_moved:
        told.append(_("Maintenance or a downtime moves its deadline."))
    return told


def _twice(window: Window, zone: ZoneInfo, other_at: datetime) -> str:
    values = {"time": clock_in(window.expected_at, zone), "day": day_in(window.expected_at, zone)}
    if other_at < window.expected_at:
        return _("%(time)s happens twice on %(day)s; the second one is meant.", **values)
    if other_at <= window.overdue_at:
        return _(
            "%(time)s happens twice on %(day)s; the first one is meant, and a report by the second still "
            "comes before the backup is overdue.",
            **values,
        )
    return _(
        "%(time)s happens twice on %(day)s; the first one is meant, and by the second the backup is overdue.",
        **values,
    )


def _new_time_of_day(window: Window, zone: ZoneInfo) -> list[str]:
    if window.previous_at is None:
        return []
    before, after = clock_in(window.previous_at, zone), clock_in(window.expected_at, zone)
    gap = window.expected_at - window.previous_at
    whole_days = abs(gap - timedelta(days=round(gap / timedelta(days=1)))) <= timedelta(hours=2)
    if before == after or not whole_days or gap < timedelta(hours=12):
        return []
    return [
        _(
            "As Duplicati counts, the run moves from %(before)s to %(after)s and stays there.",
            before=before,
            after=after,
        )
    ]


# The backtest


def alerts_words(count: int, days: int) -> str:
    """How many alerts there would have been."""
    period = ngettext("in the last day", "in the last %(num)s days", days)
    if not count:
        return _(
            "With this setting you would have had no alert about a missing backup %(period)s.", period=period
        )
    return str(
        ngettext(
            "With this setting you would have had one alert about a missing backup %(period)s.",
            "With this setting you would have had %(num)s alerts about a missing backup %(period)s.",
            count,
            period=period,
        )
    )


def comparison_words(now: int, then: int) -> str:
    if now == then:
        return _("That is as many as with the setting in force now.")
    return _("Setting in force now: %(now)s; with this one: %(then)s.", now=now, then=then)


def failures_words(count: int) -> str:
    """Failed runs are told in any case."""
    if not count:
        return ""
    return str(
        ngettext(
            "Besides, one run was no good backup; that is told at once, whatever the schedule.",
            "Besides, %(num)s runs were no good backups; each is told at once, whatever the schedule.",
            count,
        )
    )


def reach_words(typed: int, runs: int) -> str:
    """After how many of the past runs the typed schedule would have counted; empty where after all."""
    if not runs or typed == runs:
        return ""
    if not typed:
        return _(
            "After each of these runs a more trusted source told the next one, so the schedule made no "
            "difference; the tolerance did."
        )
    return _(
        "It would have counted after %(typed)s of %(runs)s runs; after the others a more trusted source told "
        "the next one.",
        typed=typed,
        runs=runs,
    )


def strip_words(runs: int, failures: int, silences: int, seconds: float) -> str:
    """The picture of the past in a sentence."""
    told = [ngettext("%(num)s run", "%(num)s runs", runs)]
    if failures:
        told.append(ngettext("one of them no good backup", "%(num)s of them no good backups", failures))
    if silences:
        told.append(ngettext("overdue once", "overdue %(num)s times", silences))
        told.append(_("for %(duration)s in all", duration=duration(seconds)))
    else:
        told.append(_("never overdue"))
    return ", ".join(str(each) for each in told)
