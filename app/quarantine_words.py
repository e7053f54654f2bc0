"""Why a body could not be read, in the reader's language; what reads reports says it in English."""

from __future__ import annotations

from flask_babel import lazy_gettext as _l

from app.reports import EMPTY, UNSTRUCTURED
from app.reports.duplicati_json import NOT_A_REPORT, TOO_MANY_PARTS
from app.reports.sections import DAMAGED, NO_IDENTITY, NO_RESULT, NO_TIME

REASONS = {
    EMPTY: _l("The request has no body. Check the Duplicati option that sends the report."),
    UNSTRUCTURED: _l(
        "The message is not Duplicati's standard report. "
        "Leave --send-http-message at its default, or send JSON with --send-http-json-urls."
    ),
    NOT_A_REPORT: _l("The JSON is not a Duplicati report: it has neither Data nor a result."),
    TOO_MANY_PARTS: _l("The JSON consists of more than two million parts, as no report of Duplicati does."),
    DAMAGED: _l(
        "The report is damaged JSON and too little of it can be read. "
        "Set --allow-paths-in-log-messages=true in Duplicati, so that it does not break its own reports."
    ),
    NO_IDENTITY: _l(
        "The report does not say which backup it is about. "
        "Update Duplicati, or give the backup a name with --backup-name."
    ),
    NO_RESULT: _l("The report does not say how the backup ended: ParsedResult is missing."),
    NO_TIME: _l("The report's end time can't be read. Send the report as JSON with --send-http-json-urls."),
}


def reason_words(reason: str) -> str:
    """The reason as it was kept, each sentence that is known in the language of the page."""
    for known, words in REASONS.items():
        reason = reason.replace(known, str(words))
    return reason
