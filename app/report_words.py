"""The log lines and the body of a report as they are shown: by level, indented, and never too long."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from app.models import ReportBody

LONGEST_PRETTY_BYTES = 1_000_000
LONGEST_SHOWN = 200_000
_LEVEL = re.compile(r"- \[(Error|Warning|Information|Retry|Profiling|Verbose|DryRun)-")
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """Lines that belong together; `level` is "error", "warning" or empty."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    text: str
    is_whole: bool


def entries(lines: Iterable[str]) -> list[Entry]:
    """A line without a level goes on with the one before."""
    found: list[Entry] = []
    for line in lines:
        named = _LEVEL.search(line[:200])
        level = named[1].lower() if named and named[1] in ("Error", "Warning") else ""
        if found and (not named or (not level and not found[-1].level)):
            found[-1] = Entry(found[-1].level, f"{found[-1].text}\n{line}")
        else:
            found.append(Entry(level, line))
    return found


def readable(body: ReportBody) -> Shown:
    """The body for people: JSON indented, a form decoded, anything else as it came; its beginning if long."""
    # One byte more than fits tells whether there is more; a letter may take four.
    raw = zlib.decompressobj().decompress(body.compressed, 4 * LONGEST_SHOWN + LONGEST_PRETTY_BYTES + 1)
    is_whole = len(raw) >= body.size_bytes
    text = raw.decode("utf-8", "replace")
    if is_whole and len(raw) <= LONGEST_PRETTY_BYTES:
        text = _pretty(text, body.content_type)
    return Shown(text[:LONGEST_SHOWN], is_whole and len(text) <= LONGEST_SHOWN)


def _pretty(text: str, content_type: str) -> str:
    if content_type.partition(";")[0].strip().lower() == _FORM:
        return _form(text)
    try:
        return _indented(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _indented(content: object) -> str:
    """No more than is shown and a little: what is nested deeply has far more spaces than words."""
    parts, length = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(content):
        parts.append(part)
        length += len(part)
        if length > LONGEST_SHOWN:
            break
    # JSON can spell halves of characters, which no page can be written with.
    return "".join(parts).encode(errors="replace").decode()


def _form(text: str) -> str:
    try:
        fields = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return text
    return "\n\n".join(f"{name}=\n{value}" for name, value in fields) or text
