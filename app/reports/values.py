"""Dates, durations, numbers, flags and words as Duplicati writes them, in any locale."""

import re
from datetime import UTC, datetime, timedelta, timezone

LABEL_LIMIT = 300
# Every pattern below works on at most this many characters, so none can take long.
_WRITTEN_LIMIT = 100
_NOTHING = frozenset({"", "none", "null"})
_YEAR_MIN, _YEAR_END = 2000, 2200
_EPOCH_MIN = int(datetime(_YEAR_MIN, 1, 1, tzinfo=UTC).timestamp())
_EPOCH_END = int(datetime(_YEAR_END, 1, 1, tzinfo=UTC).timestamp())
_CENTURY_SECONDS = 100 * 366 * 86400
_INT64 = 2**63

_EPOCH = re.compile(r"[(:\s](-?\d{1,14})\s*\)$")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T?(\d\d)(\d\d)(\d\d)Z?")
_CALENDAR = re.compile(
    r"(?P<first>\d{1,4})(?P<mark>[-./])\s?(?P<second>\d{1,2})(?P=mark)\s?(?P<third>\d{1,4})\.?,?(?:T|\s)\s?"
    r"(?P<clock>\d{1,2}[:.]\d\d(?:[:.]\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?"
    r"\s?(?P<half>[ap]\.?\s?m\.?)?\s?(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(-)?(?:(\d+)[.\s])?(\d{1,2}):(\d\d):(\d\d(?:[.,]\d{1,9})?)")
_SPAN_IN_UNITS = re.compile(
    r"P?(?:(\d+)\s?d)?\s?T?(?:(\d+)\s?h)?\s?(?:(\d+)\s?m(?:in)?)?\s?(?:(\d+(?:\.\d+)?)\s?s)?", re.IGNORECASE
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
# Control characters and line ends, and what turns the reading direction of everything after it.
_CONTROLS: dict[int, str | None] = dict.fromkeys((*range(1, 32), *range(127, 160), 0x2028, 0x2029), " ")
_CONTROLS |= dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF))


def plain(text: str, limit: int) -> str:
    """Text that every database can store: no NUL, no lone surrogates, at most `limit` characters."""
    cut = text[:limit].replace("\0", "")
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode("utf-8")


def label(value: object) -> str | None:
    """A name or an id on one line."""
    if not isinstance(value, str):
        number = integer(value)
        return None if number is None else str(number)
    line = value.strip()[:LABEL_LIMIT]
    if not line.isprintable():
        line = line.translate(_CONTROLS)
    return plain(line, LABEL_LIMIT).strip() or None


def identifier(value: object) -> str | None:
    """A label that may be written as None or null, which a name may not: a job can be called None."""
    found = label(value)
    return None if found is None or found.lower() in _NOTHING else found


def flag(value: object) -> bool:
    """A boolean, also as the text form and re-quoted JSON write it."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def integer(value: object) -> int | None:
    """A whole number of 64 bits; anything else is None, never an error."""
    if isinstance(value, str):
        written = value[:_WRITTEN_LIMIT].strip()
        value = int(written) if _INTEGER.fullmatch(written) else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_INT64 <= value < _INT64 else None


def count(value: object) -> int | None:
    """A number of things; Duplicati writes -1 for "none"."""
    found = integer(value)
    return None if found is None or found < 0 else found


def moment(value: object) -> datetime | None:
    """The instant in UTC; None when the value says there is none (absent, or the year 1).

    Raises ValueError when something is written there that can't be read. Unix seconds in brackets win over
    the calendar date before them, which is local and in the client's order of day and month.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    written = _written(value)
    if written.lower() in _NOTHING:
        return None
    if epoch := _EPOCH.search(written):
        return _from_epoch(int(epoch[1]))
    if compact := _COMPACT.fullmatch(written):
        return _in_range([int(part) for part in compact.groups()], 0, UTC)
    if calendar := _CALENDAR.fullmatch(written):
        return _from_calendar(calendar)
    raise ValueError("not a date")


def duration(value: object) -> float | None:
    """Seconds from `[-][d.]hh:mm:ss[.fffffff]` or `1h30m`; None when it can't be read."""
    try:
        written = _written(value)
    except ValueError:
        return None
    if span := _SPAN.fullmatch(written):
        sign, days, hours, minutes, seconds = span.groups(default="0")
        total = _seconds(days, hours, minutes, seconds.replace(",", "."))
        total = -total if sign == "-" else total
    elif written and (units := _SPAN_IN_UNITS.fullmatch(written)) and any(units.groups()):
        total = _seconds(*units.groups(default="0"))
    else:
        return None
    return total if abs(total) < _CENTURY_SECONDS else None


def _written(value: object) -> str:
    """One line without stray spaces. Some receivers split a value at its colons: put it together again."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ":".join(str(part) for part in value[:8] if isinstance(part, str | int))
    if not isinstance(value, str) or len(value) > _WRITTEN_LIMIT:
        raise ValueError("not a line of text")
    return re.sub(r"\s*:\s*", ":", " ".join(value.split()))


def _from_epoch(seconds: float) -> datetime | None:
    if seconds < _EPOCH_MIN:
        return None
    if not seconds < _EPOCH_END:  # also true for NaN
        raise ValueError("not a date")
    return datetime.fromtimestamp(seconds, UTC)


def _from_calendar(found: re.Match[str]) -> datetime | None:
    date = _year_month_day(found["first"], found["mark"], found["second"], found["third"])
    hour, minute, second = ([int(part) for part in re.split("[:.]", found["clock"])] + [0])[:3]
    if found["half"] and hour <= 12:
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    microsecond = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    return _in_range([*date, hour, minute, second], microsecond, _zone(found["zone"]))


def _year_month_day(first: str, mark: str, second: str, third: str) -> tuple[int, int, int]:
    if len(first) == 4:
        return int(first), int(second), int(third)
    if len(third) != 4:
        raise ValueError("no year of four digits")
    day, month = int(first), int(second)
    month_first = month > 12 or (mark == "/" and day <= 12)
    return (int(third), day, month) if month_first else (int(third), month, day)


def _zone(written: str | None) -> timezone:
    if not written or written[0] not in "+-":
        return UTC
    digits = written[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if written[0] == "-" else offset)


def _in_range(parts: list[int], microsecond: int, zone: timezone) -> datetime | None:
    year, month, day, hour, minute, second = parts
    if year < _YEAR_MIN:
        return None
    if year >= _YEAR_END:
        raise ValueError("not a date of this age")
    return datetime(year, month, day, hour, minute, second, microsecond, zone).astimezone(UTC)


def _seconds(days: str, hours: str, minutes: str, seconds: str) -> float:
    return float(days) * 86400 + float(hours) * 3600 + float(minutes) * 60 + float(seconds)
