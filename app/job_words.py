"""What the page of a job says: what to do now, by which schedule it is watched, and where its figures go."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app import formats, schedule_forms, schedule_sentences, sentences
from app.figures import Course, courses
from app.job_history import Series
from app.models import Job, JobSchedule
from app.presentation import duration, size

RANGES = {"30": _l("30 days"), "90": _l("90 days"), "365": _l("One year"), "all": _l("All")}
_SPANS = {"30": _l("in 30 days"), "90": _l("in 90 days"), "365": _l("in one year"), "all": _l("in all")}
_STEADY = 0.005
_STOPPED = ("Interrupted", "Partial")


@dataclass(frozen=True, slots=True)
class Chart:
    """`figures` are columns of the series; the summary says in words what the picture shows."""

    name: str
    title: str
    unit: str  # "seconds", "bytes" or "count"
    style: str  # "line" or "bars"
    figures: tuple[tuple[str, str], ...]
    summary: str


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


def advice(job: Job) -> list[str]:
    """What to do now, in the order in which it helps most often; empty where nothing is to be done."""
    server = job.server.name
    if job.state == "overdue":
        if job.last_run_good is False:
            return _after_failure(job, server)
        return [
            _("See whether %(server)s is switched on and Duplicati is running there.", server=server),
            _("In Duplicati, look whether the backup ran: a script before it may have stopped it silently."),
            _("If it ran, its report got lost: check the address Duplicati sends its reports to."),
            _("Start the backup by hand; its report ends this state."),
        ]
    if job.state == "failed":
        return _after_failure(job, server)
    if job.state == "late":
        return [_("Nothing yet: it may be running still. You are told if it becomes overdue.")]
    if job.state == "new" and job.last_ended_at is None:
        return [_("Nothing yet: its first good report ends this state.")]
    return []


def _after_failure(job: Job, server: str) -> list[str]:
    again = _("Start the backup again by hand; a good report ends this state.")
    if job.last_outcome in _STOPPED:
        return [
            _("Somebody or something stopped the run on %(server)s before its end.", server=server),
            again,
        ]
    return [
        _("Read the error in the report of the last run and mend its cause on %(server)s.", server=server),
        again,
    ]


def schedule_words(row: JobSchedule) -> str:
    """`Every day at 22:00, Europe/Paris`; as it is stored where that can't be used any more."""
    schedule = schedule_forms.schedule_of(row)
    if schedule is None:
        return f"{row.repeat}, {row.zone}"
    return f"{schedule_sentences.describe(schedule)}, {row.zone}"


def in_force(job: Job) -> JobSchedule | None:
    """The schedule the next run is expected by, where it is one that is stored."""
    return next((each for each in job.schedules if each.source == job.expected_source), None)


def source_words(job: Job) -> str:
    """On whose word the next run is expected, in a sentence."""
    told = {
        "declared": _("Duplicati itself says with each report when the next run is due."),
        "collected": _("The schedule was read from the Duplicati server."),
        "typed": _("The schedule was entered here."),
        "default": _("Nobody has given a schedule yet: one run a day is assumed from its reports."),
    }
    return told.get(job.expected_source or "", _("Nothing is known of its schedule yet."))


def charts(series: Series, days: str) -> list[Chart]:
    """Those for which any good run has told a figure."""
    span = str(_SPANS[days])
    found = courses(series.points)
    sizes = [("examined_bytes", _("Source")), ("stored_bytes", _("Stored"))]
    all_charts = [
        Chart(
            "duration",
            _("Duration"),
            "seconds",
            "line",
            (("duration_seconds", _("Duration")),),
            _duration(found["duration_seconds"]),
        ),
        Chart("size", _("Size"), "bytes", "line", tuple(sizes), _sizes(found, span)),
        Chart(
            "uploaded",
            _("Uploaded"),
            "bytes",
            "bars",
            (("uploaded_bytes", _("Uploaded")),),
            _uploaded(found["uploaded_bytes"], span),
        ),
        Chart(
            "files",
            _("Files"),
            "count",
            "line",
            (("examined_files", _("Files")),),
            _counted(found["examined_files"], span),
        ),
        Chart(
            "versions",
            _("Versions"),
            "count",
            "line",
            (("versions", _("Versions")),),
            _counted(found["versions"], span),
        ),
    ]
    return [each for each in all_charts if each.summary]


def _duration(told: Course | None) -> str:
    if told is None:
        return ""
    return _(
        "Usually %(middle)s; from %(smallest)s to %(largest)s.",
        middle=duration(told.middle),
        smallest=duration(told.smallest),
        largest=duration(told.largest),
    )


def _sizes(found: dict[str, Course | None], span: str) -> str:
    source, stored = found["examined_bytes"], found["stored_bytes"]
    told = []
    if source:
        told.append(
            _("Source %(size)s, %(change)s.", size=size(int(source.last)), change=_change(source, span))
        )
    if stored:
        told.append(
            _("Stored %(size)s, %(change)s.", size=size(int(stored.last)), change=_change(stored, span))
        )
    return " ".join(told)


def _uploaded(told: Course | None, span: str) -> str:
    if told is None:
        return ""
    values = {"middle": size(int(told.middle)), "total": size(int(told.total)), "span": span}
    return _("Usually %(middle)s a run; %(total)s %(span)s.", **values)


def _counted(told: Course | None, span: str) -> str:
    if told is None:
        return ""
    return _("%(count)s, %(change)s.", count=sentences.count(int(told.last)), change=_change(told, span))


def _change(told: Course, span: str) -> str:
    if told.change is None:
        return _("nothing to compare with yet")
    if abs(told.change) < _STEADY:
        return _("unchanged %(span)s", span=span)
    percent = formats.percent(abs(told.change))
    if told.change > 0:
        return _("up %(percent)s %(span)s", percent=percent, span=span)
    return _("down %(percent)s %(span)s", percent=percent, span=span)
