"""The sentences of a message, in the reader's language and time zone, without markup."""

from __future__ import annotations

from datetime import datetime

from flask_babel import force_locale, gettext, ngettext

from app.notify import group_texts, templates
from app.notify.channel import shortened
from app.notify.cleaning import one_line
from app.notify.message import Message
from app.notify.reader import (
    LONGEST_NAME,
    Facts,
    Reader,
    duration,
    error_of,
    locale_of,
    moment_of,
    name,
    number,
    plain_spaces,
    zone_of,
)


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


def compose(
    kind: str,
    facts: Facts,
    *,
    message_id: str,
    occurred_at: datetime,
    url: str | None,
    zone: str,
    language: str = "en",
    fallback_for: str | None = None,
    wording: templates.Wording | None = None,
) -> Message:
    """One message about a job or about several, its times in `facts` as ISO in UTC.

    `fallback_for` names the channel that failed when this one stands in for it. A `wording` that can't be
    used is as if there were none; a message about several keeps our own text.
    An unknown zone counts as UTC, an unknown language as English.
    """
    locale = locale_of(language)
    reader = Reader(locale, *zone_of(zone))
    with force_locale(str(locale)):
        if group_texts.is_group(facts):
            title = group_texts.title(kind, facts)
            paragraphs = group_texts.paragraphs(kind, facts, reader)
        else:
            title = _title(kind, facts)
            paragraphs = _paragraphs(kind, facts, reader, occurred_at)
        if url:
            paragraphs.append(_("Details: %(url)s", url=url))
        if wording and not group_texts.is_group(facts):
            own = templates.Wording(title, _joined(paragraphs))
            title, body = templates.written(wording, own, facts, reader, url)
            paragraphs = [body]
        if fallback_for:
            paragraphs.insert(1, _stand_in(fallback_for))
    return Message(
        message_id=message_id,
        kind=kind,
        title=plain_spaces(title),
        body=plain_spaces(_joined(paragraphs) + "\n"),
        severity=_severity(kind, facts),
        url=url,
        occurred_at=occurred_at,
        facts=dict(facts),
    )


def _joined(paragraphs: list[str]) -> str:
    return "\n\n".join(filter(None, paragraphs))


def _is_failing(facts: Facts) -> bool:
    return facts.get("state") == "failed"


def _title(kind: str, facts: Facts) -> str:
    if kind == "test":
        return _("Test message from Veilleur")
    names = {"job": name(facts, "job"), "server": name(facts, "server")}
    if kind == "recovered":
        return _("Recovered: %(job)s on %(server)s", **names)
    if kind == "failed":
        return _("Failed: %(job)s on %(server)s", **names)
    if kind == "reminder" and _is_failing(facts):
        return _("Still failing: %(job)s on %(server)s", **names)
    if kind == "reminder":
        return _("Still overdue: %(job)s on %(server)s", **names)
    return _("Overdue: %(job)s on %(server)s", **names)


def _severity(kind: str, facts: Facts) -> str:
    if kind in ("recovered", "test"):
        return "info"
    stopped = kind == "failed" and (facts.get("partial") or facts.get("interrupted"))
    return "warning" if kind in ("reminder", "unverified") or stopped else "critical"


def _paragraphs(kind: str, facts: Facts, reader: Reader, occurred_at: datetime) -> list[str]:
    if kind == "test":
        return [_("This channel works: messages about backups arrive here.")]
    times = _("All times are in the zone %(zone)s.", zone=reader.zone_name)
    if kind == "recovered":
        return [_recovery(facts), _known(facts, reader), times]
    if kind == "failed" or _is_failing(facts):
        return [_failure(facts), _failure_detail(facts), _known(facts, reader), _after_failure(), times]
    return [_silence(kind, facts, occurred_at), _expectation(facts, reader), _after_silence(), times]


def _stand_in(channel: str) -> str:
    told = shortened(one_line(channel), LONGEST_NAME)
    return _("This message came this way because the channel %(channel)s failed.", channel=told)


