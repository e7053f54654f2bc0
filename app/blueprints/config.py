"""The check interval: its API, its form, and telling the cron service."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, flash, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy.exc import SQLAlchemyError
from wtforms import RadioField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired

from app import access, audit, clock, interval, json_body
from app.checks import TASK
from app.cron_client import Answer, CronClient, CronServiceUnavailable
from app.db import database, reason

bp = Blueprint("config", __name__)
log = logging.getLogger(__name__)

_RELOAD_SECONDS = 2.0

_LABELS = {
    "disabled": _l("Disabled: nobody is told about a missing backup"),
    "1min": _l("Every minute"),
    "5min": _l("Every 5 minutes"),
    "10min": _l("Every 10 minutes"),
    "15min": _l("Every 15 minutes"),
    "20min": _l("Every 20 minutes"),
    "30min": _l("Every 30 minutes"),
    "1hour": _l("Every hour"),
    "2hours": _l("Every 2 hours"),
}


_CHOICES = [SelectChoice(value=value, label=label) for value, label in _LABELS.items()]


class IntervalForm(FlaskForm):  # type: ignore[misc]
    interval = RadioField(_l("Check interval"), [InputRequired()], choices=_CHOICES)


@bp.url_value_preprocessor
def take_body(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Read JSON before the CSRF check does, which takes a body without the right type for a form."""
    if endpoint == "config.save_cron_config":
        json_body.take()


@bp.get("/api/cron-config")
@access.public_read
def cron_config() -> ResponseReturnValue:
    try:
        config = _reader().read()
    except (interval.IntervalFileDamaged, OSError) as problem:
        log.error("%s can't be used: %s", _path(), problem)
        return jsonify(error="Failed to get cron configuration"), 500
    return jsonify(cronExpression=config.cron_expression, enabled=config.enabled)


@bp.post("/api/cron-config")
@access.administrator
def save_cron_config() -> ResponseReturnValue:
    content = json_body.read()
    if content is None:
        return jsonify(error='The body must be a JSON object such as {"interval": "20min"}'), 400
    wanted = content.get("interval")
    if wanted is None or wanted == "":
        return jsonify(error="Interval is required"), 400
    if not interval.is_interval(wanted):
        return jsonify(error="Invalid interval", allowed=list(interval.CRON_EXPRESSIONS)), 400
    try:
        _save(wanted)
    except (OSError, SQLAlchemyError) as problem:
        log.error("%s can't be written: %s", _path(), reason(problem))
        return jsonify(error="Failed to update cron configuration"), 500
    return jsonify(success=True)


def _save(wanted: str) -> None:
    """Write the file, leave a trace, and have the running service obey it now. Raises OSError and
    SQLAlchemyError; then nothing has changed."""
    now, actor = clock.utcnow(), access.actor()
    with (
        interval.replacing(_path(), wanted, updated_by=actor, now=now) as before,
        database().writing() as rows,
    ):
        audit.note(
            rows,
            actor=actor,
            action="interval changed",
            target="check interval",
            before=before.interval,
            after=wanted,
            now=now,
            address=access.address(),
        )
    try:
        answer = _cron().post("reload-config", deadline_seconds=_RELOAD_SECONDS)
    except CronServiceUnavailable as problem:
        log.warning("the cron service was not told of the new interval: %s; it will see the file", problem)
        return
    if answer.status != 200:
        log.warning("the cron service answered %s to reload-config", answer.status)


@bp.get("/settings/monitoring")
@access.viewer
def monitoring() -> ResponseReturnValue:
    return _page(IntervalForm(interval=_current()))


@bp.post("/settings/monitoring")
@access.administrator
def save_monitoring() -> ResponseReturnValue:
    form = IntervalForm()
    if not form.validate():
        return _page(form), 400
    try:
        _save(form.interval.data)
    except (OSError, SQLAlchemyError) as problem:
        log.error("%s can't be written: %s", _path(), reason(problem))
        flash(_("The interval could not be saved; the old one stays in force."), "error")
        return _page(form), 500
    flash(_("Saved. In force: %(interval)s.", interval=_LABELS[form.interval.data]), "success")
    return redirect(url_for("config.monitoring"))


@bp.post("/settings/monitoring/check")
@access.administrator
def check_now() -> ResponseReturnValue:
    try:
        answer = _cron().post(f"trigger/{TASK}")
    except CronServiceUnavailable:
        flash(_("The cron service is not available. Please start it with: flask cron-start"), "error")
        return redirect(url_for("config.monitoring"))
    told = _told(answer)
    if answer.status == 200 and told.get("success"):
        flash(_checked(told.get("statistics", {})), "success")
    else:
        flash(_("The check failed: %(reason)s", reason=told.get("message") or told.get("error")), "error")
    return redirect(url_for("config.monitoring"))


def _checked(statistics: dict[str, Any]) -> str:
    sentence: str = _(
        "Checked %(checked)s of %(total)s jobs: %(overdue)s overdue, %(sent)s messages sent.",
        checked=statistics.get("checkedBackups", 0),
        total=statistics.get("totalBackupConfigs", 0),
        overdue=statistics.get("overdueBackupsFound", 0),
        sent=statistics.get("notificationsSent", 0),
    )
    return sentence


def _page(form: IntervalForm) -> str:
    return render_template(
        "config/monitoring.html", form=form, current=_current(), labels=_LABELS, health=_health()
    )


def _current() -> str | None:
    try:
        return _reader().read().interval
    except (interval.IntervalFileDamaged, OSError) as problem:
        log.error("%s can't be used: %s", _path(), problem)
        return None


def _health() -> dict[str, Any] | None:
    """What the cron service says of itself; None when it is not there."""
    try:
        return _told(_cron().get("health"))
    except CronServiceUnavailable:
        return None


def _told(answer: Answer) -> dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _cron() -> CronClient:
    client: CronClient = current_app.extensions["cron_client"]
    return client


def _reader() -> interval.Reader:
    reader: interval.Reader = current_app.extensions["interval"]
    return reader


def _path() -> Path:
    return Path(current_app.instance_path) / interval.FILE_NAME
