"""`flask channel`."""

from __future__ import annotations

import click
from babel import Locale, UnknownLocaleError
from flask.cli import AppGroup
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import clock, fallbacks, resend, trial
from app.commands.trace import note, settings
from app.db import database
from app.models import Channel
from app.notify import KINDS, ConfigError, check, describe
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


@channel.command("list", help="Show the channels, secrets masked, and how they fare.")
def list_channels() -> None:
    with database().reading() as rows:
        states = resend.overview(rows, clock.utcnow())
    for state in states:
        told = [one_line(state.name), state.kind, "on" if state.enabled else "off"]
        told.append(describe(state.kind, state.config))
        click.echo("\t".join([*told, *_remarks(state)]))


def _remarks(state: resend.ChannelState) -> list[str]:
    told = []
    if state.fallback:
        told.append(f"fallback: {one_line(state.fallback)}")
    if state.failing_since_at:
        error = one_line(state.last_error or "")
        told.append(f"failing since {clock.iso(state.failing_since_at)}: {error}")
    if state.waiting:
        told.append(f"waiting: {state.waiting}")
    if state.given_up:
        told.append(f"given up in the last {resend.DAYS} days: {state.given_up}")
    return told


@channel.command("test", help="Send a test message now and say what the receiver answered.")
@click.argument("name")
def test_channel(name: str) -> None:
    _send_test(name)


def _send_test(name: str) -> None:
    with database().reading() as rows:
        channel_id = _find(rows, name).id
    outcome = trial.run(database(), settings(), channel_id, clock.utcnow())
    if outcome is None:
        raise click.ClickException(f"{name}: removed meanwhile")
    with database().writing() as rows:
        note(rows, "channel tested", name, after=outcome.told)
    if not outcome.arrived:
        raise click.ClickException(f"The test message did not arrive: {outcome.detail}")
    click.echo(f"The test message arrived: {outcome.detail}")


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


@channel.command(
    "fallback",
    help="Let channel OTHER stand in for NAME, or none.\n\nOTHER then gets messages only while NAME fails: "
    "a message that failed for the third time, was refused for good or has waited for a minute is sent there "
    "as well.",
)
@click.argument("name")
@click.argument("other", metavar="OTHER|none")
def set_fallback(name: str, other: str) -> None:
    with database().writing() as rows:
        found = _find(rows, name)
        stand_in = None if other == "none" else _find(rows, other)
        before = rows.get(Channel, found.fallback_id) if found.fallback_id else None
        try:
            fallbacks.set_fallback(rows, found, stand_in)
        except fallbacks.FallbackCycle as problem:
            raise click.ClickException(f"a channel can't stand in for itself: {problem}") from None
        note(rows, "channel fallback", name, before=before.name if before else "none", after=other)
    if stand_in is None:
        click.echo(f"{name} has no fallback.")
    else:
        click.echo(f"{other} stands in for {name}: from now on it gets messages only while {name} fails.")


@channel.command("retry", help="Send again what was given up, and what waits for another attempt.")
@click.argument("name")
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=resend.DAYS,
    show_default=True,
    help="Only what was given up in the last so many days.",
)
def retry(name: str, days: int) -> None:
    with database().writing() as rows:
        found = _find(rows, name)
        resent = resend.send_again(rows, found.id, clock.utcnow(), days)
        note(rows, "channel retried", name, after=f"{resent.given_up} given up, {resent.waiting} waiting")
    click.echo(
        f"{name}: {resent.given_up} that were given up are sent again, {resent.waiting} that waited go now; "
        "the cron service delivers them."
    )


@channel.command("disable", help="Stop sending to a channel; what it has not delivered yet waits.")
@click.argument("name")
def disable_channel(name: str) -> None:
    _switch(name, False)


@channel.command("enable", help="Send to a channel again, beginning with what has waited.")
@click.argument("name")
def enable_channel(name: str) -> None:
    _switch(name, True)


def _switch(name: str, enabled: bool) -> None:
    with database().writing() as rows:
        found = _find(rows, name)
        found.enabled = enabled
        note(rows, "channel enabled" if enabled else "channel disabled", name)
    click.echo(f"{name} is {'on' if enabled else 'off'}.")
