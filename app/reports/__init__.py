"""Reads what Duplicati sends: `parse` makes a Report of a request's body, or says why it can't."""

from app.reports.duplicati_json import read_json
from app.reports.duplicati_text import is_report, read_text
from app.reports.envelope import Envelope, opened
from app.reports.report import Report, UnusableReport
from app.reports.sections import report_from

__all__ = ["EMPTY", "UNSTRUCTURED", "Envelope", "Report", "UnusableReport", "opened", "parse", "read"]

EMPTY = "The request has no body. Check the Duplicati option that sends the report."
UNSTRUCTURED = (
    "The message is not Duplicati's standard report. Leave --send-http-message at its default, "
    "or send JSON with --send-http-json-urls."
)


def parse(body: bytes, content_type: str | None) -> Report:
    """The report in a request's body; the content type is only a hint.

    Raises UnusableReport, and nothing else, for whatever can't be taken as a report. A run of another
    operation than a backup is a Report as well: look at `is_backup`.
    """
    return read(opened(body, content_type))


def read(envelope: Envelope) -> Report:
    """As `parse`, for whoever lets go of the body first: a large one is held once then."""
    if envelope.is_empty:
        raise UnusableReport(EMPTY, ["Data"])
    if envelope.is_json:
        return report_from(read_json(envelope.text, envelope.fields))
    if not is_report(envelope.text):
        raise UnusableReport(UNSTRUCTURED, ["backup-name", "ParsedResult"])
    return report_from(read_text(envelope.text, envelope.fields))
