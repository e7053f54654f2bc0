"""Every environment variable Veilleur obeys: name, default, unit, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import setting_checks as checks

REMINDERS = ("onetime", "every_day", "every_week", "every_month")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingError(ValueError):
    """A variable has a value that can't be used; the text names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. `default` is shown in the documentation as the text a user would type."""

    variable: str
    field: str
    default: str
    unit: str
    read: Callable[[str], Any]
    purpose: str

    @property
    def is_secret(self) -> bool:
        return self.read in (checks.secret, checks.password, checks.database_url)


_PORT = checks.integer(1, 65535)

SETTINGS: tuple[Setting, ...] = (
    Setting("HOST", "host", "127.0.0.1", "address", checks.text, "Where the web application listens."),
    Setting("PORT", "port", "9666", "port", _PORT, "Port of the web application."),
    Setting("CRON_HOST", "cron_host", "127.0.0.1", "address", checks.text, "Where the cron service listens."),
    Setting("CRON_PORT", "cron_port", "PORT + 1", "port", _PORT, "Port of the cron service."),
    Setting(
        "CRON_SERVICE_URL",
        "cron_service_url",
        "http://127.0.0.1:$CRON_PORT",
        "URL",
        checks.web_url,
        "Where the web application finds the cron service.",
    ),
    Setting(
        "VEILLEUR_INSTANCE_PATH",
        "instance_path",
        "instance",
        "folder",
        checks.text,
        "Folder of the interval file, the database and the secrets; created with mode 0700.",
    ),
    Setting(
        "VEILLEUR_DATABASE_URL",
        "database_url",
        "",
        "URL",
        checks.database_url,
        "Database; empty means veilleur.db (SQLite) in the instance folder.",
    ),
    Setting(
        "VEILLEUR_SECRET_KEY",
        "secret_key",
        "",
        "text",
        checks.secret,
        "Signs session cookies; empty means the one in secrets.json.",
    ),
    Setting(
        "VEILLEUR_CRON_TOKEN",
        "cron_token",
        "",
        "text",
        checks.secret,
        "Shared by web and cron service; empty means the one in secrets.json.",
    ),
    Setting(
        "VEILLEUR_ADMIN_PASSWORD",
        "admin_password",
        "",
        "text",
        checks.password,
        "Password of user admin on first start; empty means a random one, printed once.",
    ),
    Setting(
        "VEILLEUR_PUBLIC_URL",
        "public_url",
        "",
        "URL",
        checks.optional_web_url,
        "The address, path included, at which people and Duplicati reach Veilleur; used in messages.",
    ),
    Setting(
        "VEILLEUR_TRUSTED_PROXIES",
        "trusted_proxies",
        "0",
        "count",
        checks.integer(0, 10),
        "Reverse proxies in front whose X-Forwarded-For, -Proto, -Host and -Prefix are believed.",
    ),
    Setting(
        "VEILLEUR_PUBLIC_READS",
        "public_reads",
        "1",
        "0 or 1",
        checks.switch,
        "Whether GET /api/cron-config and GET /api/cron/* work without a login.",
    ),
    Setting(
        "VEILLEUR_OPEN_UPLOADS",
        "open_uploads",
        "0",
        "0 or 1",
        checks.switch,
        "Whether reports are taken without an upload key; for closed networks only.",
    ),
    Setting(
        "VEILLEUR_MAX_UPLOAD_BYTES",
        "max_upload_bytes",
        "67108864",
        "bytes",
        checks.integer(1024, 1 << 30),
        "Largest report body; a larger one is answered 413.",
    ),
    Setting(
        "VEILLEUR_TOLERANCE_SECONDS",
        "tolerance_seconds",
        "3600",
        "seconds",
        checks.integer(0, 31 * 86400),
        "How late a backup may be before it is overdue, for jobs without a tolerance of their own.",
    ),
    Setting(
        "VEILLEUR_REMINDER",
        "reminder",
        "every_day",
        "choice",
        checks.choice(*REMINDERS),
        "How often an overdue job is mentioned again: " + ", ".join(REMINDERS) + ".",
    ),
    Setting(
        "VEILLEUR_TIMEZONE",
        "timezone",
        "UTC",
        "zone",
        checks.zone,
        "Time zone of pages and messages, for example Europe/Paris.",
    ),
    Setting(
        "VEILLEUR_SESSION_HOURS",
        "session_hours",
        "168",
        "hours",
        checks.integer(1, 8760),
        "How long a login lasts without use.",
    ),
    Setting(
        "VEILLEUR_REPORT_RETENTION_DAYS",
        "report_retention_days",
        "730",
        "days",
        checks.integer(1, 36500),
        "Age at which reports, their bodies, alerts and quarantined bodies are deleted; "
        "the newest report of a job always stays.",
    ),
    Setting(
        "VEILLEUR_AUDIT_RETENTION_DAYS",
        "audit_retention_days",
        "365",
        "days",
        checks.integer(1, 36500),
        "Age at which entries of the audit log are deleted.",
    ),
    Setting(
        "VEILLEUR_CRON_CONNECT_SECONDS",
        "cron_connect_seconds",
        "2",
        "seconds",
        checks.integer(1, 60),
        "How long the web application waits for a connection to the cron service.",
    ),
    Setting(
        "VEILLEUR_CRON_READ_SECONDS",
        "cron_read_seconds",
        "5",
        "seconds",
        checks.integer(1, 300),
        "How long a proxied GET may take in all.",
    ),
    Setting(
        "VEILLEUR_CRON_WRITE_SECONDS",
        "cron_write_seconds",
        "30",
        "seconds",
        checks.integer(1, 300),
        "How long a proxied POST, such as a check started by hand, may take in all.",
    ),
    Setting(
        "VEILLEUR_WATCHDOG_SECONDS",
        "watchdog_seconds",
        "300",
        "seconds",
        checks.integer(2, 86400),
        "How long the cron loop may be silent before the service counts as stuck and ends itself.",
    ),
    Setting(
        "VEILLEUR_DELIVERY_SECONDS",
        "delivery_seconds",
        "20",
        "seconds",
        checks.integer(1, 300),
        "How long one attempt to deliver a message may take.",
    ),
    Setting(
        "VEILLEUR_DELIVERY_THREADS",
        "delivery_threads",
        "8",
        "count",
        checks.integer(1, 64),
        "Messages delivered at the same time.",
    ),
    Setting(
        "VEILLEUR_WEB_WORKERS",
        "web_workers",
        "2",
        "count",
        checks.integer(1, 64),
        "gunicorn worker processes.",
    ),
    Setting(
        "VEILLEUR_WEB_THREADS", "web_threads", "8", "count", checks.integer(1, 64), "Threads in each of them."
    ),
    Setting(
        "VEILLEUR_REQUEST_SECONDS",
        "request_seconds",
        "30",
        "seconds",
        checks.integer(1, 3600),
        "How long a request may take to arrive; every 16 kB of it give one second more.",
    ),
    Setting(
        "VEILLEUR_LOG_LEVEL",
        "log_level",
        "INFO",
        "choice",
        checks.choice(*LOG_LEVELS),
        "What is logged to standard error: " + ", ".join(LOG_LEVELS) + ".",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Built by `load`; a field is named in `SETTINGS` beside its variable."""

    host: str
    port: int
    cron_host: str
    cron_port: int
    cron_service_url: str
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
    timezone: str
    session_hours: int
    report_retention_days: int
    audit_retention_days: int
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
    return Settings(**values)


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
