"""The application without its pages: all that the cron service and the commands need of it."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from flask_babel import Babel

from app import commands, interval_saving
from app.cron_client import CronClient
from app.db import EXTENSION, SHORT_WAIT_SECONDS, Database
from app.interval import FILE_NAME, Reader
from app.settings import Settings
from app.spool import Spool
from app.stored_settings import Current

_KEPT_IN_ALL = 80  # connections to a cron service, which takes a hundred


def create_core(
    settings: Settings,
    locale_selector: Callable[[], str] | None = None,
    timezone_selector: Callable[[], str] | None = None,
) -> Flask:
    """Assemble it from settings completed by `installation.prepare`. Nothing is imported that only pages use.

    Without selectors, whatever is told is told in English and in the installation's time zone.
    """
    app = Flask(__package__ or __name__, instance_path=str(settings.instance_path))
    app.config.update(SECRET_KEY=settings.secret_key, BABEL_DEFAULT_TIMEZONE=settings.timezone)
    app.extensions["settings"] = settings
    app.extensions[EXTENSION] = Database(settings.database_url, wait_seconds=SHORT_WAIT_SECONDS)
    app.extensions["chosen_settings"] = Current(app.extensions[EXTENSION], settings)
    app.extensions["spool"] = Spool(settings.instance_path, settings.spool_max_bytes)
    app.extensions["interval"] = Reader(settings.instance_path / FILE_NAME)
    app.extensions[interval_saving.EXTENSION] = interval_saving.saves()
    app.extensions["cron_client"] = _cron_client(settings, settings.cron_service_url)
    app.extensions["cron_peers"] = [_cron_client(settings, each) for each in settings.cron_peers]
    Babel(app, locale_selector=locale_selector, timezone_selector=timezone_selector)
    app.cli = commands.Commands(app.name)
    return app


def _cron_client(settings: Settings, url: str) -> CronClient:
    return CronClient(
        url,
        settings.cron_token,
        connect_seconds=settings.cron_connect_seconds,
        read_seconds=settings.cron_read_seconds,
        write_seconds=settings.cron_write_seconds,
        kept_connections=max(1, min(settings.web_threads, _KEPT_IN_ALL // settings.web_workers)),
    )
