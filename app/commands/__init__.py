"""The `flask` commands; `flask --help` lists them."""

from __future__ import annotations

from flask import Flask

from app.commands.accounts import key, user
from app.commands.archive import backup
from app.commands.channels import channel
from app.commands.database import db
from app.commands.demo import demo
from app.commands.maintenance import maintenance_group
from app.commands.monitoring import check, interval_command


def register(app: Flask) -> None:
    for command in (backup, channel, check, db, demo, interval_command, key, maintenance_group, user):
        app.cli.add_command(command)
