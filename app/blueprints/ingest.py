"""Takes reports in: key, size, parse, store, answer."""

from __future__ import annotations

import logging

from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue

from app import access, accounts, clock, record, throttle
from app.checks import Policy
from app.db import database
from app.record import Body, Sender
from app.reports import UnusableReport, parse
from app.throttle import Kind

bp = Blueprint("ingest", __name__)
log = logging.getLogger(__name__)


@bp.route("/api/upload", methods=["POST", "PUT"])
@access.own_check
def upload() -> ResponseReturnValue:
    sender = _sender()
    if sender is None:
        return _refused()
    if request.content_encoding:
        abort(415, "Send the report without Content-Encoding.")
    body = Body(_read_body(), request.content_type or "")
    try:
        report = parse(body.raw, body.content_type)
    except UnusableReport as problem:
        record.quarantine(database(), body, problem, sender, now=clock.utcnow())
        log.warning("unusable report from %s (%s): %s", sender.address, sender.key_label, problem.reason)
        return jsonify(error=problem.reason, missingFields=problem.missing_fields), 400
    if not report.is_backup:
        return jsonify(success=True, ignored=report.operation)
    policy = Policy(access.settings().tolerance_seconds, access.settings().reminder)
    if record.take(database(), report, body, sender, policy=policy, now=clock.utcnow()):
        return jsonify(success=True)
    return jsonify(success=True, duplicate=True)


def _refused() -> ResponseReturnValue:
    """The answer to a stranger. A valid key never comes here, whoever else shares its address."""
    if _given_key():
        seconds = _note_wrong_key()
        if seconds:
            message = f"Too many wrong keys. Try again in {seconds} seconds."
            headers = {"Retry-After": str(seconds)}
            return jsonify(error="Too many requests", message=message), 429, headers
    return jsonify(error="Unauthorized", message="Add a valid upload key to the URL: ?api_key=…"), 401


def _note_wrong_key() -> int:
    """How long this address must wait; only while it need not, its guess is worth a row."""
    now = clock.utcnow()
    with database().reading() as rows:
        seconds = throttle.seconds_to_wait(rows, Kind.KEY, access.address(), now)
    if not seconds:
        with database().writing() as rows:
            throttle.note_failure(rows, Kind.KEY, access.address(), now)
    return seconds


def _sender() -> Sender | None:
    """Who sends: known by a key, or else anybody on an open network; None for a stranger."""
    key = _given_key()
    if key:
        with database().reading() as rows:
            found = accounts.find_key(rows, key, accounts.UPLOAD)
            if found:
                return Sender(found.id, found.label, access.address(), found.used_at)
    if access.settings().open_uploads:
        return Sender(None, "open network", access.address())
    return None


def _given_key() -> str | None:
    """The places a client can put a key; Duplicati can set no header, so mostly the URL."""
    authorization = request.authorization
    bearer = authorization.token if authorization and authorization.type == "bearer" else None
    return request.args.get("api_key") or request.headers.get("X-Api-Key") or bearer


def _read_body() -> bytes:
    # A chunked body is cut at the limit without an error, so one byte more than allowed is read.
    request.max_content_length = access.settings().max_upload_bytes + 1
    body = request.get_data(cache=False, parse_form_data=False)
    if len(body) > access.settings().max_upload_bytes:
        abort(413, f"A report may have at most {access.settings().max_upload_bytes} bytes.")
    return body
