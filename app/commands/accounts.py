"""`flask user` and `flask key`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, clock
from app.accounts import AccountError
from app.commands.row_number import ROW_NUMBER
from app.commands.trace import note
from app.db import database
from app.models import ApiKey, User
from app.notify.cleaning import one_line

user = AppGroup("user", help="Who may log in.")
key = AppGroup("key", help="API keys of clients and dashboards.")


@contextlib.contextmanager
def _changing(action: str, target: str) -> Iterator[Session]:
    """A change and its trace in one transaction; a refusal ends the command with its reason."""
    try:
        with database().writing() as rows:
            yield rows
            note(rows, action, target)
    except AccountError as problem:
        raise click.ClickException(str(problem)) from None


@user.command("add", help="Let somebody log in.")
@click.argument("username")
@click.option("--role", type=click.Choice(accounts.ROLES), default=accounts.VIEWER, show_default=True)
@click.password_option(help="Asked for when it is not given.")
def add_user(username: str, role: str, password: str) -> None:
    with _changing("user added", username) as rows:
        accounts.add_user(rows, username, password, role, clock.utcnow())
    click.echo(f"{username} may log in as {role}.")


@user.command("password", help="Set a new password and end all sessions of the user.")
@click.argument("username")
@click.password_option(help="Asked for when it is not given.")
def set_password(username: str, password: str) -> None:
    with _changing("password changed", username) as rows:
        accounts.set_password(rows, username, password)
    click.echo(f"{username} has a new password; every session of theirs has ended.")


@user.command("list", help="Show who may log in.")
def list_users() -> None:
    with database().reading() as rows:
        for each in rows.scalars(select(User).order_by(User.username)):
            click.echo(f"{each.username}\t{each.role}\tsince {clock.iso(each.created_at)}")


@user.command("remove", help="Let a user log in no more.")
@click.argument("username")
def remove_user(username: str) -> None:
    with _changing("user removed", username) as rows:
        accounts.remove_user(rows, username)
    click.echo(f"{username} is removed.")


@key.command("add", help="Make an API key; it is shown only once.")
@click.argument("label")
@click.option("--scope", type=click.Choice(accounts.SCOPES), default=accounts.UPLOAD, show_default=True)
def add_key(label: str, scope: str) -> None:
    with _changing("key added", label) as rows:
        made = accounts.add_key(rows, label, scope, clock.utcnow())
    click.echo(f"{made}\nThis {scope} key is shown only now.")


@key.command("list", help="Show the API keys, without the keys themselves.")
def list_keys() -> None:
    with database().reading() as rows:
        for each in rows.scalars(select(ApiKey).order_by(ApiKey.id)):
            state = f"revoked {clock.iso(each.revoked_at)}" if each.revoked_at else "valid"
            used = clock.iso(each.used_at) or "never"
            click.echo(
                f"{each.id}\t{each.scope}\t{each.hint}…\t{one_line(each.label)}\t{state}\tlast used {used}"
            )


@key.command("revoke", help="Make an API key worthless; takes the number shown by 'flask key list'.")
@click.argument("key_id", type=ROW_NUMBER)
def revoke_key(key_id: int) -> None:
    with _changing("key revoked", str(key_id)) as rows:
        found = rows.get(ApiKey, key_id)
        if found is None or found.revoked_at:
            raise AccountError(f"key: there is no valid key number {key_id}")
        found.revoked_at = clock.utcnow()
    click.echo(f"Key {key_id} is revoked.")
