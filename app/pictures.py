"""Small pictures of a job's last runs, drawn here as SVG: a mark for each run, and how its size has moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date

from flask_babel import get_timezone, ngettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from markupsafe import Markup, escape

from app import formats
from app.history import RUNS_SHOWN, Run
from app.presentation import size

GOOD, WARNING, FAILED, CUT_SHORT, TRIAL = "good", "warning", "failed", "cut", "trial"
# The ids of the shapes, as templates/dashboard/shapes.html draws them; short, for they come by the hundred.
SHAPES = {GOOD: "rg", WARNING: "rw", FAILED: "rf", CUT_SHORT: "rc", TRIAL: "rt"}
_STEP = 10
_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_MARGIN = 84, 22, 2

_NAMES = {
    GOOD: _l("good"),
    WARNING: _l("good, with warnings"),
    FAILED: _l("failed"),
    CUT_SHORT: _l("cut short"),
    TRIAL: _l("trial run"),
}
_COUNTED: dict[str, Callable[[int], str]] = {
    GOOD: lambda number: str(ngettext("%(num)s good", "%(num)s good", number)),
    WARNING: lambda number: str(ngettext("%(num)s with warnings", "%(num)s with warnings", number)),
    FAILED: lambda number: str(ngettext("%(num)s failed", "%(num)s failed", number)),
    CUT_SHORT: lambda number: str(ngettext("%(num)s cut short", "%(num)s cut short", number)),
    TRIAL: lambda number: str(ngettext("%(num)s trial run", "%(num)s trial runs", number)),
}


def kind(run: Run) -> str:
    """How a run went, for the mark that stands for it."""
    if run.dry_run:
        return TRIAL
    if run.good:
        return WARNING if run.outcome == "Warning" else GOOD
    return CUT_SHORT if run.interrupted or run.partial else FAILED


def summary(runs: Sequence[Run]) -> str:
    """The strip in words: `Last 14 runs: 12 good, 1 with warnings, 1 failed`."""
    numbers = Counter(kind(run) for run in runs)
    told = ", ".join(_COUNTED[each](numbers[each]) for each in SHAPES if numbers[each])
    return str(ngettext("Last run: %(told)s", "Last %(num)s runs: %(told)s", len(runs), told=told))


class Labels:
    """What the mark of a run says: its time and how it went. The words of a day are made once a page."""

    def __init__(self) -> None:
        self._zone = get_timezone()
        self._days: dict[date, str] = {}
        self._names = {each: str(escape(str(name))) for each, name in _NAMES.items()}

    def of(self, run: Run, went: str) -> str:
        """Safe to stand in a page as it is."""
        local = run.ended_at.astimezone(self._zone)
        day = self._days.get(local.date())
        if day is None:
            day = self._days[local.date()] = str(escape(formats.day(local.date())))
        return f"{day}, {local.hour:02}:{local.minute:02}: {self._names[went]}"


def strip(runs: Sequence[Run], labels: Labels) -> Markup:
    """A mark for each run, the newest at the right; colour and shape both tell how it went."""
    first = RUNS_SHOWN - len(runs)
    marks = []
    for place, run in enumerate(runs, first):
        went = kind(run)
        title = f"<title>{labels.of(run, went)}</title>"
        marks.append(f'<use href="#{SHAPES[went]}" x="{place * _STEP}">{title}</use>')
    shape = Markup('<svg class="runs" width="{}" height="20" role="img" aria-label="{}">{}</svg>')
    # Nothing in the marks comes from outside.
    return shape.format(RUNS_SHOWN * _STEP, summary(runs), Markup("".join(marks)))  # noqa: S704


def sizes(runs: Sequence[Run]) -> list[int]:
    """What the good runs told: the size at the destination, or else of the source; never a mixture."""
    good = [run for run in runs if run.good]
    stored = [run.stored_bytes for run in good if run.stored_bytes is not None]
    return stored or [run.examined_bytes for run in good if run.examined_bytes is not None]


def sparkline(runs: Sequence[Run]) -> Markup:
    """How the size has moved over these runs; empty where fewer than two tell of it."""
    values = sizes(runs)
    if len(values) < 2:
        return Markup()
    span = {"first": size(values[0]), "last": size(values[-1])}
    told = _("Size over the last runs: from %(first)s to %(last)s", **span)
    line = Markup('<svg class="spark" width="{}" height="{}" role="img" aria-label="{}"><path d="{}"/></svg>')
    return line.format(_SPARK_WIDTH, _SPARK_HEIGHT, told, _path(values))


def _path(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    across = (_SPARK_WIDTH - 2 * _SPARK_MARGIN) / (len(values) - 1)
    # A change of less than a hundredth is no cliff: the scale never shows less than that.
    span = max(high - low, high * 0.01, 1)
    middle = (high + low) / 2
    room = _SPARK_HEIGHT - 2 * _SPARK_MARGIN
    points = (
        f"{_SPARK_MARGIN + place * across:.0f} {_SPARK_MARGIN + room * (0.5 - (value - middle) / span):.0f}"
        for place, value in enumerate(values)
    )
    return "M" + "L".join(points)
