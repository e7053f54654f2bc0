"""The sentences of a message about several backups at once."""

from __future__ import annotations

from collections.abc import Mapping

from flask_babel import gettext, ngettext

from app.notify.channel import shortened
from app.notify.cleaning import one_line
from app.notify.reader import Reader, name, number

Facts = Mapping[str, object]
LISTED = 50


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


def is_group(facts: Facts) -> bool:
    """Whether a message lists its members instead of speaking of one job."""
    return isinstance(facts.get("members"), list)


def title(kind: str, facts: Facts) -> str:
    """How many of what, and where."""
    count = number(facts, "count")
    if kind == "unverified":
        return str(
            ngettext(
                "Veilleur was away: %(num)d backup is unverified",
                "Veilleur was away: %(num)d backups are unverified",
                count,
            )
        )
    where = _where(facts)
    if kind == "recovered":
        return _("Recovered: %(num)d backups %(where)s", num=count, where=where)
    if kind == "failed":
        return _("Failed: %(num)d backups %(where)s", num=count, where=where)
    if kind == "reminder":
        return _("Still overdue: %(num)d backups %(where)s", num=count, where=where)
    return _("Overdue: %(num)d backups %(where)s", num=count, where=where)


def _where(facts: Facts) -> str:
    if facts.get("server"):
        return _("on %(server)s", server=name(facts, "server"))
    return _("on %(num)d servers", num=number(facts, "servers"))


def paragraphs(kind: str, facts: Facts, reader: Reader) -> list[str]:
    """What has happened, the list of those concerned, and what to look at first."""
    told = [_lead(kind, facts, reader), _list(kind, facts, reader), _advice(kind, facts)]
    return [*filter(None, told), _("All times are in the zone %(zone)s.", zone=reader.zone_name)]


def _lead(kind: str, facts: Facts, reader: Reader) -> str:
    if kind == "unverified":
        return _absence(facts, reader)
    if kind == "recovered":
        return _("Good backups have come again. This message stands for all of these:")
    if kind == "failed":
        return _("Several backups have failed at about the same time:")
    if kind == "reminder":
        return _("No good backup has come of these:")
    return _("Several backups have become overdue at the same time, which often has one cause:")


def _absence(facts: Facts, reader: Reader) -> str:
    began, ended = reader.time(facts.get("beganAt")), reader.time(facts.get("endedAt"))
    if ended:
        lost = _("Veilleur could not take reports in from %(start)s to %(end)s.", start=began, end=ended)
    else:
        lost = _("Veilleur has not been able to take reports in since %(start)s.", start=began)
    rest = _(
        "These backups may have run and reported meanwhile: a report that nobody takes is not sent again. "
        "They get some more time, and are reported as overdue if nothing comes in it."
    )
    return f"{lost} {rest}"


def _list(kind: str, facts: Facts, reader: Reader) -> str:
    members = facts.get("members")
    known = [each for each in members if isinstance(each, dict)] if isinstance(members, list) else []
    shown = [_line(kind, each, facts, reader) for each in known[:LISTED]]
    more = number(facts, "count") - len(shown)
    if more > 0:
        shown.append(str(ngettext("… and %(num)d more", "… and %(num)d more", more)))
    return "\n".join(shown)


def _line(kind: str, member: Facts, facts: Facts, reader: Reader) -> str:
    who = name(member, "job")
    if not facts.get("server"):
        who = _("%(job)s on %(server)s", job=who, server=name(member, "server"))
    told = "- " + who
    for more in _details(kind, member, reader):
        told = _("%(told)s; %(more)s", told=told, more=more)
    return told


def _details(kind: str, member: Facts, reader: Reader) -> list[str]:
    good, expected = reader.time(member.get("lastGoodAt")), reader.time(member.get("expectedAt"))
    told = []
    if kind == "failed" and member.get("outcome"):
        outcome = shortened(one_line(str(member["outcome"])), 40)
        told.append(_("outcome %(outcome)s", outcome=outcome))
    if kind in ("overdue", "reminder", "unverified") and expected:
        told.append(_("expected %(time)s", time=expected))
    if kind != "unverified":
        told.append(_("last good backup %(time)s", time=good) if good else _("no good backup so far"))
    return told


def _advice(kind: str, facts: Facts) -> str:
    if kind not in ("overdue", "reminder", "failed"):
        return ""
    if facts.get("server"):
        return _("What to look at first: is that computer on, is its network up, is a disk full?")
    return _("What to look at first: what do they have in common? A network, a destination, Veilleur itself?")
