"""`flask maintenance`."""

from __future__ import annotations

from datetime import datetime

import click
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock, maintenance
from app.commands.moment import Moment
from app.commands.row_number import ROW_NUMBER
from app.commands.trace import note, settings
from app.db import database
from app.maintenance import Window, WindowError
from app.models import Job, MaintenanceWindow, Server
from app.notify.cleaning import one_line
from app.recurrence import WEEKDAYS

maintenance_group = AppGroup(
    "maintenance", help="Times in which backups may be late: deadlines move, no alert is swallowed."
)
_SERVER = click.option("--server", help="Name of the server it is for; all when left out.")
_JOB = click.option(
    "--job", type=ROW_NUMBER, help="Number of the job it is for, as in the address of its page."
)


@maintenance_group.command("once", help="Add a window from one moment to another.")
@click.argument("name")
@click.option("--from", "starts_at", type=Moment(), required=True, help="For example 2026-12-01T20:00Z.")
@click.option("--until", "ends_at", type=Moment(), required=True, help="For example 2026-12-02T06:00Z.")
@_SERVER
@_JOB
def once(name: str, starts_at: datetime, ends_at: datetime, server: str | None, job: int | None) -> None:
    _add(name, server, job, Window(starts_at=starts_at, ends_at=ends_at, zone=settings().timezone))


@maintenance_group.command("weekly", help="Add a window that comes every week.")
@click.argument("name")
@click.option("--days", required=True, help="One or more of " + ",".join(WEEKDAYS) + ", with commas between.")
@click.option("--start", required=True, help="Local time at which it begins, such as 22:00.")
@click.option("--minutes", type=int, required=True, help="How long it lasts.")
@click.option("--zone", help="Time zone, such as Europe/Paris; VEILLEUR_TIMEZONE when left out.")
@_SERVER
@_JOB
def weekly(
    name: str, days: str, start: str, minutes: int, zone: str | None, server: str | None, job: int | None
) -> None:
    chosen = frozenset(day.strip() for day in days.split(","))
    window = Window(
        weekdays=chosen, start_time=start, duration_minutes=minutes, zone=zone or settings().timezone
    )
    _add(name, server, job, window)


def _add(name: str, server: str | None, job: int | None, window: Window) -> None:
    name = one_line(name).strip()
    if not 1 <= len(name) <= 120:
        raise click.ClickException("name: 1 to 120 characters")
    try:
        maintenance.check(window)
        with database().writing() as rows:
            scoped = maintenance.limited(window, _server_id(rows, server), _job_id(rows, job))
            row = maintenance.add(rows, name, scoped, clock.utcnow())
            words = maintenance.describe(scoped)
            note(rows, "maintenance window added", f"maintenance window {row.id}: {name}", after=words)
            number = row.id
    except WindowError as problem:
        raise click.ClickException(f"{problem.field}: expected {problem.expected}") from None
    click.echo(f"Added {number}: {name}, {words}.")


def _server_id(rows: Session, name: str | None) -> int | None:
    if name is None:
        return None
    found = rows.scalars(select(Server.id).where(Server.name == name).limit(2)).all()
    if len(found) != 1:
        raise click.ClickException(f"server: {'several are' if found else 'none is'} called {name}")
    return found[0]


def _job_id(rows: Session, number: int | None) -> int | None:
    if number is not None and rows.get(Job, number) is None:
        raise click.ClickException(f"job: there is no job {number}")
    return number


@maintenance_group.command("list", help="Show the windows.")
def list_windows() -> None:
    with database().reading() as rows:
        for row in rows.scalars(select(MaintenanceWindow).order_by(MaintenanceWindow.id)):
            click.echo(f"{row.id}\t{one_line(row.name)}\t{maintenance.describe(maintenance.of_row(row))}")


@maintenance_group.command("remove", help="Remove a window; the next check looks at what it had excused.")
@click.argument("number", type=ROW_NUMBER)
def remove(number: int) -> None:
    with database().writing() as rows:
        row = rows.get(MaintenanceWindow, number)
        if row is None:
            raise click.ClickException(f"there is no window {number}; 'flask maintenance list' shows them")
        words = maintenance.describe(maintenance.of_row(row))
        note(rows, "maintenance window removed", f"maintenance window {number}: {row.name}", before=words)
        maintenance.remove(rows, row, clock.utcnow())
    click.echo(f"Removed {number}.")
