"""The cron service: a process of its own that runs the tasks on time and takes commands over HTTP."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType

from flask import Flask
from waitress.server import BaseWSGIServer, create_server  # type: ignore[import-untyped]  # waitress has no types

from app import clock
from app.cron.control import create_control_app
from app.cron.holder import Holder
from app.cron.intake import Intake
from app.cron.service import SETTLE_SECONDS, CronService
from app.cron.tasks import TASKS, Task
from app.cron.watchdog import DEAD, Watchdog
from app.db import EXTENSION
from app.delivery import Courier
from app.settings import Settings
from app.spool import Spool
from app.stored_settings import Current

PORT_TAKEN = 1
_SERVER_THREADS = 8
_LARGEST_REQUEST_BYTES = 1 << 20
_LAST_ANSWERS_SECONDS = SETTLE_SECONDS + 1.0

__all__ = ["DEAD", "serve"]


def serve(app: Flask, settings: Settings, tasks: Mapping[str, Task] = TASKS) -> int:
    """Run until SIGTERM or SIGINT and return the exit code. Must be called in the main thread.

    A process that is stuck ends itself with code 70 instead.
    """
    holder = Holder(settings.instance_path)
    courier = Courier(app, app.extensions[EXTENSION], settings, clock.utcnow, holder.name)
    service = CronService(app, settings, tasks, courier, holder)
    intake = Intake(
        Spool(settings.instance_path, settings.spool_max_bytes),
        app.extensions[EXTENSION],
        Current(app.extensions[EXTENSION], settings).policy,
    )
    try:
        server = create_server(
            create_control_app(service, settings),
            host=settings.cron_host,
            port=settings.cron_port,
            threads=_SERVER_THREADS,
            ident="Veilleur",
            max_request_body_size=_LARGEST_REQUEST_BYTES,
        )
    except (OSError, ValueError) as problem:
        sys.stderr.write(_why_not_listening(settings, problem) + "\n")
        return PORT_TAKEN
    with holder:
        return _serve(service, server, courier, intake, settings)


def _serve(
    service: CronService, server: BaseWSGIServer, courier: Courier, intake: Intake, settings: Settings
) -> int:
    _stop_on_signals(service)
    threading.Thread(target=server.run, name="control", daemon=True).start()
    courier.start()
    intake.start()
    with Watchdog(service.status, settings.watchdog_seconds) as watchdog:
        service.run()
    service.calls.finish(_LAST_ANSWERS_SECONDS)
    intake.stop()
    courier.stop()
    return watchdog.exit_code


def _why_not_listening(settings: Settings, problem: Exception) -> str:
    address = f"{settings.cron_host}:{settings.cron_port}"
    if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
        return f"cron service: {address} is taken; is another one running?"
    return f"cron service: can't listen on {address} ({getattr(problem, 'strerror', None) or problem})"


def _stop_on_signals(service: CronService) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
