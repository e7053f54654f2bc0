"""Times, sizes, durations and numbers, as the language and the region of the reader write them."""

from __future__ import annotations

import datetime as calendar
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_datetime, format_skeleton, format_time, format_timedelta
from babel.numbers import format_decimal, format_percent
from flask_babel import get_locale, gettext, ngettext
from flask_babel import lazy_gettext as _l

from app import access, clock

NOTHING = "–"
_LITTLE = 0.1
# English without a region is asked for by everybody but those who would say en-US: day first, 24 hours.
_ENGLISH = "en_GB"
_SAME_WEEK = timedelta(days=6)
_SAME_YEAR = timedelta(days=300)
# CLDR puts a comma after the weekday here, and none where the year is left out.
_BRITISH_DAY = "EEE d MMM y"
# CLDR's short units are wanting as Babel reads them: `1 Mbyte` in German, `1 horas` in Spanish.
_SIZES = (
    _l("%(number)s kB"),
    _l("%(number)s MB"),
    _l("%(number)s GB"),
    _l("%(number)s TB"),
    _l("%(number)s PB"),
)
_DAYS, _HOURS, _MINUTES, _SECONDS = (
    _l("%(number)s d"),
    _l("%(number)s h"),
    _l("%(number)s min"),
    _l("%(number)s s"),
)


def _locale() -> Locale:
    found = get_locale()
    return Locale.parse(_ENGLISH) if found is None or str(found) == "en" else found


def _local(value: calendar.date, zone: tzinfo | None) -> datetime:
    if not isinstance(value, datetime):
        return datetime.combine(value, calendar.time(12), UTC)  # a day as such is the same in every zone
    try:
        return value.astimezone(zone or ZoneInfo(access.timezone()))
    except OverflowError:
        return value  # at the ends of the calendar another zone is outside it


def _joined(day: str, time: str) -> str:
    pattern = str(_locale().datetime_formats["medium"]).replace("'", "")
    return pattern.replace("{0}", time).replace("{1}", day)


def date(value: calendar.date, zone: tzinfo | None = None) -> str:
    """A day, or that of a time, in the viewer's zone if none is given: `Mon 23 Nov 2026`."""
    local, locale = _local(value, zone), _locale()
    if str(locale) == _ENGLISH:
        return format_datetime(local, _BRITISH_DAY, locale=locale)
    return format_skeleton("yMMMEd", local, locale=locale)


def day(value: calendar.date, zone: tzinfo | None = None) -> str:
    """The day without its year, where that goes without saying: `Mon 23 Nov`."""
    return format_skeleton("MMMEd", _local(value, zone), locale=_locale())


def month_name(value: calendar.date) -> str:
    """A month: `November 2026`."""
    return format_skeleton("yMMMM", _local(value, None), locale=_locale())


def short_month(value: calendar.date) -> str:
    """A month without its year: `Nov`."""
    return format_skeleton("MMM", _local(value, None), locale=_locale())


def weekday(number: int) -> str:
    """A day of the week, Monday being 0: `Mon`."""
    return str(_locale().days["stand-alone"]["abbreviated"][number])


def tick(value: datetime, unit: str) -> str:
    """What stands below a mark of a time axis that counts hours, days or months."""
    if unit == "hour":
        return time_of_day(value)
    return format_skeleton("yMMM" if unit == "month" else "Ed", _local(value, None), locale=_locale())


def brief(value: datetime, now: datetime) -> str:
    """As short as a time can be told apart from others: `Mon 09:10`, `3 Aug 09:10` or `3 Aug 2025`."""
    gap = abs(value - now)
    if gap < _SAME_WEEK:
        return f"{weekday(_local(value, None).weekday())} {time_of_day(value)}"
    skeleton = "MMMd" if gap < _SAME_YEAR else "yMMMd"
    day_alone = format_skeleton(skeleton, _local(value, None), locale=_locale())
    return f"{day_alone} {time_of_day(value)}" if gap < _SAME_YEAR else day_alone


def lasting(gap: timedelta) -> str:
    """How long something has lasted, in words."""
    return format_timedelta(gap, granularity="minute", threshold=1.2, locale=_locale())


def time_of_day(value: datetime, zone: tzinfo | None = None) -> str:
    """Hours and minutes alone: `09:10`, or `9:10 AM` where people write that."""
    return format_time(_local(value, zone), "short", locale=_locale())


def moment(value: datetime | None, zone: tzinfo | None = None) -> str:
    """A time in the viewer's language, and their zone if none is given: `Mon 23 Nov 2026, 09:10`."""
    return _joined(date(value, zone), time_of_day(value, zone)) if value else NOTHING


def zoned(value: datetime) -> str:
    """A time with its zone in words, for sentences that people act on: `Mon 23 Nov, 09:10 Europe/Paris`."""
    return f"{_joined(day(value), time_of_day(value))} {access.timezone()}"


def ago(value: datetime | None) -> str:
    """How far a time lies from now, in words."""
    if value is None:
        return NOTHING
    gap = value - clock.utcnow()
    return format_timedelta(gap, granularity="second", threshold=1.2, add_direction=True, locale=_locale())


def count(value: int | None) -> str:
    """A number with the separators of the viewer's language."""
    return NOTHING if value is None else format_decimal(value, locale=_locale())


def percent(share: float) -> str:
    """0.123 as `12 %` in the reader's manner; a tenth of it more where it is little."""
    pattern = "0.#" if abs(share) < _LITTLE else "0"
    number = format_decimal(round(share * 100, 1), format=pattern, locale=_locale())
    return format_percent(0, locale=_locale()).replace("0", number)


def size(value: int | None) -> str:
    """Bytes in decimal units, as storage is sold and as people compare it."""
    if value is None:
        return NOTHING
    amount, unit = float(value), -1
    while abs(amount) >= 1000 and unit < len(_SIZES) - 1:
        amount /= 1000
        unit += 1
    if unit < 0:
        return str(ngettext("%(shown)s byte", "%(shown)s bytes", value, shown=count(value)))
    return str(_SIZES[unit]) % {"number": format_decimal(round(amount, 1), locale=_locale())}


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, the largest two that matter."""
    if seconds is None:
        return NOTHING
    if seconds < 0:
        return str(gettext("clock was set back"))
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [(_DAYS, days), (_HOURS, hours), (_MINUTES, minutes)]
    shown = [part for part in parts if part[1]][:2]
    if len(shown) < 2 and whole < 3600:
        shown.append((_SECONDS, whole % 60))
    return " ".join(str(unit) % {"number": count(number)} for unit, number in shown)
