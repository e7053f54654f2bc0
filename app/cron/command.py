"""`flask cron-start`."""

from __future__ import annotations

import logging
import os
import sys

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from app import allocation
from app.cron import serve
from app.db import EXTENSION, LONG_WAIT_SECONDS, Database
from app.settings import Settings


@click.command("cron-start", help="Run the cron service: scheduled checks and deliveries, until stopped.")
@with_appcontext
def cron_start() -> None:
    allocation.be_frugal()
    settings: Settings = current_app.extensions["settings"]
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    # Nobody waits for a check, so it may wait; but some waits in a row must not look like a stuck loop.
    wait_seconds = min(LONG_WAIT_SECONDS, settings.watchdog_seconds / 10)
    app.extensions[EXTENSION] = Database(settings.database_url, wait_seconds=wait_seconds)
    code = serve(app, settings)
    # Chat services' libraries may leave threads that would hold the process for a minute.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