def _silence(kind: str, facts: Facts, occurred_at: datetime) -> str:
    names = {"job": name(facts, "job"), "server": name(facts, "server")}
    overdue_at = moment_of(facts.get("overdueAt"))
    if kind == "reminder" and overdue_at:
        seconds = int((occurred_at - overdue_at).total_seconds())
        return _(
            "No good backup %(job)s on %(server)s has come: it has been overdue for %(duration)s.",
            **names,
            duration=duration(seconds),
        )
    return _("No good backup %(job)s on %(server)s has come in time.", **names)


def _expectation(facts: Facts, reader: Reader) -> str:
    expected, until = reader.time(facts.get("expectedAt")), reader.time(facts.get("untilAt"))
    overdue = reader.time(facts.get("overdueAt"))
    told = []
    if expected and until and until != expected:
        told.append(_("Expected: between %(start)s and %(end)s", start=expected, end=until))
    elif expected:
        told.append(_("Expected: %(time)s", time=expected))
    if expected and (source := _source(facts)):
        told.append(source)
    if overdue:
        tolerance = duration(number(facts, "toleranceSeconds"))
        told.append(_("Overdue since: %(time)s (tolerance: %(duration)s)", time=overdue, duration=tolerance))
    return "\n".join([*told, _known(facts, reader, since=False)])


def _source(facts: Facts) -> str | None:
    match facts.get("source"):
        case "declared":
            return _("This time was announced by Duplicati itself in its last report.")
        case "collected":
            return _("This time follows the schedule read from the Duplicati server.")
        case "typed":
            return _("This time follows the schedule entered in Veilleur.")
        case "default":
            return _("This time is assumed from the first report: nobody has given a schedule yet.")
    return None


def _known(facts: Facts, reader: Reader, *, since: bool = True) -> str:
    good, report = reader.time(facts.get("lastGoodAt")), reader.time(facts.get("lastReportAt"))
    told = [_("Last good backup: %(time)s", time=good) if good else _("Last good backup: none so far")]
    if report and report != good:
        told.append(_("Last report of any kind: %(time)s", time=report))
    if since and (begun := reader.time(facts.get("sinceAt"))):
        told.append(_("In this state since: %(time)s", time=begun))
    return "\n".join(told)


def _recovery(facts: Facts) -> str:
    names = {"job": name(facts, "job"), "server": name(facts, "server")}
    if facts.get("previousState") == "failed":
        return _("A good backup %(job)s on %(server)s has come after a failed one.", **names)
    return _("A good backup %(job)s on %(server)s has come; it is no longer overdue.", **names)


def _failure(facts: Facts) -> str:
    names = {"job": name(facts, "job"), "server": name(facts, "server")}
    if facts.get("interrupted"):
        return _("The backup %(job)s on %(server)s was interrupted. It does not count as good.", **names)
    if facts.get("partial"):
        return _(
            "The backup %(job)s on %(server)s was stopped before it was complete. It does not count as good.",
            **names,
        )
    return _("The backup %(job)s on %(server)s has failed.", **names)


def _failure_detail(facts: Facts) -> str:
    told = []
    if outcome := facts.get("outcome"):
        told.append(_("Outcome: %(outcome)s", outcome=one_line(str(outcome))))
    if errors := number(facts, "errorsCount"):
        told.append(ngettext("%(num)d error", "%(num)d errors", errors))
    if warnings := number(facts, "warningsCount"):
        told.append(ngettext("%(num)d warning", "%(num)d warnings", warnings))
    if words := error_of(facts):
        told.append(_("Duplicati says:"))
        told += [f"    {line}" for line in words.split("\n")]
    return "\n".join(told)


def _after_silence() -> str:
    return "\n".join(
        [
            _("What to look at first:"),
            "- " + _("Was the computer off or asleep at that time?"),
            "- " + _("Is a disk full, at the source or at the destination?"),
            "- "
            + _("Does a script run before the backup? One that ends the run early sends no report at all."),
            "- " + _("Was the schedule changed in Duplicati, or the job removed?"),
        ]
    )


def _after_failure() -> str:
    return "\n".join(
        [
            _("What to look at first:"),
            "- " + _("Is the destination reachable, and is its password still right?"),
            "- " + _("Is a disk full, at the source or at the destination?"),
            "- " + _("What does the log of this run say in Duplicati?"),
        ]
    )
