"""What happened to one job: its runs, its figures, its days, and what people were told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select, tuple_
from sqlalchemy.orm import Session, joinedload

from app.day_map import Count, Stretch
from app.models import Alert, Delivery, DeliveryAttempt, Report
from app.thinning import Point

MOST_ROWS = 20_000
ALERTS_SHOWN = 12
ATTEMPTS_SHOWN = 10
_MOST_ATTEMPTS = 500
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Told:
    """An alert, its receipts, and what each attempt at them came to."""

    alert: Alert
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of a job in order of time; `is_whole` unless older ones of that time were left out."""

    points: Sequence[Point]
    is_whole: bool


def reports(job_id: int, before: tuple[datetime, int] | None, limit: int) -> Select[Report]:
    """The newest first, or those before a position."""
    query = select(Report).where(Report.job_id == job_id)
    if before:
        query = query.where(tuple_(Report.ended_at, Report.id) < tuple_(*before))
    return query.order_by(Report.ended_at.desc(), Report.id.desc()).limit(limit)


def series(rows: Session, job_id: int, since_at: datetime | None, most: int = MOST_ROWS) -> Series:
    """Dry runs are left out: they store nothing. Of very many, the newest."""
    query = select(Report.ended_at, Report.good, *(getattr(Report, name) for name in Point._fields[2:]))
    query = query.where(Report.job_id == job_id, Report.dry_run.is_(False))
    if since_at:
        query = query.where(Report.ended_at >= since_at)
    query = query.order_by(Report.ended_at.desc(), Report.id.desc()).limit(most + 1)
    found = [Point(*row) for row in rows.execute(query)]
    return Series(found[:most][::-1], len(found) <= most)


def days(rows: Session, job_id: int, stretches: Sequence[Stretch]) -> dict[date, Count]:
    """How the runs of each day went; days without any are left out."""
    number = _day_number(rows, stretches).label("day")
    warned = Report.good & ((Report.outcome == "Warning") | (func.coalesce(Report.warnings_count, 0) > 0))
    query = (
        select(number, _sum(Report.good & ~warned), _sum(warned), _sum(~Report.good))
        .where(Report.job_id == job_id, Report.dry_run.is_(False))
        .where(Report.ended_at >= stretches[0].began_at, Report.ended_at < stretches[-1].ended_at)
        .group_by(number)
    )
    first = stretches[0].first_day
    return {first + timedelta(days=int(day)): Count(*map(int, sums)) for day, *sums in rows.execute(query)}


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _day_number(rows: Session, stretches: Sequence[Stretch]) -> ColumnElement[int]:
    """Of the day in which a report ended, counted from the first one of the stretches."""
    if rows.get_bind().dialect.name == "sqlite":
        seconds: ColumnElement[int] = cast(func.strftime("%s", Report.ended_at), BigInteger)
    else:
        seconds = cast(func.floor(func.extract("epoch", Report.ended_at)), BigInteger)
    first = stretches[0].first_day
    whens = []
    for each in stretches:
        began, before = int(each.began_at.timestamp()), (each.first_day - first).days
        length = int(each.ended_at.timestamp()) - began
        # A day of another length stands alone; the hour it has more belongs to it.
        day = (seconds - began) // _DAY_SECONDS + before if length % _DAY_SECONDS == 0 else before
        whens.append((Report.ended_at < each.ended_at, day))
    return case(*whens, else_=0)


def told(rows: Session, job_id: int) -> list[Told]:
    """The newest alerts. One that was told with others has the receipts of the message they share."""
    newest = select(Alert).where(Alert.job_id == job_id).order_by(Alert.id.desc()).limit(ALERTS_SHOWN)
    alerts = list(rows.scalars(newest))
    sent_as = {alert.id: alert.group_id or alert.id for alert in alerts}
    found: dict[int, list[Delivery]] = {number: [] for number in sent_as.values()}
    if found:
        query = select(Delivery).options(joinedload(Delivery.channel)).where(Delivery.alert_id.in_(found))
        for delivery in rows.scalars(query.order_by(Delivery.id)):
            found[delivery.alert_id].append(delivery)
    return [Told(alert, found[sent_as[alert.id]]) for alert in alerts]


def attempts(rows: Session, alerts: Sequence[Told]) -> dict[int, list[DeliveryAttempt]]:
    """By delivery, the newest first: at most `ATTEMPTS_SHOWN` of each."""
    ids = {delivery.id for each in alerts for delivery in each.deliveries}
    found: dict[int, list[DeliveryAttempt]] = {number: [] for number in ids}
    if ids:
        query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(ids))
        for attempt in rows.scalars(query.order_by(DeliveryAttempt.id.desc()).limit(_MOST_ATTEMPTS)):
            if len(found[attempt.delivery_id]) < ATTEMPTS_SHOWN:
                found[attempt.delivery_id].append(attempt)
    return found
