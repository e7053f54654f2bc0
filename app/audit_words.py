"""What was done, in the reader's language; the log itself and its file keep the plain names."""

from __future__ import annotations

from flask_babel import lazy_gettext as _l

ACTIONS = {
    "acknowledgement withdrawn": _l("acknowledgement withdrawn"),
    "alert acknowledged": _l("alert acknowledged"),
    "archive restored": _l("archive restored"),
    "channel added": _l("channel added"),
    "channel changed": _l("channel changed"),
    "channel disabled": _l("channel switched off"),
    "channel enabled": _l("channel switched on"),
    "channel fallback": _l("fallback of a channel chosen"),
    "channel removed": _l("channel removed"),
    "channel retried": _l("messages of a channel sent again"),
    "channel tested": _l("channel tested"),
    "global reminder changed": _l("global reminder changed"),
    "global tolerance changed": _l("global tolerance changed"),
    "grouping of messages changed": _l("grouping of messages changed"),
    "interval changed": _l("interval changed"),
    "interval taken over": _l("interval taken over from another machine"),
    "job deleted": _l("job deleted"),
    "job paused": _l("job paused"),
    "job published": _l("job published"),
    "job resumed": _l("job resumed"),
    "job withdrawn from the status page": _l("job withdrawn from the status page"),
    "key added": _l("key added"),
    "key revoked": _l("key revoked"),
    "key rotated": _l("key rotated"),
    "login": _l("login"),
    "login refused": _l("login refused"),
    "maintenance window added": _l("maintenance window added"),
    "maintenance window removed": _l("maintenance window removed"),
    "message text changed": _l("message text changed"),
    "message text reset": _l("message text reset"),
    "notes changed": _l("notes changed"),
    "password change refused": _l("password change refused"),
    "password changed": _l("password changed"),
    "preferences changed": _l("preferences changed"),
    "publishing changed": _l("publishing changed"),
    "quarantined bodies deleted": _l("quarantined bodies deleted"),
    "quarantined body deleted": _l("quarantined body deleted"),
    "quarantined body taken in": _l("quarantined body taken in"),
    "reminder changed": _l("reminder changed"),
    "retention of reports changed": _l("retention of reports changed"),
    "retention of the audit log changed": _l("retention of the audit log changed"),
    "role changed": _l("role changed"),
    "schedule changed": _l("schedule changed"),
    "schedule removed": _l("schedule removed"),
    "sessions ended": _l("sessions ended"),
    "status page changed": _l("status page changed"),
    "tolerance changed": _l("tolerance changed"),
    "user added": _l("user added"),
    "user removed": _l("user removed"),
    "user unlocked": _l("user unlocked"),
}


def action_name(action: str) -> str:
    return str(ACTIONS.get(action, action))
