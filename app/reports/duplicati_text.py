"""The text report: a header, `Key: Value` lines with nested blocks indented by four, then the log."""

import re
from collections.abc import Iterator, Mapping

from app.reports import sections, values
from app.reports.sections import Sections

# The result comes first and the log last: nothing that is needed lies beyond this.
TEXT_LIMIT = 1024 * 1024
_HEADER_LINES = 20
_HEADER_LIMIT = 2000

_HEADER = re.compile(r"Duplicati (\w+) report for (.+)")
_IDENTITY = re.compile(r"(.+) \(([^\s(),]*), ([^\s(),]*), (.*)\)")
_FIELD = re.compile(r"([A-Z][A-Za-z]+):(?:\s(.*))?")
_LOG_ENTRY = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
_LOG_HEADING = "Log data:"
_STATISTICS = "BackendStatistics"
_TELLING = re.compile(r"^(?:ParsedResult|MainOperation|Failed|ExaminedFiles):", re.MULTILINE)


def is_report(text: str) -> bool:
    """Whether the text has the header or the lines of a report, rather than a message of the user's own."""
    head = text[:TEXT_LIMIT].replace("\r", "\n")
    return _header(head.lstrip("\ufeff\n ").split("\n", _HEADER_LINES)) is not None or bool(
        _TELLING.search(head)
    )


def read_text(text: str, fields: Mapping[str, object]) -> Sections:
    """The parts of a text report; `fields` are form fields beside it."""
    text = text[:TEXT_LIMIT].lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    header = _header(lines[:_HEADER_LINES])
    result: dict[str, object] = {}
    statistics: dict[str, object] = {}
    end = len(lines)
    for number, key, value, block in _fields(lines):
        if key == _LOG_HEADING:
            end = number
        else:
            (statistics if block else result).setdefault(key, value)
    failed = "Failed" in result
    return Sections(
        result=result,
        statistics=statistics,
        extra=sections.fold(fields) | (_extra(header) if header else {}),
        failed=failed,
        failure=str(result.get("Failed") or result.get("Details") or "Failed") if failed else None,
        log_lines=_log_entries(lines[end + 1 :]),
    )


def _header(lines: list[str]) -> re.Match[str] | None:
    found = (_HEADER.fullmatch(line[:_HEADER_LIMIT].rstrip()) for line in lines[:_HEADER_LINES])
    return next((header for header in found if header), None)


def _extra(header: re.Match[str]) -> dict[str, object]:
    operation, name = header.groups()
    told = {"operationname": operation, "backupname": name}
    # Since 2.1: name (machine-id, backup-id, machine-name); a name of its own may end in brackets.
    if identity := _IDENTITY.fullmatch(name):
        keys = ("backupname", "machineid", "backupid", "machinename")
        told |= dict(zip(keys, identity.groups(), strict=True))
    return {key: value for key, value in told.items() if values.label(value)}


def _fields(lines: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """Line number, key, value and block of the outermost lines and of those in BackendStatistics.

    Other blocks are results of operations inside this one, which must not pass for its own.
    """
    block = ""
    in_list = False
    for number, line in enumerate(lines):
        if line.rstrip() == _LOG_HEADING:
            yield number, _LOG_HEADING, "", ""
            return
        if in_list:
            # Entries may span lines, and those are not indented.
            in_list = line.rstrip() != "]"
            continue
        indented = line[:1].isspace()
        if indented and (line[:4] != "    " or line[4:5].isspace() or block != _STATISTICS):
            continue
        found = _FIELD.fullmatch(line.strip()[:_HEADER_LIMIT])
        if not found:
            continue
        value = (found[2] or "").strip()
        if not indented:
            block = "" if value else found[1]
            in_list = value == "["
        yield number, found[1], value, block if indented else ""


def _log_entries(lines: list[str]) -> list[str]:
    entries: list[list[str]] = []
    for line in lines:
        if _LOG_ENTRY.match(line) or not entries:
            entries.append([line])
        else:
            entries[-1].append(line)
    return [entry for entry in ("\n".join(entry).rstrip() for entry in entries) if entry]
