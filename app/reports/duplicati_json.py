"""The JSON report: {"Data", "Extra", "LogLines", "Exception"}, and the shapes that receivers made of it."""

import json
from collections.abc import Mapping
from itertools import islice

from app.reports import salvage, sections, values
from app.reports.duplicati_text import is_report, read_text
from app.reports.report import UnusableReport
from app.reports.sections import Sections

NOT_A_REPORT = "The JSON is not a Duplicati report: it has neither Data nor a result."
TOO_MANY_PARTS = "The JSON consists of more than two million parts, as no report of Duplicati does."
# Small parts take up to 26 times their length in memory; this bounds how many there can be.
_PARTS_LIMIT = 2_000_000
_RESULT_KEYS = ("ParsedResult", "MainOperation", "BeginTime", "EndTime")
_GOOD = ("success", "warning")


def read_json(text: str, fields: Mapping[str, object]) -> Sections:
    """The parts of a JSON report; `fields` are form fields beside it. Raises UnusableReport without any."""
    if sum(map(text.count, ",[{")) > _PARTS_LIMIT:
        raise UnusableReport(TOO_MANY_PARTS, ["Data"])
    try:
        # Not strict: a raw line break inside a string does no harm.
        document = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _read_damaged(text, fields)
    return _read_document(document, fields)


def _read_damaged(text: str, fields: Mapping[str, object]) -> Sections:
    document, data_is_whole = salvage.salvage(text)
    parts = _read_object(document, fields)
    parts.salvaged = True
    outcome = values.label(parts.result.get("ParsedResult"))
    # What was cut off may have said that the run was interrupted: only bad news can be believed.
    if not data_is_whole and outcome and outcome.lower() in _GOOD:
        parts.result = {key: value for key, value in parts.result.items() if key != "ParsedResult"}
    return parts


def _read_document(document: object, fields: Mapping[str, object]) -> Sections:
    if isinstance(document, str) and is_report(document):
        return read_text(document, fields)
    if not isinstance(document, dict):
        raise UnusableReport(NOT_A_REPORT, ["Data", "backup-name"])
    if not any(key in document for key in ("Data", "Main", "Exception", *_RESULT_KEYS)):
        texts = (value for value in islice(document.values(), 100) if isinstance(value, str))
        wrapped = next((text for text in texts if is_report(text)), None)
        if wrapped is not None:
            return read_text(wrapped, fields)
    return _read_object(document, fields)


def _read_object(document: Mapping[str, object], fields: Mapping[str, object]) -> Sections:
    data = _data(document)
    # The wrapper carries the result itself when there is no Data, as stored records and result files do.
    result = {**document, **data} if data is not document else document
    failed, failure = _failure(document, data)
    statistics = result.get("BackendStatistics")
    return Sections(
        result=result,
        statistics=statistics if isinstance(statistics, dict) else {},
        extra=_extra(document, fields),
        failed=failed,
        failure=failure,
        log_lines=_log_lines(result),
    )


def _data(document: Mapping[str, object]) -> Mapping[str, object]:
    data = document.get("Data") or document.get("Main")
    if isinstance(data, str):
        try:
            data = json.loads(data, strict=False)
        except (ValueError, RecursionError):
            data = None
    return data if isinstance(data, dict) else document


def _extra(document: Mapping[str, object], fields: Mapping[str, object]) -> dict[str, object]:
    extra = document.get("Extra")
    folded = sections.fold(extra) if isinstance(extra, dict) else {}
    told = {key: value for key, value in folded.items() if values.label(value)}
    if "Data" not in document and "Extra" not in document and "name" in document:
        told.setdefault("backupname", document["name"])
    return sections.fold(fields) | told


def _failure(document: Mapping[str, object], data: Mapping[str, object]) -> tuple[bool, str | None]:
    """Whether the run failed as a whole, and with which words.

    Up to 2.0.7.3 an exception stands in the place of the result, later beside it.
    """
    if exception := _exception(document.get("Exception")):
        return True, exception
    if "ClassName" in data and "ParsedResult" not in data:
        return True, _exception(data)
    nothing = document.get("Data", "") is None or document.get("Data") in ("None", "null")
    return nothing, None


def _exception(written: object) -> str | None:
    if isinstance(written, dict):
        words = (written.get("Message"), written.get("ClassName"))
        return next((word for word in words if isinstance(word, str) and word), "Unknown exception")
    return written if isinstance(written, str) and values.identifier(written) else None


def _log_lines(result: Mapping[str, object]) -> list[object]:
    lines = result.get("LogLines")
    if isinstance(lines, list) and lines:
        return lines
    # Result files and the log of the job keep their lines here instead.
    kept = (result.get("Errors"), result.get("Warnings"))
    return [line for group in kept if isinstance(group, list) for line in group]
