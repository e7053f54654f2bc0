"""Text from strangers made harmless: one line, no control characters, secrets masked."""

from __future__ import annotations

import re
import unicodedata

MASK = "****"

_SEPARATORS = {"Zl", "Zp"}
_DROPPED = {"Cc", "Cs", "Co", "Cn"}
# They turn the reading direction of everything after them, so a name could rewrite a sentence.
_DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")

# @everyone, <!channel> and <@id>, <https://…|text>, [text](https://…), ||hidden||, ~~struck~~, ```quoted```.
_CHAT_MARKUP = re.compile(
    r"(?i)(?<!\w)@(?=\w)|@(?=everyone|here|channel|all|room)|<(?=[!@#:]|\w+:)|\](?=[(\[:])|([|~`])(?=\1)"
)
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30})://([^\s\"'<>|\\^`{}]+)")
_AUTHORITY = re.compile(r"[\w.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_PASSWORD_BEFORE_HOST = re.compile(r"[^\s/@:,;<>()\"']{1,100}:[^\s/@<>\"']{1,200}@(?=[\w\[])")
_NAMED_SECRET = re.compile(
    r"(?i)\b((?:[\w-]{0,40}(?:token|secret|passw(?:or)?d|passphrase|api[_-]?key|signature)|key|sig)"
    r"[\"']?\s*[=:]\s*[\"']?)([^\s\"'&;,]{3,})"
)
_AUTHORIZATION = re.compile(r"(?i)\b((?:authorization\s*[:=]\s*)?(?:bearer|basic)\s+)[\w.~+/=-]{6,}")


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\r\v\f" or category in _SEPARATORS:
        return " "
    return "" if category in _DROPPED or character in _DIRECTION else character


def one_line(text: str) -> str:
    """For titles, headers and reasons: no line break, no control or direction character."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    return " ".join("".join(map(_harmless, text)).split())


def lines(text: str) -> str:
    """Keeps line breaks and indentation, drops every other control character."""
    return "\n".join("".join(map(_harmless, line)).rstrip() for line in re.split(r"\r\n|[\r\n]", text))


def neutralized(text: str) -> str:
    """For chat services: mentions, links under another text and hidden passages stay plain text.

    An invisible space breaks each; what a service shows, and addresses of mail and web, stay as they are.
    """
    return _CHAT_MARKUP.sub("\\g<0>\u200b", text)


def _masked_url(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2]
    kept = rest.rstrip(".,;:!?)")
    rest, end = kept, rest[len(kept) :]
    credentials, separator, place = rest.rpartition("@")
    authority = re.split(r"[/?#]", place, maxsplit=1)[0]
    hidden = bool(separator) and bool(re.search(r"[/?#]", credentials))
    if scheme.lower() not in ("http", "https") or hidden or not _AUTHORITY.fullmatch(authority):
        return f"{scheme}://{MASK}{end}"
    path = "/…" if len(place) > len(authority) + 1 else place[len(authority) :]
    return f"{scheme}://{MASK + '@' if separator else ''}{authority}{path}{end}"


def mask(text: str) -> str:
    """Hide what could be a secret: passwords and paths of URLs, tokens and keys by their name."""
    text = _URL.sub(_masked_url, text)
    text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
    text = _PASSWORD_BEFORE_HOST.sub(f"{MASK}@", text)
    return _NAMED_SECRET.sub(rf"\1{MASK}", text)
