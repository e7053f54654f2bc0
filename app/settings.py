"""The settings a process runs with, read from the environment and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.setting_table import REMINDERS, SETTINGS, Setting

__all__ = ["REMINDERS", "SETTINGS", "Setting", "SettingError", "Settings", "load"]


class SettingError(ValueError):
    """A variable has a value that can't be used; the text names it and says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Built by `load`; a field is named in `SETTINGS` beside its variable."""

    host: str
    port: int
    cron_host: str
    cron_port: int
    cron_service_url: str
    cron_peers: tuple[str, ...]
    instance_path: Path
    database_url: str
    secret_key: str
    cron_token: str
    admin_password: str
    public_url: str
    trusted_proxies: int
    public_reads: bool
    open_uploads: bool
    max_upload_bytes: int
    tolerance_seconds: int
    reminder: str
    group_limit: int
    downtime_credit_seconds: int
    heartbeat_url: str
    spool_max_bytes: int
    timezone: str
    session_hours: int
    report_retention_days: int
    audit_retention_days: int
    backup_path: str
    backup_keep: int
    backup_passphrase: str
    cron_connect_seconds: int
    cron_read_seconds: int
    cron_write_seconds: int
    watchdog_seconds: int
    delivery_seconds: int
    delivery_threads: int
    web_workers: int
    web_threads: int
    request_seconds: int
    log_level: str
    given: frozenset[str] = frozenset()  # the fields whose variables were set: nothing goes before those


def load(environ: Mapping[str, str]) -> Settings:
    """Read and check every variable; SettingError names the first one that is wrong.

    An empty variable counts as unset. Secrets and the database may still be empty here:
    `installation.prepare` fills them in from the instance folder.
    """
    values = {each.field: _value(each, environ) for each in SETTINGS if each.field not in _DERIVED}
    port: int = values["port"]
    if not environ.get("CRON_PORT") and port == 65535:
        raise SettingError("PORT: 65535 leaves no port above it for the cron service; set CRON_PORT")
    values["cron_port"] = _value(_named("cron_port"), environ, str(port + 1))
    values["cron_service_url"] = _value(
        _named("cron_service_url"), environ, f"http://127.0.0.1:{values['cron_port']}"
    )
    values["instance_path"] = Path(values["instance_path"]).resolve()
    given = frozenset(each.field for each in SETTINGS if environ.get(each.variable, "").strip())
    return Settings(**values, given=given)


_DERIVED = ("cron_port", "cron_service_url")


def _named(field: str) -> Setting:
    return next(each for each in SETTINGS if each.field == field)


def _value(setting: Setting, environ: Mapping[str, str], default: str | None = None) -> Any:
    raw = environ.get(setting.variable, "").strip() or (setting.default if default is None else default)
    try:
        return setting.read(raw)
    except ValueError as problem:
        shown = "its value" if setting.is_secret else repr(raw)
        raise SettingError(f"{setting.variable}: {shown} can't be used; expected {problem}") from None
