"""Log records that nothing from outside can forge: one line each, control characters spelled out."""

from __future__ import annotations

import logging
import re
from types import TracebackType

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_Caught = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
# Line ends and terminal sequences, and what turns the reading direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def spelled_out(text: str) -> str:
    """Control characters as their escapes, such as `\\n`."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class RecordFormatter(logging.Formatter):
    """A stack trace follows its record indented, so that no line of it passes for another record."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name that logging calls)
        return spelled_out(super().formatMessage(record))

    def formatException(self, ei: _Caught) -> str:  # noqa: N802  (as above)
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {spelled_out(line)}" for line in lines)


def set_up(level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(RecordFormatter())
    logging.basicConfig(level=level, handlers=[handler])
