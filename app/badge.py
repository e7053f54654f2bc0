"""A flat badge as SVG: a word on the left, a state on the right; nothing in it but text and rectangles."""

from __future__ import annotations

import re
from html import escape

LONGEST_TEXT = 60
HEIGHT = 20
_PADDING = 6.0

# Good and bad differ in words first; the colours carry white text with a contrast of 4.5 and more.
COLOURS = {
    "ok": "#1c6b3c",
    "late": "#7a5200",
    "bad": "#a3231c",
    "calm": "#47586a",
}
_LABEL_COLOUR = "#3a4245"

# What XML can't hold, and what would turn the direction of the text or hide in it.
_REFUSED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)

# Widths of Verdana and DejaVu Sans at 11 pixels, grouped; whatever is not listed is taken for a wide letter.
_WIDTHS = {
    3.9: "iIjl.,:;'|!",
    5.0: 'ft()[]{}/\\-r "`',
    6.2: "cksvxyzJ?*^°",
    6.9: "abdeghnopquL_=+<>~0123456789$#",
    7.6: "ABCEFKPRSTVXYZ&äöüéèêàßñ",
    8.6: "DGHNOQUwÄÖÜ",
    10.9: "mMW@%—…",
}
_WIDTH_OF = {letter: width for width, letters in _WIDTHS.items() for letter in letters}
_UNKNOWN_WIDTH = 8.6
_WIDE_WIDTH = 11.0
_FIRST_WIDE = 0x1100


def render(label: str, message: str, colour: str) -> str:
    """The badge; `colour` is a key of COLOURS."""
    label, message = tidy(label), tidy(message)
    left, right = _box(label), _box(message)
    title = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" '
        f'viewBox="0 0 {left + right} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="{_LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[colour]}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" '
        f'font-size="11">{_text(label, left / 2)}{_text(message, left + right / 2)}</g></svg>'
    )


def tidy(text: str) -> str:
    """One line without anything unseen, not too long for a badge."""
    line = " ".join(_REFUSED.sub(" ", text).split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1].rstrip()}…"


def width(text: str) -> float:
    """How many pixels a text takes."""
    return sum(_WIDTH_OF.get(letter, _width_of_other(letter)) for letter in text)


def _width_of_other(letter: str) -> float:
    return _WIDE_WIDTH if ord(letter) >= _FIRST_WIDE else _UNKNOWN_WIDTH


def _box(text: str) -> int:
    return round(width(text) + 2 * _PADDING)


def _text(text: str, middle: float) -> str:
    # The given length keeps a text in its box where another font is used.
    return f'<text x="{middle:g}" y="14" textLength="{width(text):.0f}">{escape(text)}</text>'
