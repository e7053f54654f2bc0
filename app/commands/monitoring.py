"""`flask interval` and `flask check`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
from flask.cli import with_appcontext

from app import checks, clock, interval, interval_saving, stored_settings
from app.checks import Policy
from app.commands.moment import Moment
from app.commands.trace import settings, who
from app.cron_client import Answer
from app.db import database
from app.interval import CronConfig
from app.interval_saving import Saved
from app.notify.cleaning import one_line

_INTERVALS = ", ".join(interval.CRON_EXPRESSIONS)


@click.command("interval", help=f"Show the check interval, or set it: {_INTERVALS}.")
@click.argument("value", required=False, metavar="[INTERVAL]")
@click.option(
    "--until", type=Moment(), help="With disabled: when the interval of before is back, as 2026-12-01T06:00Z."
)
@with_appcontext
def interval_command(value: str | None, until: datetime | None) -> None:
    if value is None:
        if until is not None:
            raise click.UsageError("--until belongs to an interval: flask interval disabled --until …")
        _show_interval(interval_saving.path())
        return
    if not interval.is_interval(value):
        raise click.BadParameter(f"{value!r} is none of {', '.join(interval.CRON_EXPRESSIONS)}")
    change = _wanted(value, until)
    saved = _save_interval(change)
    click.echo(f"Check interval: {change.in_words} (was {saved.before.in_words}).")
    is_told = isinstance(saved.answer, Answer) and saved.answer.status == 200
    click.echo(
        "In force now." if is_told else "The cron service is not running; it will obey when it starts."
    )


def _wanted(value: str, until: datetime | None) -> CronConfig:
    try:
        return interval.wanted(value, updated_by=who(), now=clock.utcnow(), disabled_until=until)
    except interval.EndRefused as problem:
        raise click.BadParameter(str(problem), param_hint="--until") from None


def _save_interval(change: CronConfig) -> Saved:
    try:
        return interval_saving.save(change)
    except OSError as problem:
        raise click.ClickException(f"{interval_saving.path()} can't be written: {problem.strerror}") from None


def _show_interval(path: Path) -> None:
    try:
        config = interval.read(path)
    except interval.IntervalFileDamaged as problem:
        raise click.ClickException(
            f"{path} is damaged: {problem}. Setting an interval repairs it, for example: flask interval 20min"
        ) from None
    except OSError as problem:
        raise click.ClickException(f"{path} can't be read: {problem.strerror}") from None
    since = f", since {config.updated_at} by {config.updated_by}" if config.updated_at else ""
    then = f", then {config.resume_interval}" if config.resume_interval else ""
    click.echo(f"Check interval: {config.in_words}{then} ({config.cron_expression}){since}.")


@click.command("check", help="Check for overdue backups now, or show what would be overdue at another time.")
@click.option("--at", "at", type=Moment(), help="The moment to decide for, for example 2026-12-01T02:00Z.")
@click.option("--dry-run", is_flag=True, help="Only show; send and store nothing.")
@with_appcontext
def check(at: datetime | None, dry_run: bool) -> None:
    policy = stored_settings.policy(database(), settings())
    if at and not dry_run:
        raise click.UsageError("--at only shows what would be overdue: add --dry-run.")
    if dry_run:
        _show_overdue(policy, at or clock.utcnow())
        return
    result = checks.run(database(), policy, clock.utcnow())
    click.echo(
        f"Checked {result.checked_jobs} of {result.total_jobs} jobs: "
        f"{result.overdue_jobs} overdue, {result.alerts} alerts recorded; the cron service delivers them."
    )


def _show_overdue(policy: Policy, at: datetime) -> None:
    found = checks.preview(database(), policy, at)
    click.echo(f"At {clock.iso(at)}, if no report came: {len(found)} overdue.")
    for server, job, verdict in found:
        why = verdict.why
        click.echo(
            f"  {one_line(job)} on {one_line(server)}: expected {why['expectedAt']} ({why['source']}), "
            f"overdue since {why['overdueAt']}, last good backup {why['lastGoodAt'] or 'never'}"
        )
