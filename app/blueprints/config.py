"""The check interval: its API, its form, and telling the cron service."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy.exc import SQLAlchemyError
from wtforms import DateTimeLocalField, RadioField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Optional

from app import (
    access,
    clock,
    interval,
    interval_saving,
    json_body,
    run_sentences,
    service_health,
    setting_forms,
    task_runs,
    watch,
)
from app import channels as channel_states
from app.checks import TASK
from app.cron_client import CronServiceUnavailable
from app.db import database, reason
from app.job_forms import LOCAL_FORMATS, in_zone
from app.presentation import INTERVALS
from app.sentences import translated
from app.setting_forms import GlobalReminderForm, GlobalToleranceForm, GroupLimitForm

bp = Blueprint("config", __name__)
log = logging.getLogger(__name__)

_LARGEST_ID = 2**63 - 1

for _filter in (
    run_sentences.task_name,
    run_sentences.cause_name,
    run_sentences.run_outcome,
    run_sentences.strip_words,
):
    bp.add_app_template_filter(_filter)
bp.add_app_template_filter(run_sentences.result, "run_result")

_CHOICES = [SelectChoice(value=value, label=label) for value, label in INTERVALS.items()]


class IntervalForm(FlaskForm):  # type: ignore[misc]
    interval = RadioField(_l("Check interval"), [InputRequired()], choices=_CHOICES)
    until = DateTimeLocalField(
        _l("Disabled until (empty: without an end)"), [Optional()], format=LOCAL_FORMATS
    )

    def until_at(self) -> datetime | None:
        """An end that was left in the form means nothing to the other intervals."""
        if self.interval.data != interval.DISABLED or not self.until.data:
            return None
        return in_zone(self.until.data, access.timezone())


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
        log.error("%s can't be used: %s", interval_saving.path(), problem)
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
        _save(wanted, _end_of_disabled(content.get("until")))
    except interval.EndRefused as problem:
        return jsonify(error="Invalid until", field="until", message=f"until: {problem}"), 400
    except (OSError, SQLAlchemyError) as problem:
        log.error("%s can't be written: %s", interval_saving.path(), reason(problem))
        return jsonify(error="Failed to update cron configuration"), 500
    return jsonify(success=True)


def _end_of_disabled(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        return clock.from_iso(value)  # type: ignore[arg-type]  # what is no text is refused by it
    except (TypeError, ValueError):
        raise interval.EndRefused("a time with its zone is needed, such as 2026-12-01T06:00Z") from None


def _save(wanted: str, until: datetime | None) -> None:
    """Write the file, leave a trace, and have the running service obey it now.

    Raises EndRefused for a wrong end of a disabled time, OSError and SQLAlchemyError; then nothing
    has changed.
    """
    change = interval.wanted(wanted, updated_by=access.actor(), now=clock.utcnow(), disabled_until=until)
    answer = interval_saving.save(change, access.address()).answer
    if isinstance(answer, CronServiceUnavailable):
        log.warning("the cron service was not told of the new interval: %s; it will see the file", answer)
    elif answer.status != 200:
        log.warning("the cron service answered %s to reload-config", answer.status)


@bp.get("/settings/monitoring")
@access.viewer
def monitoring() -> ResponseReturnValue:
    return _page(_filled_interval_form())


def _filled_interval_form() -> IntervalForm:
    config = watch.configured()
    ends_at = config.disabled_until if config and not config.enabled else None
    local = ends_at.astimezone(ZoneInfo(access.timezone())) if ends_at else None
    return IntervalForm(formdata=None, interval=config and config.interval, until=local)


@bp.post("/settings/monitoring")
@access.administrator
def save_monitoring() -> ResponseReturnValue:
    form = IntervalForm()
    if not form.validate():
        return _page(form), 400
    try:
        _save(form.interval.data, form.until_at())
    except interval.EndRefused as problem:
        form.until.errors = [_("This end can't be used: %(reason)s.", reason=translated(problem))]
        return _page(form), 400
    except (OSError, SQLAlchemyError) as problem:
        log.error("%s can't be written: %s", interval_saving.path(), reason(problem))
        flash(_("The interval could not be saved; the old one stays in force."), "error")
        return _page(form), 500
    flash(_("Saved. In force: %(interval)s.", interval=INTERVALS[form.interval.data]), "success")
    return redirect(url_for("config.monitoring"))


@bp.post("/settings/monitoring/tolerance")
@access.administrator
def save_tolerance() -> ResponseReturnValue:
    return _save_setting("tolerance", GlobalToleranceForm())


@bp.post("/settings/monitoring/reminder")
@access.administrator
def save_reminder() -> ResponseReturnValue:
    return _save_setting("reminder", GlobalReminderForm())


@bp.post("/settings/monitoring/grouping")
@access.administrator
def save_grouping() -> ResponseReturnValue:
    return _save_setting("grouping", GroupLimitForm())


def _save_setting(
    name: str, form: GlobalToleranceForm | GlobalReminderForm | GroupLimitForm
) -> ResponseReturnValue:
    if not form.validate_unlocked():
        return _page(_filled_interval_form(), {name: form}), 400
    if setting_forms.save(form.chosen()):
        flash(_("Saved. It is in force now, and for every job that has no setting of its own."), "success")
    else:
        flash(_("Nothing has changed."), "message")
    return redirect(url_for("config.monitoring"))


@bp.post("/settings/monitoring/check")
@access.administrator
def check_now() -> ResponseReturnValue:
    try:
        answer = service_health.client().post(f"trigger/{TASK}")
    except CronServiceUnavailable:
        flash(_("The cron service is not available. Please start it with: flask cron-start"), "error")
        return redirect(url_for("config.monitoring"))
    told = service_health.told(answer)
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


def _page(form: IntervalForm, refused: dict[str, FlaskForm] | None = None) -> str:
    """With `refused`, that form says what was wrong with it."""
    config, now = watch.configured(), clock.utcnow()
    task, before = _history_wanted()
    with database().reading() as rows:
        checks = watch.look(rows, now)
        failing = channel_states.failing_channels(rows)
        channels_count = channel_states.count(rows)
        runs = task_runs.history(rows, now, task, before)
        strip = task_runs.strip(rows, now, TASK)
    shown = runs[: task_runs.PAGE_SIZE]
    return render_template(
        "config/monitoring.html",
        form=form,
        current=config and config.interval,
        labels=INTERVALS,
        watch=checks,
        health=service_health.ask(),
        forms=setting_forms.filled_forms() | (refused or {}),
        channels_count=channels_count,
        failing=failing,
        runs=shown,
        following=shown[-1].row.id if len(runs) > len(shown) else None,
        is_first=before is None,
        only_task=task,
        tasks=run_sentences.TASKS,
        strip=strip,
    )


def _history_wanted() -> tuple[str | None, int | None]:
    task, before = request.args.get("task") or None, request.args.get("before", type=int)
    if task is not None and task not in run_sentences.TASKS:
        abort(404)
    return task, None if before is None else max(0, min(before, _LARGEST_ID))


def _reader() -> interval.Reader:
    reader: interval.Reader = current_app.extensions["interval"]
    return reader
