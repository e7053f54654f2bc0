"""The table of environment variables: name, default, unit, check, purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app import setting_checks as checks

REMINDERS = ("onetime", "every_day", "every_week", "every_month")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


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
        return self.read in (checks.secret, checks.password, checks.database_url, checks.secret_web_url)


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
        "VEILLEUR_CRON_PEERS",
        "cron_peers",
        "",
        "URLs",
        checks.web_urls,
        "Cron services of other machines, separated by spaces, that are told of a saved interval as well.",
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
        "VEILLEUR_GROUP_LIMIT",
        "group_limit",
        "5",
        "count",
        checks.integer(0, 10_000),
        "Messages of one kind about one server that are sent singly within a minute; more become one that "
        "lists its members. Beyond it the servers are grouped as well. 0 sends every message singly.",
    ),
    Setting(
        "VEILLEUR_DOWNTIME_CREDIT_SECONDS",
        "downtime_credit_seconds",
        "7200",
        "seconds",
        checks.integer(0, 7 * 86400),
        "At most so much of a time in which Veilleur could not take reports in is credited to the jobs "
        "that may have reported meanwhile.",
    ),
    Setting(
        "VEILLEUR_HEARTBEAT_URL",
        "heartbeat_url",
        "",
        "URL",
        checks.secret_web_url,
        "Called after each completed check, with /fail added after a failed one, so that somebody else "
        "notices when Veilleur itself is silent.",
    ),
    Setting(
        "VEILLEUR_SPOOL_MAX_BYTES",
        "spool_max_bytes",
        "268435456",
        "bytes",
        checks.integer(0, 1 << 40),
        "How much the reports may take that wait in the instance folder while the database can't be written.",
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
        "VEILLEUR_BACKUP_PATH",
        "backup_path",
        "",
        "folder",
        checks.text,
        "Where archives of this installation go; empty means backups in the instance folder.",
    ),
    Setting(
        "VEILLEUR_BACKUP_KEEP",
        "backup_keep",
        "7",
        "count",
        checks.integer(0, 10_000),
        "How many archives stay there, one is made a day; 0 makes none.",
    ),
    Setting(
        "VEILLEUR_BACKUP_PASSPHRASE",
        "backup_passphrase",
        "",
        "text",
        checks.secret,
        "Encrypts archives, at least 16 characters; empty means not encrypted.",
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
