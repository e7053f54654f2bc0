"""The first page: are all backups good, and if not, which one is the worst?"""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Select, func, literal_column, select, tuple_
from sqlalchemy.orm import Session, joinedload

from app import access, channels, clock, sentences, watch
from app.checks import JOBS_TOTAL
from app.db import database
from app.models import STATE_RANKS, Job, Total

PAGE_SIZE = 50
_LARGEST_ID = 2**63 - 1
_WORST_FIRST = (Job.state_rank, Job.name, Job.id)

bp = Blueprint("dashboard", __name__)

for _filter in (
    sentences.reason,
    sentences.state_name,
    sentences.outcome_name,
    sentences.alert_name,
    sentences.delivery_name,
    sentences.reminder_name,
    sentences.origin,
    sentences.when,
):
    bp.add_app_template_filter(_filter)


@bp.get("/")
@access.viewer
def index() -> str:
    now = clock.utcnow()
    state = request.args.get("state") or None
    if state is not None and state not in STATE_RANKS:
        abort(404)
    with database().reading() as rows:
        counts = _counts(rows)
        jobs = list(rows.scalars(_page(state, request.args.get("after"))))
        checks = watch.look(rows, now)
        failing = channels.failing_channels(rows)
    shown = jobs[:PAGE_SIZE]
    return render_template(
        "dashboard/index.html",
        headline=_headline(counts),
        counts=counts,
        total=sum(counts.values()),
        jobs=shown,
        following=_position(shown[-1]) if len(jobs) > PAGE_SIZE else None,
        is_first=not request.args.get("after"),
        state=state,
        watch=checks,
        failing_channels=failing,
        address=access.settings().public_url.rstrip("/") or request.url_root.rstrip("/"),
    )


def _counts(rows: Session) -> dict[str, int]:
    """Jobs by state, the worst first, without counting the good ones row by row."""
    # The condition is spelled out: with a bound value SQLite would not take the partial index.
    not_ok = select(Job.state, func.count()).where(literal_column("state <> 'ok'")).group_by(Job.state)
    others = dict(rows.execute(not_ok).all())
    total = rows.scalar(select(Total.value).where(Total.name == JOBS_TOTAL)) or 0
    counts = {state: others.get(state, 0) for state in STATE_RANKS}
    counts["ok"] = max(0, total - sum(others.values()))
    return counts


def _page(state: str | None, after: str | None) -> Select[Job]:
    query = select(Job).options(joinedload(Job.server)).order_by(*_WORST_FIRST).limit(PAGE_SIZE + 1)
    if state is not None:
        query = query.where(Job.state_rank == STATE_RANKS[state])
    if after:
        query = query.where(tuple_(*_WORST_FIRST) > tuple_(*_read_position(after)))
    return query


def _position(job: Job) -> str:
    return f"{job.state_rank}.{job.id}.{job.name}"


def _read_position(text: str) -> tuple[int, str, int]:
    rank, _dot, rest = text.partition(".")
    number, dot, name = rest.partition(".")
    known = rank.isdecimal() and number.isdecimal() and dot and len(rank) == 1
    if not known or "\0" in name or len(number) > 19 or int(number) > _LARGEST_ID:
        abort(404)
    return int(rank), name, int(number)


def _headline(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return str(_("No backup has reported yet"))
    if counts["ok"] == total:
        return str(ngettext("Your backup is good", "All %(num)s backups are good", total))
    told = [
        ngettext("%(num)s overdue", "%(num)s overdue", counts["overdue"]) if counts["overdue"] else "",
        ngettext("%(num)s failing", "%(num)s failing", counts["failed"]) if counts["failed"] else "",
        ngettext("%(num)s late", "%(num)s late", counts["late"]) if counts["late"] else "",
        ngettext("%(num)s new", "%(num)s new", counts["new"]) if counts["new"] else "",
        ngettext("%(num)s paused", "%(num)s paused", counts["paused"]) if counts["paused"] else "",
        ngettext("%(num)s good", "%(num)s good", counts["ok"]) if counts["ok"] else _("none good"),
    ]
    return ", ".join(filter(None, told))
