"""Reads the small JSON object that an API call brings, whatever a client may send in its place."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

LIMIT_BYTES = 64 * 1024


def take() -> bytes:
    """The raw body, kept for whoever asks for it again; 413 when it is too long."""
    # One more than allowed: at the limit itself a chunked body is cut without a word.
    request.max_content_length = LIMIT_BYTES + 1
    raw = request.get_data()
    if len(raw) > LIMIT_BYTES:
        raise RequestEntityTooLarge
    return raw


def read() -> dict[str, Any] | None:
    """The object in the body; None when it holds anything else."""
    try:
        content = json.loads(take())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
