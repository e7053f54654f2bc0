"""`flask demo`."""

from __future__ import annotations

import sys
from datetime import datetime

import click
from flask import current_app
from flask.cli import with_appcontext

from app import clock, stored_settings
from app.commands.moment import Moment
from app.commands.trace import settings
from app.cron_client import CronClient, CronServiceUnavailable
from app.db import database
from app.demo import installation
from app.demo.installation import Demo, Refused, Size


@click.command(
    "demo",
    help="Fill an empty installation with made-up backups, to try things out.\n\nNever on a real one: the "
    "servers, the alerts and the history are all invented. Nothing of it is sent; its channels are off.",
)
@click.option(
    "--servers", type=click.IntRange(1, 500), default=20, show_default=True, help="How many machines."
)
@click.option("--jobs", type=click.IntRange(1, 50), default=3, show_default=True, help="Backups of each.")
@click.option("--days", type=click.IntRange(2, 1000), default=120, show_default=True, help="How far back.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another number, another history.")
@click.option("--now", "now", type=Moment(), help="The moment it ends at, such as 2026-12-01T09:00Z.")
@click.option("--force", is_flag=True, help="Even if there are backup jobs already.")
@with_appcontext
def demo(servers: int, jobs: int, days: int, seed: int, now: datetime | None, force: bool) -> None:
    _refuse_beside_the_service()
    try:
        installation.refuse_if_used(database(), force=force)
    except Refused as problem:
        raise click.ClickException(str(problem)) from None
    made = Demo(Size(servers, jobs, days, seed), now or clock.utcnow())
    policy = stored_settings.policy(database(), settings())
    with click.progressbar(length=len(made.runs), label="Taking in reports", file=sys.stderr) as bar:
        guest = made.fill(database(), policy, lambda: bar.update(1))
    click.echo(f"Filled with {servers * jobs} jobs of {servers} servers and {len(made.runs)} reports.")
    if guest:
        click.echo(f"The viewer {guest.username} may log in with the password {guest.password}")


def _refuse_beside_the_service() -> None:
    """Its checks would take the past that is being written for the present."""
    client: CronClient = current_app.extensions["cron_client"]
    try:
        client.get("health")
    except CronServiceUnavailable:
        return
    raise click.ClickException(
        "The cron service is running. Stop it first, and start it when the demo is made."
    )
