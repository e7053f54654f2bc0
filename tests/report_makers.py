"""Bodies of reports to try: one run as JSON, as text and as a form, each with changes."""

import json
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest

from app.reports import Report, UnusableReport, parse

ENDED = datetime(2026, 11, 23, 7, 10, 26, tzinfo=UTC)
DATA: dict[str, object] = {
    "MainOperation": "Backup",
    "ParsedResult": "Success",
    "BeginTime": "2026-11-23T07:10:25.25Z",
    "EndTime": "2026-11-23T07:10:26.75Z",
    "Duration": "00:00:01.5000000",
    "ExaminedFiles": 7,
    "SizeOfExaminedFiles": 422878,
    "PartialBackup": False,
    "Dryrun": False,
    "Interrupted": False,
}
EXTRA = {"OperationName": "Backup", "backup-name": "Docs", "backup-id": "DB-1", "machine-id": "m1"}
TEXT = """Duplicati Backup report for Docs (m1, DB-1, nas)

ExaminedFiles: 7
SizeOfExaminedFiles: 422878
PartialBackup: False
Dryrun: False
MainOperation: Backup
ParsedResult: Success
EndTime: 11/23/2026 07:10:26 (1795417826)
BeginTime: 11/23/2026 07:10:25 (1795417825)
Duration: 00:00:01.5000000
"""


def sent(
    extra: dict[str, object] | None = None, top: dict[str, object] | None = None, **data: object
) -> Report:
    """The run as JSON, with changes to `Extra`, to the outermost object and to `Data`."""
    document: dict[str, object] = {"Data": DATA | data, "Extra": EXTRA | (extra or {}), "LogLines": []}
    return parse(json.dumps(document | (top or {})).encode(), "application/json")


def text(body: str) -> Report:
    return parse(body.encode(), "text/plain")


def form(**fields: str) -> Report:
    return parse(urlencode(fields, quote_via=quote).encode(), "application/x-www-form-urlencoded")


def missing_in(body: bytes | str, content_type: str | None = None) -> list[str]:
    with pytest.raises(UnusableReport) as refused:
        parse(body.encode() if isinstance(body, str) else body, content_type)
    assert refused.value.reason == str(refused.value)
    return refused.value.missing_fields
