"""Takes reports in: key, size, parse, store, answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flask import Blueprint, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from app import access, accounts, clock, keys, quarantine, record
from app.db import Database, database, is_out_of_reach, reason
from app.reports import Envelope, Report, UnusableReport, opened, read
from app.spool import OPEN_NETWORK, UNCHECKED, Arrival, Spool, SpoolFull
from app.stored_settings import Current
from app.upload import Body, Sender

bp = Blueprint("ingest", __name__)
log = logging.getLogger(__name__)

_NEXT_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends. `fault` is why the database could not be asked about the key, else None."""

    sender: Sender
    key_hash: str | None = None
    fault: str | None = None


@bp.route("/api/upload", methods=["POST", "PUT"])
@access.own_check
def upload() -> ResponseReturnValue:
    caller = _caller()
    if caller is None:
        return keys.refused(access.address(), "Add a valid upload key to the URL: ?api_key=…")
    if request.content_encoding:
        abort(415, "Send the report without Content-Encoding.")
    body, envelope = _received()
    try:
        report = read(envelope)
    except UnusableReport as problem:
        _quarantine(body, problem, caller.sender)
        return jsonify(error=problem.reason, missingFields=problem.missing_fields), 400
    if not report.is_backup:
        return jsonify(success=True, ignored=report.operation)
    arrival = Arrival(body, caller.sender, clock.utcnow(), caller.key_hash, access.settings().open_uploads)
    if _take(report, arrival, caller.fault):
        return jsonify(success=True)
    return jsonify(success=True, duplicate=True)


def _take(report: Report, arrival: Arrival, fault: str | None) -> bool:
    """Store the report, or keep it where it waits for the database; False when it is known already."""
    if fault is None:
        try:
            policy = _chosen().policy()
            return record.take(
                _database(), report, arrival.body, arrival.sender, policy=policy, now=arrival.received_at
            )
        except SQLAlchemyError as problem:
            if not is_out_of_reach(problem):
                raise
            fault = reason(problem)
    _keep(arrival, fault)
    return True


def _keep(arrival: Arrival, fault: str) -> None:
    try:
        _spool().add(arrival)
    except (SpoolFull, OSError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else problem
        log.error("a report from %s was refused: %s; spool: %s", arrival.sender.address, fault, why)
        abort(503, "The report can't be stored right now; send it again later.")
    log.warning("a report from %s waits in the spool: %s", arrival.sender.address, fault)


def _quarantine(body: Body, problem: UnusableReport, sender: Sender) -> None:
    log.warning("unusable report from %s (%s): %s", sender.address, sender.key_label, problem.reason)
    if sender.key_label == UNCHECKED:
        return
    try:
        quarantine.keep(_database(), body, problem, sender, now=clock.utcnow())
    except SQLAlchemyError as failure:
        log.error("the unusable report from %s can't be kept: %s", sender.address, reason(failure))


def _caller() -> Caller | None:
    """Known by a key, or else anybody on an open network; None for a stranger. Where the database can't be
    asked, whoever shows a key is heard: it is checked when the report is taken in."""
    key = keys.given()
    if key:
        try:
            known = _known(key)
        except SQLAlchemyError as problem:
            if not is_out_of_reach(problem):
                raise
            unchecked = Sender(None, UNCHECKED, access.address())
            return Caller(unchecked, accounts.digest(key), reason(problem))
        if known:
            return Caller(known)
    if access.settings().open_uploads:
        return Caller(Sender(None, OPEN_NETWORK, access.address()))
    return None


def _known(key: str) -> Sender | None:
    with database().asking() as rows:
        found = accounts.find_key(rows, key, accounts.UPLOAD, clock.utcnow())
        if found is None:
            return None
        _spool().recognize(found.key_hash)
        return Sender(found.id, found.label, access.address(), found.used_at, found.origin_id)


def _database() -> Database:
    """Of many that come while it is locked, only the first wait long."""
    return database().waiting(_NEXT_WAIT_SECONDS) if _spool().was_used_just_now() else database()


def _chosen() -> Current:
    found: Current = current_app.extensions["chosen_settings"]
    return found


def _spool() -> Spool:
    found: Spool = current_app.extensions["spool"]
    return found


def _received() -> tuple[Body, Envelope]:
    """The body and its text. Both lie in memory here alone, before a report is made of the text."""
    raw, content_type = _read_body(), request.content_type or ""
    return Body(raw, content_type), opened(raw, content_type)


def _read_body() -> bytes:
    # A chunked body is cut at the limit without an error, so one byte more than allowed is read.
    request.max_content_length = access.settings().max_upload_bytes + 1
    body = request.get_data(cache=False, parse_form_data=False)
    if len(body) > access.settings().max_upload_bytes:
        abort(413, f"A report may have at most {access.settings().max_upload_bytes} bytes.")
    return body
