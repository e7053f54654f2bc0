"""The lines to paste into Duplicati, and the one to try a connection with."""

from __future__ import annotations

import shlex

NEW_SINCE = "2.0.9.100"
_LOG_LINES = 100
# Of no backup: it is answered and leaves nothing behind.
_TRIAL = '{"Data": {"MainOperation": "Test"}}'


def upload_url(address: str, key: str) -> str:
    """Where reports go, for an installation that is reached at this address."""
    return f"{address.rstrip('/')}/api/upload?api_key={key}"


def new_lines(address: str, key: str) -> str:
    """For Duplicati from NEW_SINCE on."""
    return f"--send-http-json-urls={upload_url(address, key)}\n--send-http-max-log-lines={_LOG_LINES}"


def old_lines(address: str, key: str) -> str:
    return f"--send-http-url={upload_url(address, key)}\n--send-http-result-output-format=Json"


def trial_line(address: str, key: str) -> str:
    """A command that tries address and key."""
    return f"curl --data {shlex.quote(_TRIAL)} {shlex.quote(upload_url(address, key))}"
