"""How gunicorn serves the web application; every number that differs between installations is a setting."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

from app import allocation
from app.settings import SettingError, load
from app.web_server import PatientSocket, PatientWorker
from app.welcome import listening_at

try:
    settings = load(os.environ)
except SettingError as problem:
    sys.exit(f"veilleur: {problem}")

allocation.be_frugal()

bind = [listening_at(settings).removeprefix("http://")]
worker_class = PatientWorker
workers = settings.web_workers
threads = settings.web_threads
PatientSocket.request_seconds = settings.request_seconds

# One copy in memory for all workers, and a start that fails fails once.
preload_app = True

keepalive = 75  # longer than nginx keeps its own side open, so that it never meets a closed one
graceful_timeout = 30
limit_request_line = 8190
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (memory; made with mkstemp)
control_socket_disable = True

# Whom to believe is VEILLEUR_TRUSTED_PROXIES' matter alone; gunicorn would trust 127.0.0.1 by itself.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

proc_name = "veilleur"
loglevel = "debug" if settings.log_level == "DEBUG" else "warning"
accesslog = None


# A worker keeps its parent's signal handlers until it has its own; a signal in between would be lost, and
# the worker killed after its whole grace time. So they wait, from before the fork until it can hear them.
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def _hold_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def on_starting(server: Any) -> None:
    os.register_at_fork(before=_hold_signals, after_in_parent=_hear_signals)


def when_ready(server: Any) -> None:
    sys.stdout.write(f"Veilleur listens on {listening_at(settings)}\n")
    sys.stdout.flush()
    server.app.callable.extensions["presence"].rehearse()
    # What is there before the fork stays one copy only as long as no collection of garbage walks over it.
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    worker.app.callable.extensions["database"].forget_connections()


def post_worker_init(worker: Any) -> None:
    worker.app.callable.extensions["presence"].start()
    _hear_signals()
