"""What the bytes of a request are: JSON, text, or a form with one of them in a field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from app.reports.duplicati_text import TEXT_LIMIT, is_report

_FIELDS_LIMIT = 200
# Decoding costs far more than parsing, and of a text only the beginning counts; JSON is needed whole.
_TEXT_VALUE_LIMIT = 2 * TEXT_LIMIT
_JSON_VALUE_LIMIT = 16 * TEXT_LIMIT
_SIDE_VALUE_LIMIT = 1000
_HEAD = 4096

_BLANK = b"\xef\xbb\xbf \t\r\n"
_FORM = re.compile(rb"[A-Za-z0-9_.%+\-\[\]]{1,200}=")
_ESCAPED_TEXT = re.compile(rb"Duplicati(?:%20|\+)[A-Za-z]+(?:%20|\+)report")
_ESCAPED_JSON = (b"%7B", b"%7b", b"{")
_JSON_STARTS = ("{", "[", '"')


@dataclass(slots=True)
class Envelope:
    """The text that came, and the form fields that came beside it."""

    text: str
    is_json: bool
    fields: dict[str, object] = field(default_factory=dict)
    is_empty: bool = False


def opened(body: bytes, content_type: str | None) -> Envelope:
    """Find the report in a body by looking at it; the content type decides only where the look can't."""
    if not body.strip():
        return Envelope("", is_json=False, is_empty=True)
    head = body[:_HEAD].lstrip(_BLANK)
    said_form = "form-urlencoded" in (content_type or "").lower()
    if head[:1] in (b"{", b"[", b'"'):
        return Envelope(body.decode("utf-8-sig", "replace"), is_json=True)
    if _ESCAPED_TEXT.match(head):
        return Envelope(_decoded(body[:_TEXT_VALUE_LIMIT]), is_json=False)
    if _FORM.match(head) or (said_form and b"=" in head and not head.startswith(b"Duplicati ")):
        return _from_form(body.lstrip(_BLANK))
    return Envelope(body[:TEXT_LIMIT].decode("utf-8-sig", "replace"), is_json=False)


def _from_form(body: bytes) -> Envelope:
    _, _, rest = body.partition(b"=")
    if _is_bare(rest[:_HEAD]):
        return _envelope(rest[:_JSON_VALUE_LIMIT].decode("utf-8", "replace"), {})
    values = dict(_pairs(body))
    found = next((name for name, value in values.items() if _looks_like_report(value)), None)
    if found is None:
        found = max(values, key=lambda name: len(values[name]))
    beside = {
        name: value for name, value in values.items() if name != found and len(value) <= _SIDE_VALUE_LIMIT
    }
    return _envelope(values[found], dict(beside))


def _envelope(text: str, fields: dict[str, object]) -> Envelope:
    return Envelope(text, text.lstrip("\ufeff \t\r\n").startswith(_JSON_STARTS), fields)


def _is_bare(value: bytes) -> bool:
    """Whether a sender forgot to escape: then & and + are only characters."""
    return value.startswith(b"{") or b" " in value or b"\n" in value


def _pairs(body: bytes) -> Iterator[tuple[str, str]]:
    start = 0
    for _ in range(_FIELDS_LIMIT):
        end = body.find(b"&", start)
        end = len(body) if end < 0 else end
        name, _, value = body[start : min(end, start + _JSON_VALUE_LIMIT)].partition(b"=")
        limit = _JSON_VALUE_LIMIT if value.startswith(_ESCAPED_JSON) else _TEXT_VALUE_LIMIT
        yield _decoded(name[:_HEAD]), _decoded(value[:limit])
        start = end + 1
        if start > len(body):
            return


def _decoded(value: bytes) -> str:
    # Duplicati writes a space as %20; where it does, a plus is a plus.
    spaced = value if b"%20" in value else value.replace(b"+", b" ")
    return unquote_to_bytes(spaced).decode("utf-8-sig", "replace")


def _looks_like_report(text: str) -> bool:
    return text[:100].lstrip().startswith("{") or is_report(text)
