"""The API key of a request: where it stands, whose it is, and the answer to a wrong one."""

from __future__ import annotations

import logging
from datetime import timedelta

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from app import accounts, clock, throttle
from app.db import database, reason
from app.models import ApiKey
from app.throttle import Kind

log = logging.getLogger(__name__)

_USE_NOTED_EVERY = timedelta(minutes=1)
_NOTING_WAIT_SECONDS = 0.2


def given() -> str | None:
    """The places a client can put a key; Duplicati can set no header, so mostly the URL."""
    authorization = request.authorization
    bearer = authorization.token if authorization and authorization.type == "bearer" else None
    return request.args.get("api_key") or request.headers.get("X-Api-Key") or bearer


def may_read(key: str) -> bool:
    """Whether it is a key of scope `read`; when it was used is noted once a minute."""
    now = clock.utcnow()
    with database().asking() as rows:
        found = accounts.find_key(rows, key, accounts.READ, now)
    if found is not None and (found.used_at is None or now - found.used_at > _USE_NOTED_EVERY):
        _note_use(found.id)
    return found is not None


def _note_use(key_id: int) -> None:
    try:
        with database().waiting(_NOTING_WAIT_SECONDS).writing() as rows:
            rows.execute(update(ApiKey).where(ApiKey.id == key_id).values(used_at=clock.utcnow()))
    except SQLAlchemyError as problem:
        # What only reads need not fail for it; the next request tries again.
        log.warning("the use of a key could not be noted: %s", reason(problem))


def refused(address: str, message: str) -> ResponseReturnValue:
    """The answer to a stranger. A valid key never comes here, whoever else shares its address."""
    if given():
        seconds = _note_wrong(address)
        if seconds:
            told = f"Too many wrong keys. Try again in {seconds} seconds."
            return jsonify(error="Too many requests", message=told), 429, {"Retry-After": str(seconds)}
    return jsonify(error="Unauthorized", message=message), 401


def _note_wrong(address: str) -> int:
    """How long this address must wait; only while it need not, its guess is worth a row."""
    now = clock.utcnow()
    with database().reading() as rows:
        seconds = throttle.seconds_to_wait(rows, Kind.KEY, address, now)
    if not seconds:
        with database().writing() as rows:
            throttle.note_failure(rows, Kind.KEY, address, now)
    return seconds
