"""The audit log: who did what, filtered, page by page or as a file."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, Response, render_template, request
from flask_babel import gettext as _

from app import access, audit_csv, audit_search, audit_words, clock, key_forms
from app.audit_search import Filter
from app.db import database

_LARGEST_ID = 2**63 - 1
_FIELDS = ("actor", "action", "target", "from", "to")
_LONGEST = 200

bp = Blueprint("audit_log", __name__, url_prefix="/settings/audit")
bp.add_app_template_filter(audit_words.action_name)


@bp.get("")
@access.administrator
def index() -> tuple[str, int]:
    given = _given()
    wanted, wrong = _read(given)
    before = request.args.get("before", type=int)
    if before is not None:
        before = max(0, min(before, _LARGEST_ID))
    with database().reading() as rows:
        found = audit_search.look(rows, wanted, before)
        known = audit_search.known(rows)
    kept = {name: value for name, value in given.items() if value}
    page = render_template(
        "audit_log/index.html",
        found=found,
        known=known,
        given=given,
        kept=kept,
        wrong=wrong,
        is_first=before is None,
        read_limit=audit_search.READ_LIMIT,
    )
    return page, 400 if wrong else 200


@bp.get("/export.csv")
@access.administrator
def export() -> Response:
    """All that fits the filter; a date that is none filters nothing, as on the page."""
    wanted, _wrong = _read(_given())
    lines = audit_csv.lines(audit_search.every(database(), wanted))
    name = f"veilleur-audit-{clock.utcnow():%Y%m%dT%H%M%SZ}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(lines, content_type="text/csv; charset=utf-8", headers=headers)


def _given() -> dict[str, str]:
    return {name: request.args.get(name, "").replace("\0", "").strip()[:_LONGEST] for name in _FIELDS}


def _read(given: dict[str, str]) -> tuple[Filter, dict[str, str]]:
    """What to look for, and what is wrong with the fields that can't be read."""
    wrong: dict[str, str] = {}
    first, last = _day(given, "from", wrong), _day(given, "to", wrong)
    if first and last and last < first:
        wrong["to"] = _("Expected: the same day as in the field before, or a later one.")
    wanted = Filter(
        actor=given["actor"],
        action=given["action"],
        target=given["target"],
        from_at=key_forms.day_begin(first) if first else None,
        until_at=key_forms.day_end(last) if last else None,
    )
    return wanted, wrong


def _day(given: dict[str, str], name: str, wrong: dict[str, str]) -> date | None:
    try:
        return date.fromisoformat(given[name]) if given[name] else None
    except ValueError:
        wrong[name] = _("Expected: a day such as 2026-11-23.")
        return None
