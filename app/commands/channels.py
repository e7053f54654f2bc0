"""`flask channel`."""

from __future__ import annotations

import uuid

import click
from babel import Locale, UnknownLocaleError
from flask.cli import AppGroup
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import clock
from app.commands.trace import note, settings
from app.db import database
from app.models import Channel
from app.notify import KINDS, ConfigError, DeliveryError, check, describe, send, texts
from app.notify.cleaning import one_line

channel = AppGroup("channel", help="Where messages go.")


def _settings_help() -> str:
    """What each kind of channel can be told, for the help text of `channel add`."""
    lines = []
    for kind in KINDS.values():
        fields = " ".join(f"{each.name}=…" if each.required else f"[{each.name}=…]" for each in kind.fields)
        lines.append(f"  {kind.name}: {fields}")
    return "\n".join(lines)


def _known_language(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return str(Locale.parse(value.replace("-", "_")))
    except (ValueError, UnknownLocaleError):
        raise click.BadParameter(f"{value!r} is no language; for example en or fr") from None


@channel.command(
    "add",
    help="Add a channel and send a test message to it.\n\nSettings are name=value pairs:\n\n\b\n"
    + _settings_help(),
)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="SETTING=VALUE...")
@click.option(
    "--language", default="en", show_default=True, callback=_known_language, help="Language of its messages."
)
@click.option("--no-test", is_flag=True, help="Send no test message.")
def add_channel(kind: str, name: str, pairs: tuple[str, ...], language: str, no_test: bool) -> None:
    config = _checked(kind, pairs)
    name = one_line(name)
    if not 1 <= len(name) <= 120:
        raise click.ClickException("name: 1 to 120 characters")
    with database().writing() as rows:
        if rows.scalar(select(Channel.id).where(Channel.name == name)) is not None:
            raise click.ClickException(f"name: there is a channel {name} already")
        rows.add(Channel(kind=kind, name=name, config=config, language=language, created_at=clock.utcnow()))
        note(rows, "channel added", name, after=describe(kind, config))
    click.echo(f"Added {name}: {describe(kind, config)}.")
    if not no_test:
        _send_test(name)


def _checked(kind: str, pairs: tuple[str, ...]) -> dict[str, object]:
    config: dict[str, object] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise click.ClickException(f"{pair}: expected name=value")
        config[field] = value
    try:
        return check(kind, config)
    except ConfigError as problem:
        raise click.ClickException(str(problem)) from None


@channel.command("list", help="Show the channels, secrets masked.")
def list_channels() -> None:
    with database().reading() as rows:
        for each in rows.scalars(select(Channel).order_by(Channel.name)):
            state = "on" if each.enabled else "off"
            click.echo(f"{one_line(each.name)}\t{each.kind}\t{state}\t{describe(each.kind, each.config)}")


@channel.command("test", help="Send a test message now and say what the receiver answered.")
@click.argument("name")
def test_channel(name: str) -> None:
    _send_test(name)


def _send_test(name: str) -> None:
    with database().reading() as rows:
        found = _find(rows, name)
        kind, config, language = found.kind, found.config, found.language
    now = clock.utcnow()
    message = texts.compose(
        "test",
        {},
        message_id=uuid.uuid4().hex,
        occurred_at=now,
        url=settings().public_url or None,
        zone=settings().timezone,
        language=language,
    )
    try:
        receipt = send(kind, config, message, timeout_seconds=settings().delivery_seconds)
    except DeliveryError as problem:
        raise click.ClickException(f"The test message did not arrive: {problem.reason}") from None
    click.echo(f"The test message arrived: {receipt.detail}")


def _find(rows: Session, name: str) -> Channel:
    found = rows.scalar(select(Channel).where(Channel.name == name))
    if found is None:
        raise click.ClickException(f"name: there is no channel {name}; 'flask channel list' shows them")
    return found


@channel.command("remove", help="Remove a channel; what it has not delivered yet is dropped.")
@click.argument("name")
def remove_channel(name: str) -> None:
    with database().writing() as rows:
        found = _find(rows, name)
        note(rows, "channel removed", name, before=describe(found.kind, found.config))
        rows.execute(delete(Channel).where(Channel.id == found.id))
    click.echo(f"Removed {name}.")
