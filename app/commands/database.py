"""`flask db`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click
from flask.cli import AppGroup

from app import clock, database_copy, schema
from app.commands.trace import settings
from app.database_copy import source, target
from app.database_copy.problems import CopyError
from app.database_copy.target import State
from app.installation import InstallationInUse

db = AppGroup("db", help="The database.")


@db.command("upgrade", help="Bring the database to the newest schema; every start does this by itself.")
def upgrade() -> None:
    schema.upgrade(settings().database_url)
    click.echo("The database has the newest schema.")


@db.command(
    "copy",
    help="Copy this SQLite installation into an empty PostgreSQL database; stop web and cron first.\n\nThe "
    "source is only read. A copy that was cut off goes on where it ended when the command is given again.",
)
@click.option(
    "--to",
    "to",
    required=True,
    metavar="URL",
    envvar="VEILLEUR_COPY_TO",
    help="The target, postgresql+psycopg://user@host/database; VEILLEUR_COPY_TO may hold it instead.",
)
def copy(to: str) -> None:
    try:
        with source.opened(settings(), clock.utcnow()) as origin, target.opened(to) as made:
            copied = _copy(origin, made)
    except (CopyError, InstallationInUse, schema.MigrationFailed) as problem:
        raise click.ClickException(f"Not copied: {problem}") from None
    except OSError as problem:
        raise click.ClickException(f"Not copied: {problem.filename}: {problem.strerror}") from None
    _tell(copied, made.state)


def _copy(origin: source.Source, made: target.Target) -> database_copy.Copied:
    rows = database_copy.row_count(origin)
    with _bar(rows, "Copying") as told:
        copied = database_copy.copy(origin, made, told)
    with _bar(copied.count, "Verifying") as told:
        database_copy.verify(made, copied, told)
    if made.state is not State.COMPLETE:
        made.finish()
    return copied


@contextlib.contextmanager
def _bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    with click.progressbar(length=length, label=label, file=sys.stderr, update_min_steps=100) as bar:
        yield bar.update


def _tell(copied: database_copy.Copied, state: State) -> None:
    for name, digest in copied.digests.items():
        click.echo(f"{name:<20} {digest.count:>10} rows  digest {digest.text}")
    for each in copied.cleaned:
        click.echo(f"Left out a NUL character, which PostgreSQL does not store: {each}")
    if state is State.COMPLETE:
        click.echo(f"Nothing was copied: the target holds all {copied.count} rows already, and no others.")
    else:
        click.echo(
            f"Copied {copied.new_count} rows; all {copied.count} were read back and are equal. Now:\n"
            "  1. Set VEILLEUR_DATABASE_URL to the target, for the web application and the cron service.\n"
            f"  2. Keep the instance folder {settings().instance_path}: cron.json, secrets.json and spool "
            "are used as before.\n"
            "  3. Start both. Keep the old database until you are content; it was not changed."
        )
