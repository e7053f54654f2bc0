"""Messages in the words of whoever runs Veilleur: known placeholders are filled in, nothing else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from app.notify.channel import shortened
from app.notify.cleaning import lines, mask, one_line
from app.notify.reader import Facts, Reader, duration, error_of, name, number

KINDS = ("overdue", "reminder", "failed", "recovered")
LANGUAGES = ("en", "fr", "de", "es")
LONGEST_TITLE = 200
LONGEST_BODY = 5000
# Each value is bounded, but a text may use one as often as it likes.
_LONGEST_WRITTEN_TITLE = 300
_LONGEST_WRITTEN_BODY = 12_000
_NOTHING = "–"

PLACEHOLDERS = {
    "job": _l("Name of the backup job"),
    "server": _l("Name of the server it runs on"),
    "state": _l("“overdue”, “failed” or “ok”"),
    "expected": _l("When the backup was expected"),
    "overdue_since": _l("Since when it has been overdue"),
    "tolerance": _l("How late it may be before anybody is told"),
    "last_good": _l("When the last good backup ended"),
    "last_report": _l("When the last report of any kind came"),
    "outcome": _l("How the last run ended, in Duplicati's word"),
    "error": _l("The first lines of what Duplicati says went wrong"),
    "errors": _l("How many errors the run had"),
    "warnings": _l("How many warnings the run had"),
    "zone": _l("Time zone of all these times"),
    "link": _l("Address of the page of this job"),
    "title": _l("Our own title for this message"),
    "text": _l("Our own text for this message, with its link"),
}

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TemplateError(ValueError):
    """A text can't be used; the sentence says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Wording:
    title: str
    body: str


# By kind of message and language.
Wordings = Mapping[tuple[str, str], Wording]


def check(text: str) -> None:
    """TemplateError names the first placeholder that nobody knows, or the brace that stands alone."""
    for found in _TOKEN.finditer(text):
        if found[1] is not None and found[1] not in PLACEHOLDERS:
            given = shortened(one_line(found[1]), 60)
            raise TemplateError(
                _("There is no placeholder {%(name)s}; the list says which there are.", name=given)
            )
        if found[0] in ("{", "}"):
            raise TemplateError(
                _("A %(brace)s stands alone: write it twice for the character itself.", brace=found[0])
            )


def render(text: str, values: Mapping[str, str]) -> str:
    """Fill in once: what comes from a value is never looked at again. TemplateError as from `check`."""
    check(text)

    def filled(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else values[found[1]]

    return _TOKEN.sub(filled, text)


def written(wording: Wording, own: Wording, facts: Facts, reader: Reader, url: str | None) -> tuple[str, str]:
    """Title and body in these words; ours where they can't be used or leave nothing to say."""
    values = values_of(own, facts, reader, url)
    try:
        title = shortened(one_line(render(wording.title, values)), _LONGEST_WRITTEN_TITLE)
        body = shortened(lines(render(wording.body, values)).strip(), _LONGEST_WRITTEN_BODY)
    except TemplateError:
        # Stored by an older or newer version: better told in our words than not told.
        return own.title, own.body
    return title or own.title, body or own.body


def values_of(own: Wording, facts: Facts, reader: Reader, url: str | None) -> dict[str, str]:
    """A value for every placeholder, as clean as in our own texts; what is not known is a dash."""
    seconds = facts.get("toleranceSeconds")
    values = {
        "job": name(facts, "job"),
        "server": name(facts, "server"),
        "state": _state(facts),
        "expected": reader.time(facts.get("expectedAt")),
        "overdue_since": reader.time(facts.get("overdueAt")),
        "tolerance": duration(seconds) if isinstance(seconds, int) else None,
        "last_good": reader.time(facts.get("lastGoodAt")),
        "last_report": reader.time(facts.get("lastReportAt")),
        "outcome": mask(one_line(shortened(str(facts.get("outcome") or ""), 100))),
        "error": error_of(facts),
        "errors": str(number(facts, "errorsCount")),
        "warnings": str(number(facts, "warningsCount")),
        "zone": reader.zone_name,
        "link": url,
        "title": own.title,
        "text": own.body,
    }
    return {each: value or _NOTHING for each, value in values.items()}


def _state(facts: Facts) -> str:
    names = {"overdue": _("overdue"), "failed": _("failed"), "ok": _("ok")}
    return str(names.get(str(facts.get("state")), ""))


def wording_for(wordings: Wordings, kind: str, language: str) -> Wording | None:
    """That of the language, else that of the language without its country."""
    found = wordings.get((kind, language))
    return found or wordings.get((kind, language.replace("-", "_").partition("_")[0]))
