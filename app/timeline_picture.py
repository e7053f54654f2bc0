"""The picture of what a job was expected to do, what it did, and the time now, in the viewer's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask_babel import get_timezone, ngettext
from flask_babel import gettext as _

from app import formats, sentences, timeline
from app.deadline import Span, allow
from app.models import Job, Report
from app.presentation import moment
from app.timeline import Axis, Label, Placed, Tick

RUNS_SHOWN = 8
NARROW, WIDE = 288.0, 620.0
MARK_WIDTH = 18.0
_TICK_WIDTHS = {"hour": 48.0, "day": 62.0, "month": 70.0}


@dataclass(frozen=True, slots=True)
class Band:
    kind: str
    share: float
    width: float
    name: str


@dataclass(frozen=True, slots=True)
class Mark:
    kind: str
    share: float
    name: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The parts that differ between a narrow and a wide screen."""

    size: str
    labels: Sequence[Placed]
    ticks: Sequence[tuple[Tick, str]]
    marks: Sequence[Mark]
    lanes: int


@dataclass(frozen=True, slots=True)
class Picture:
    title: str
    description: str
    bands: Sequence[Band]
    now: float
    drawings: Sequence[Drawing]
    legend: Sequence[tuple[str, str]]
    is_stretched: bool


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when a job may stay silent: by its tolerance, and as maintenance or our own downtime moved it."""

    plain_at: datetime | None
    moved_at: datetime | None

    @property
    def at(self) -> datetime | None:
        return self.moved_at or self.plain_at


def deadline_of(job: Job, tolerance_seconds: int, maintenance: Sequence[Span]) -> Deadline:
    """The deadline in force; one that people were told of stays."""
    if job.expected_at is None or job.until_at is None:
        return Deadline(None, None)
    plain_at = job.until_at + timedelta(seconds=tolerance_seconds)
    if job.state == "overdue":
        return Deadline(plain_at, job.state_since_at if job.state_since_at > plain_at else None)
    moved = allow(job.expected_at, plain_at, maintenance, (), 0)
    told_at = _told_deadline(job)
    later = [at for at in (moved.deadline_at if moved else None, told_at) if at and at > plain_at]
    return Deadline(plain_at, max(later, default=None))


def _told_deadline(job: Job) -> datetime | None:
    """What the last check decided on, if that was about the same expected run."""
    why = job.why if isinstance(job.why, dict) else {}
    same = sentences.when(why.get("expectedAt")) == job.expected_at
    return sentences.when(why.get("overdueAt")) if same and job.state in ("late", "failed") else None


def draw(
    job: Job, runs: Sequence[Report], deadline: Deadline, maintenance: Sequence[Span], now: datetime
) -> Picture:
    """`runs` are the newest ones, in any order."""
    shown = sorted(runs, key=lambda run: run.ended_at)[-RUNS_SHOWN:]
    line = timeline.axis(_instants(job, shown, deadline, now))
    bands = _bands(job, line, deadline, maintenance, now)
    marks = [_mark(run, line) for run in shown]
    if job.last_good_at and not any(run.good and run.ended_at == job.last_good_at for run in shown):
        name = _("Good: %(time)s", time=moment(job.last_good_at))
        marks.insert(0, Mark("good", line.share(job.last_good_at), name))
    labels = _labels(job, shown, line, deadline, now)
    kinds = {each.kind for each in bands} | {each.kind for each in marks}
    return Picture(
        title=_("Timeline of %(name)s", name=job.name),
        description=_description(job, shown, deadline, now),
        bands=bands,
        now=line.share(now),
        drawings=[_drawing(name, labels, line, marks, width) for name, width in _SIZES],
        legend=[(kind, name) for kind, name in _legend() if kind in kinds],
        is_stretched=line.is_stretched,
    )


_SIZES = (("narrow", NARROW), ("wide", WIDE))


def _instants(job: Job, runs: Sequence[Report], deadline: Deadline, now: datetime) -> list[datetime]:
    found = [now, *(run.ended_at for run in runs[:1])]
    if job.last_good_at:
        found.append(job.last_good_at)
    elif not runs:
        found.append(job.created_at)
    if job.state == "paused":
        found += [at for at in (job.paused_at, job.paused_until_at) if at]
    else:
        found += [at for at in (job.expected_at, job.until_at, deadline.plain_at, deadline.moved_at) if at]
    if job.state == "failed" and runs:
        found.append(runs[-1].ended_at)
    latest_at = max(found)
    # Something has to lie ahead, or the end would look like an edge.
    return [*found, latest_at + max((latest_at - min(found)) / 20, timedelta(minutes=1))]


def _bands(
    job: Job, line: Axis, deadline: Deadline, maintenance: Sequence[Span], now: datetime
) -> list[Band]:
    def band(kind: str, began_at: datetime, ended_at: datetime, name: str) -> Band:
        left, right = line.share(began_at), line.share(ended_at)
        span = _("%(name)s: %(start)s to %(end)s", name=name, start=moment(began_at), end=moment(ended_at))
        return Band(kind, left, right - left, span)

    if job.state == "paused":
        ended_at = job.paused_until_at or line.instants[-1]
        return [band("paused", job.paused_at or now, ended_at, _("Paused"))]
    found = []
    if job.expected_at and job.until_at and job.until_at > job.expected_at:
        found.append(band("expected", job.expected_at, job.until_at, _("Expected")))
    if job.until_at and deadline.plain_at and deadline.at:
        if deadline.plain_at > job.until_at:
            found.append(band("tolerance", job.until_at, deadline.plain_at, _("Tolerance")))
        if deadline.moved_at:
            found.append(band("moved", deadline.plain_at, deadline.moved_at, _("Longer by leave")))
        if now > deadline.at:
            found.append(band("overdue", deadline.at, now, _("Overdue")))
    for span in maintenance:
        if span.ended_at > line.instants[0] and span.began_at < line.instants[-1]:
            found.append(band("maintenance", span.began_at, span.ended_at, _("Maintenance")))
    return found


def _mark(run: Report, line: Axis) -> Mark:
    values = {"outcome": sentences.outcome_name(run.outcome), "time": moment(run.ended_at)}
    if run.dry_run:
        return Mark("dry", line.share(run.ended_at), _("Dry run: %(time)s", time=values["time"]))
    if run.good:
        return Mark("good", line.share(run.ended_at), _("Good (%(outcome)s): %(time)s", **values))
    return Mark("failed", line.share(run.ended_at), _("Not good (%(outcome)s): %(time)s", **values))


def _labels(job: Job, runs: Sequence[Report], line: Axis, deadline: Deadline, now: datetime) -> list[Label]:
    found: list[tuple[str, str, datetime]] = [("now", _("Now"), now)]
    if job.last_good_at:
        found.append(("good", _("Last good"), job.last_good_at))
    elif not runs:
        found.append(("begin", _("First seen"), job.created_at))
    if runs and not runs[-1].good and not runs[-1].dry_run:
        found.append(("failed", _("Last run"), runs[-1].ended_at))
    if job.state == "paused":
        if job.paused_until_at:
            found.append(("paused", _("Paused until"), job.paused_until_at))
    elif job.expected_at and job.until_at:
        found.append(("expected", _("Expected"), job.expected_at))
        if deadline.at and deadline.at > job.until_at:
            name = _("Overdue since") if now > deadline.at else _("Overdue from")
            found.append(("overdue", name, deadline.at))
    return [Label(kind, line.share(at), (name, formats.brief(at, now))) for kind, name, at in found]


def _drawing(size: str, labels: Sequence[Label], line: Axis, marks: Sequence[Mark], width: float) -> Drawing:
    placed = timeline.place(labels, width)
    least = max(_TICK_WIDTHS.values()) / width * 100
    ticks = [each for each in timeline.ticks(line, viewer_zone(), least) if _fits(each, width)]
    kept = timeline.apart([(each.share, each.kind == "failed") for each in marks], MARK_WIDTH / width * 100)
    return Drawing(
        size=size,
        labels=placed,
        ticks=[(each, formats.tick(each.at, each.unit)) for each in ticks],
        marks=[marks[number] for number in kept],
        lanes=timeline.lanes(placed),
    )


def _fits(tick: Tick, width: float) -> bool:
    half = _TICK_WIDTHS[tick.unit] / 2 / width * 100
    return half <= tick.share <= 100 - half


def viewer_zone() -> ZoneInfo:
    return ZoneInfo(str(get_timezone()))


def _legend() -> list[tuple[str, str]]:
    return [
        ("good", _("good run")),
        ("failed", _("run that was not good")),
        ("dry", _("dry run")),
        ("expected", _("expected in this time")),
        ("tolerance", _("tolerance")),
        ("moved", _("longer because of maintenance or because no report could be taken")),
        ("maintenance", _("maintenance")),
        ("overdue", _("overdue")),
        ("paused", _("paused")),
    ]


def _description(job: Job, runs: Sequence[Report], deadline: Deadline, now: datetime) -> str:
    told = [_("Now: %(time)s.", time=moment(now))]
    if job.last_good_at:
        told.append(_("Last good backup: %(time)s.", time=moment(job.last_good_at)))
    if job.state == "paused":
        until_at = job.paused_until_at
        told.append(_("Paused until %(time)s.", time=moment(until_at)) if until_at else _("Paused."))
    elif job.expected_at:
        told.append(_("Next run expected: %(time)s.", time=moment(job.expected_at)))
        if deadline.at:
            told.append(_("Overdue from: %(time)s.", time=moment(deadline.at)))
    good = sum(run.good for run in runs)
    failed = sum(not run.good and not run.dry_run for run in runs)
    told.append(ngettext("%(num)s good run is shown,", "%(num)s good runs are shown,", good))
    told.append(ngettext("and %(num)s that was not good.", "and %(num)s that were not good.", failed))
    return " ".join(told)
