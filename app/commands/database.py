"""`flask db`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from app import schema
from app.commands.trace import settings

db = AppGroup("db", help="The database.")


@db.command("upgrade", help="Bring the database to the newest schema; every start does this by itself.")
def upgrade() -> None:
    schema.upgrade(settings().database_url)
    click.echo("The database has the newest schema.")
