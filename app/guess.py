"""What schedule the last runs look like, and how many of them fit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from app.backtest import running_since
from app.recurrence import WEEKDAYS, RecurrenceError, Schedule, upcoming

RUNS_LOOKED_AT = 30
FEWEST_RUNS = 4
_FEWEST_SHARE = 0.7
_MOST_OCCURRENCES = 200
_CLEARLY_BETTER = 0.03
_DAY = timedelta(days=1)
_WIDEST_SLACK = timedelta(hours=1)
_ELAPSED = ("5m", "10m", "15m", "20m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h")


@dataclass(frozen=True, slots=True)
class Guess:
    """A schedule, and how many of the runs looked at began about when it says."""

    schedule: Schedule
    fits: int
    runs: int


def guess(began: Sequence[datetime], zone: str) -> Guess | None:
    """The schedule that explains the newest runs best; None where none does. Simpler ones come first."""
    newest = sorted(began)[-RUNS_LOOKED_AT:]
    if len(newest) < FEWEST_RUNS or newest[-1] - newest[0] < timedelta(minutes=10):
        return None
    best: Guess | None = None
    best_share = _FEWEST_SHARE
    for schedule in _candidates(newest, ZoneInfo(zone)):
        fits, share = _judge(schedule, newest)
        if share > best_share + (_CLEARLY_BETTER if best else 0):
            best, best_share = Guess(schedule, fits, len(newest)), share
    return best


def _judge(schedule: Schedule, began: Sequence[datetime]) -> tuple[int, float]:
    """How many runs fit, and a share that counts runs beside the schedule and occurrences without a run."""
    span = schedule.rule.span
    slack = min(_WIDEST_SLACK, span / 4)
    if (began[-1] - began[0]) / span > _MOST_OCCURRENCES:
        return 0, 0.0
    due = _occurrences(schedule, began[0] - slack, began[-1] + slack)
    nearest = [min(due, key=lambda at: abs(at - each), default=None) for each in began]
    met = [at for at, each in zip(nearest, began, strict=True) if at and abs(at - each) <= slack]
    return len(met), 2 * len(set(met)) / (len(began) + len(due))


def _occurrences(schedule: Schedule, from_at: datetime, to_at: datetime) -> list[datetime]:
    count = int((to_at - from_at) / schedule.rule.span) + 2
    try:
        return [at for at in upcoming(running_since(schedule, from_at), from_at, count) if at <= to_at]
    except RecurrenceError:
        return []


def _candidates(began: Sequence[datetime], zone: ZoneInfo) -> Iterator[Schedule]:
    shown = [at.astimezone(zone).replace(tzinfo=None) for at in began]
    at_time = _time_of_day(shown)
    yield from _by_day(shown, at_time, zone)
    yield from _by_month(shown, at_time, zone)
    for repeat in _ELAPSED:
        yield _elapsed(repeat, began, zone)


def _by_day(shown: Sequence[datetime], at_time: time, zone: ZoneInfo) -> Iterator[Schedule]:
    first = shown[0].date()
    yield _schedule("1D", datetime.combine(first, at_time), zone)
    times = Counter(WEEKDAYS[each.weekday()] for each in shown)
    most = times.most_common(1)[0][1]
    days = frozenset(day for day, count in times.items() if count * 2 >= most)
    if 1 < len(days) < len(WEEKDAYS):
        yield _schedule("1D", datetime.combine(first, at_time), zone, days)
    usual = WEEKDAYS.index(times.most_common(1)[0][0])
    for weeks in (1, 2, 3, 4):
        for later in range(weeks):
            day = first + timedelta(days=(usual - first.weekday()) % 7 + 7 * later)
            yield _schedule(f"{weeks}W", datetime.combine(day, at_time), zone)
    for days_apart in range(2, 7):
        for later in range(days_apart):
            day = first + later * _DAY
            yield _schedule(f"{days_apart}D", datetime.combine(day, at_time), zone)


def _by_month(shown: Sequence[datetime], at_time: time, zone: ZoneInfo) -> Iterator[Schedule]:
    usual = Counter(each.day for each in shown).most_common(1)[0][0]
    first = next(each for each in shown if each.day == usual)
    for months in (1, 2, 3, 6):
        yield _schedule(f"{months}M", datetime.combine(first.date(), at_time), zone)


def _elapsed(repeat: str, began: Sequence[datetime], zone: ZoneInfo) -> Schedule:
    """A rhythm by elapsed time, at the place within it that most runs are near to."""
    probe = _schedule(repeat, began[0].replace(tzinfo=None), ZoneInfo("UTC"))
    seconds = probe.rule.span_seconds
    phase = _middle([int(at.timestamp()) % seconds for at in began], seconds)
    phase = _rounded(phase, 300 if seconds >= 3600 else 60)
    first_at = began[0] + timedelta(seconds=(phase - int(began[0].timestamp())) % seconds)
    return Schedule(repeat=repeat, days=frozenset(), zone=zone.key, anchor_at=first_at.replace(microsecond=0))


def _schedule(repeat: str, local: datetime, zone: ZoneInfo, days: frozenset[str] = frozenset()) -> Schedule:
    anchor_at = local.replace(tzinfo=zone).astimezone(UTC)
    return Schedule(repeat=repeat, days=days, zone=zone.key, anchor_at=anchor_at)


def _time_of_day(shown: Sequence[datetime]) -> time:
    seconds = [each.hour * 3600 + each.minute * 60 + each.second for each in shown]
    middle = _rounded(_middle(seconds, 86_400), 300) % 86_400
    return time(middle // 3600, middle // 60 % 60)


def _middle(places: Sequence[int], circle: int) -> int:
    """The place on a circle to which all are nearest."""

    def distance(one: int, other: int) -> int:
        apart = abs(one - other) % circle
        return min(apart, circle - apart)

    return min(places, key=lambda place: sum(distance(place, each) for each in places))


def _rounded(seconds: int, to: int) -> int:
    return round(seconds / to) * to
