"""Reads the outer levels of JSON that is cut off or has broken quotes, and stops where the thread is lost."""

import json
import re

_DEPTH_LIMIT = 3
_LINES_LIMIT = 1000
_STRING_LIMIT = 10_000
# Marks and quotes looked at: about two seconds, and far beyond Data and Extra of any real report.
_STEPS_LIMIT = 1_000_000

_NEXT = re.compile(r'\s*+(?P<bare>[^\s"{}\[\],:]*+)\s*+(?P<mark>["{}\[\],:])')
_BARE = re.compile(r"(?:true|false|null|NaN|-?Infinity|-?\d[\d.eE+-]{0,400})?")
# Only a quote that is followed by what must follow at its place ends a string; any other lost its backslash.
_ENDS_KEY = re.compile(r"\s*+:")
_ENDS_IN_OBJECT = re.compile(r'\s*+(?:,\s*+(?:"|\Z)|\}\s*+(?:[,}\]]|\Z)|\Z)')
_ENDS_IN_LIST = re.compile(r'\s*+(?:,\s*+(?:["{\[]|null\b|\Z)|\]\s*+(?:[,}\]]|\Z)|\Z)')
_CLOSING = {"{": "}", "[": "]"}


class _LostError(Exception):
    """What follows can't be told from the damage."""


def salvage(text: str) -> tuple[dict[str, object], bool]:
    """The members of the outermost object as far as they can be followed, and whether `Data` was whole."""
    reader = _Reader(text)
    found: dict[str, object] = {}
    try:
        if reader.mark() == ("", "{"):
            reader.members(found, 1)
    except _LostError:
        pass
    return found, "Data" in reader.whole


class _Reader:
    """Walks the text once, keeps what lies at most three levels deep and skips the rest without recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.steps = 0
        self.whole: set[str] = set()

    def mark(self) -> tuple[str, str]:
        """The next structural mark and the bare word before it, if any."""
        self._step()
        found = _NEXT.match(self.text, self.position)
        if found is None or not _BARE.fullmatch(found["bare"]):
            raise _LostError
        self.position = found.end()
        return found["bare"], found["mark"]

    def members(self, found: dict[str, object], depth: int) -> None:
        """Fill `found` from after the opening brace to the closing one, or to the damage."""
        mark = ","
        while mark == ",":
            bare, mark = self.mark()
            if mark == '"' and not bare:
                mark = self._member(found, depth)
        if mark != "}":
            raise _LostError

    def _member(self, found: dict[str, object], depth: int) -> str:
        key = _unescaped(self._string(_ENDS_KEY))
        self._expect(":")
        bare, mark = self.mark()
        if mark in (",", "}"):
            found[key] = _value(bare)
            return mark
        if bare:
            raise _LostError
        self._opened(found, key, mark, depth)
        if depth == 1:
            self.whole.add(key)
        return self._expect(",", "}")

    def _opened(self, found: dict[str, object], key: str, mark: str, depth: int) -> None:
        if mark == '"':
            found[key] = _unescaped(self._string(_ENDS_IN_OBJECT))
        elif mark == "{" and depth < _DEPTH_LIMIT:
            found[key] = inner = dict[str, object]()
            self.members(inner, depth + 1)
        elif mark == "[" and key == "LogLines":
            found[key] = lines = list[str]()
            self._skip(mark, lines)
        elif mark in _CLOSING:
            self._skip(mark, [])
        else:
            raise _LostError

    def _skip(self, opening: str, lines: list[str]) -> None:
        """Pass a whole object or list; its own strings go to `lines`, up to a limit."""
        stack = [opening]
        at_key = opening == "{"
        while stack:
            _, mark = self.mark()
            if mark == '"':
                ends = _ENDS_KEY if at_key else _ENDS_IN_OBJECT if stack[-1] == "{" else _ENDS_IN_LIST
                raw = self._string(ends)
                if len(stack) == 1 and len(lines) < _LINES_LIMIT:
                    lines.append(_unescaped(raw))
            elif mark in _CLOSING:
                stack.append(mark)
            elif mark in "}]" and _CLOSING[stack.pop()] != mark:
                raise _LostError
            at_key = bool(stack) and stack[-1] == "{" and mark in "{,"

    def _string(self, ends: re.Pattern[str]) -> str:
        start = search = self.position
        while True:
            self._step()
            quote = self.text.find('"', search)
            if quote < 0:
                raise _LostError
            run = self.text[search:quote]
            escaped = (len(run) - len(run.rstrip("\\"))) % 2
            search = quote + 1
            if not escaped and ends.match(self.text, search):
                self.position = search
                return self.text[start : min(quote, start + _STRING_LIMIT)]

    def _expect(self, *marks: str) -> str:
        bare, mark = self.mark()
        if bare or mark not in marks:
            raise _LostError
        return mark

    def _step(self) -> None:
        self.steps += 1
        if self.steps > _STEPS_LIMIT:
            raise _LostError


def _unescaped(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


def _value(bare: str) -> object:
    try:
        return json.loads(bare)
    except ValueError:
        return None
