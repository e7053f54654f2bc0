"""What the cron service says of itself, asked over its port."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import current_app

from app import interval, interval_exchange
from app.cron_client import Answer, CronClient, CronServiceUnavailable

log = logging.getLogger(__name__)

_RELOAD_SECONDS = 2.0


def client() -> CronClient:
    found: CronClient = current_app.extensions["cron_client"]
    return found


def ask() -> dict[str, Any] | None:
    """The content of its GET /health; None when it is not there."""
    try:
        return told(client().get("health"))
    except CronServiceUnavailable:
        return None


def tell_interval(path: Path) -> Answer:
    """Have the cron services obey the interval that was just saved, also those with another instance folder.

    The answer is that of our own; raises CronServiceUnavailable when it gives none.
    """
    body = b""
    with suppress(interval.IntervalFileDamaged, OSError):  # saved by us, but others may be at it as well
        body = interval_exchange.content(path)
    peers: list[CronClient] = current_app.extensions["cron_peers"]
    for each in peers:
        try:
            answer = tell(each, body)
        except CronServiceUnavailable as problem:
            log.warning("%s was not told of the new interval: %s", each.base_url, problem)
            continue
        if answer.status != 200:
            log.warning("%s answered %s to reload-config", each.base_url, answer.status)
    return tell(client(), body)


def tell(service: CronClient, body: bytes) -> Answer:
    """Hand the content of an interval file to a cron service; raises CronServiceUnavailable."""
    # Twice would do no harm: of two it is told, the service obeys the newer.
    return service.tell("reload-config", body, "application/json", deadline_seconds=_RELOAD_SECONDS)


def told(answer: Answer) -> dict[str, Any]:
    """What is in an answer; nothing when that is no JSON object."""
    try:
        content = json.loads(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def next_run(health: dict[str, Any] | None, task: str) -> object:
    """When a task is planned next, as the service spells it; None when nothing is planned."""
    planned = (health or {}).get("nextRunTimes")
    return planned.get(task) if isinstance(planned, dict) else None
