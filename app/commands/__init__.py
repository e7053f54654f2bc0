"""The `flask` commands; `flask --help` lists them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib import import_module
from types import MappingProxyType

import click
from flask.cli import AppGroup

COMMANDS = MappingProxyType(
    {
        "backup": "app.commands.archive:backup",
        "channel": "app.commands.channels:channel",
        "check": "app.commands.monitoring:check",
        "cron-start": "app.cron.command:cron_start",
        "db": "app.commands.database:db",
        "demo": "app.commands.demo:demo",
        "interval": "app.commands.monitoring:interval_command",
        "key": "app.commands.accounts:key",
        "maintenance": "app.commands.maintenance:maintenance_group",
        "user": "app.commands.accounts:user",
    }
)


class Commands(AppGroup):
    """Imports a command when it is asked for: the cron service must not hold in memory what a demo needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS and name not in self.commands:
            module, _, attribute = COMMANDS[name].partition(":")
            self.add_command(getattr(import_module(module), attribute), name)
        return super().get_command(ctx, name)


def is_ours(arguments: Sequence[str]) -> bool:
    """Whether a command line runs one of these commands, and so needs no pages."""
    return not COMMANDS.keys().isdisjoint(arguments[1:2])


def needs_no_installation(arguments: Sequence[str]) -> bool:
    """Whether a command line works on a new machine, beside a damaged database or with one that must not
    change: there, nothing is made."""
    named = {("backup", "restore"), ("backup", "verify"), ("backup", "list"), ("db", "copy")}
    return not named.isdisjoint(itertools.pairwise(arguments))
