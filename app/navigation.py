"""The pages of the settings in the order people look for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import current_app
from flask_babel import lazy_gettext as _l

from app import access
from app.access import Rule


@dataclass(frozen=True, slots=True)
class Entry:
    endpoint: str
    label: str


SETTINGS_PAGES: tuple[Entry, ...] = (
    Entry("config.monitoring", _l("Monitoring")),
    Entry("channels.index", _l("Channels")),
    Entry("message_templates.index", _l("Message texts")),
    Entry("maintenance.index", _l("Maintenance windows")),
    Entry("connect.index", _l("Connect Duplicati")),
    Entry("api_keys.index", _l("API keys")),
    Entry("users.index", _l("Users")),
    Entry("status_page.edit", _l("Status page")),
    Entry("retention.index", _l("Retention")),
    Entry("quarantine.index", _l("Quarantine")),
    Entry("audit_log.index", _l("Audit log")),
    Entry("about.index", _l("About and health")),
)


def settings_pages() -> Iterator[Entry]:
    """Those that whoever is logged in may open."""
    identity = access.current_identity()
    for entry in SETTINGS_PAGES:
        rule = access.rule_of(current_app, entry.endpoint)
        if identity and rule and (rule is not Rule.ADMINISTRATOR or identity.is_administrator):
            yield entry
