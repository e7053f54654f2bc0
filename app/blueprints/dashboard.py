"""The first page: are all backups good, and if not: which one, since when, why, and what to do?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from app import (
    access,
    channels,
    clock,
    first_steps,
    glance,
    history,
    maintenance,
    overview,
    pictures,
    sentences,
    watch,
)
from app.accounts import Identity
from app.db import database
from app.overview import ATTENTION, BY_SERVER, SERVERS, TABLE, WORST, BadQuery, Query

_LARGEST_ID = 2**63 - 1
_KEPT = ("q", "state", "server")

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


@dataclass(frozen=True, slots=True)
class Address:
    """Makes the links of the page: what was asked for, with something else in its place."""

    query: Query
    usual_sort: str

    def __call__(self, **other: str | int | None) -> str:
        """A link without the position, which holds for one order and one choice only."""
        asked = self.query
        values: dict[str, Any] = {
            "q": asked.words,
            "state": asked.state,
            "server": asked.server_id,
            "sort": "" if asked.sort == self.usual_sort else asked.sort,
            **other,
        }
        return url_for("dashboard.index", **{name: each for name, each in values.items() if each})


@bp.get("/")
@access.viewer
def index() -> str:
    identity = access.identity()
    layout = identity.layout if identity.layout in overview.LAYOUTS else TABLE
    try:
        query = _asked(layout)
        with database().reading() as rows:
            content = _content(rows, query, layout, identity)
    except BadQuery:
        abort(404, _("This address asks for a search, state, server, order or page that does not exist."))
    return render_template("dashboard/index.html", **content)


def _asked(layout: str) -> Query:
    asked = request.args
    server = asked.get("server", "")
    is_number = server.isascii() and server.isdecimal() and len(server) < 20
    if server and not (is_number and int(server) <= _LARGEST_ID):
        raise BadQuery("server")
    return Query(
        state=asked.get("state", ""),
        server_id=int(server) if server else None,
        words=asked.get("q", "").strip(),
        sort=(asked.get("sort", "") or WORST) if layout == TABLE else BY_SERVER,
        after=asked.get("after", ""),
    )


def _content(rows: Session, query: Query, layout: str, identity: Identity) -> dict[str, object]:
    now = clock.utcnow()
    windows = maintenance.under_way(rows, now)
    counts, checks = overview.counts(rows), watch.look(rows, now)
    total = sum(counts.values())
    offered, server = overview.servers(rows, query.server_id)
    page = overview.page(rows, query)
    # Where jobs stand by their servers, those that need somebody come first.
    urgent = overview.Page((), "")
    if layout == SERVERS and not (query.after or query.state or query.is_narrowed):
        urgent = overview.page(rows, Query(state=ATTENTION), overview.ATTENTION_SHOWN)
    shown = {job.id for job in (*urgent.jobs, *page.jobs)}
    return {
        "headline": glance.headline(counts, checks),
        "sign": glance.sign(counts, checks),
        "freshness": glance.freshness(checks),
        "watch": checks,
        "failing_channels": channels.failing_channels(rows),
        "counts": counts,
        "urgent_total": sum(counts[each] for each in overview.ATTENTION_STATES),
        "total": total,
        "query": query,
        "layout": layout,
        "address": Address(query, BY_SERVER if layout == SERVERS else WORST),
        "servers": offered,
        "server": server,
        "page": page,
        "urgent": urgent,
        "groups": overview.by_server(page.jobs) if layout == SERVERS else (),
        "runs": history.last_runs(rows, sorted(shown)),
        "windows": windows,
        "serviced": glance.maintenance_of_all(windows),
        "steps": first_steps.look(rows, identity, total) if identity.is_administrator else None,
        "installation": access.settings().public_url.rstrip("/") or request.url_root.rstrip("/"),
        "labels": pictures.Labels(),
        **_DRAWN,
    }


_DRAWN: dict[str, Callable[..., object]] = {
    "strip": pictures.strip,
    "sparkline": pictures.sparkline,
    "sizes": pictures.sizes,
    "lasts": glance.lasts,
    "advice": glance.advice,
    "acknowledgement": glance.acknowledgement,
    "maintenance_of": glance.maintenance_of,
}


@bp.post("/layout")
@access.viewer
def layout() -> ResponseReturnValue:
    """The chosen layout is remembered for this user; the search is kept."""
    chosen = request.form.get("layout", "")
    if chosen not in overview.LAYOUTS:
        abort(400, _("Choose one of the layouts: a table, or grouped by server."))
    with database().writing() as rows:
        overview.keep_layout(rows, access.identity().user_id, chosen)
    kept: dict[str, Any] = {name: request.form[name] for name in _KEPT if request.form.get(name)}
    return redirect(url_for("dashboard.index", **kept))
