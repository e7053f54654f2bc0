"""`flask user` and `flask key`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import click
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, clock, key_rotation
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
    now = clock.utcnow()
    with database().reading() as rows:
        for each in rows.scalars(select(ApiKey).order_by(ApiKey.id)):
            used = f"last used {clock.iso(each.used_at) or 'never'}"
            told = (each.id, each.scope, f"{each.hint}…", one_line(each.label), _state(each, now), used)
            click.echo("\t".join(map(str, told)))


def _state(found: ApiKey, now: datetime) -> str:
    if found.revoked_at:
        return f"revoked {clock.iso(found.revoked_at)}"
    if found.expires_at is None:
        return "valid"
    until = "valid until" if found.expires_at > now else "expired"
    return f"{until} {clock.iso(found.expires_at)}"


@key.command("rotate", help="Make a successor of an API key, shown only once; takes its label or number.")
@click.argument("label_or_number")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 8760),
    default=168,
    show_default=True,
    help="How long the old key goes on working.",
)
def rotate_key(label_or_number: str, overlap_hours: int) -> None:
    now = clock.utcnow()
    with _changing("key rotated", label_or_number) as rows:
        old = key_rotation.find(rows, label_or_number)
        ends_at = now + timedelta(hours=overlap_hours)
        row, made = key_rotation.rotate(rows, old, now, ends_at=ends_at)
    click.echo(f"{made}\nThis {row.scope} key is number {row.id} and shown only now.")
    click.echo(f"The old one, number {old.id}, works until {clock.iso(old.expires_at)}.")


@key.command("revoke", help="Make an API key worthless; takes the number shown by 'flask key list'.")
@click.argument("key_id", type=ROW_NUMBER)
def revoke_key(key_id: int) -> None:
    with _changing("key revoked", str(key_id)) as rows:
        found = rows.get(ApiKey, key_id)
        if found is None:
            raise AccountError(f"key: there is no valid key number {key_id}")
        key_rotation.revoke(found, clock.utcnow())
    click.echo(f"Key {key_id} is revoked.")
