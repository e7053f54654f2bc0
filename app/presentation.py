"""How answers leave: security headers, cookies, language, and the filters every template uses."""

from __future__ import annotations

from datetime import date, datetime

from flask import Flask, Response, current_app, request
from flask.sessions import SecureCookieSessionInterface
from flask_babel import format_date, format_datetime, format_decimal, format_timedelta, get_babel, get_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from app import access, clock, navigation, stored_settings, watch

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
VERSION = "0.1.0"
INTERVALS = {
    "disabled": _l("Disabled: nobody is told about a missing backup"),
    "1min": _l("Every minute"),
    "5min": _l("Every 5 minutes"),
    "10min": _l("Every 10 minutes"),
    "15min": _l("Every 15 minutes"),
    "20min": _l("Every 20 minutes"),
    "30min": _l("Every 30 minutes"),
    "1hour": _l("Every hour"),
    "2hours": _l("Every 2 hours"),
}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie, Secure whenever the request came over https and bound to the sub-path."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def get_cookie_path(self, app: Flask) -> str:
        return request.script_root or "/"


class _Settings:
    """The settings as templates see them: what can be chosen on a page is read when one asks for it."""

    def __getattr__(self, name: str) -> object:
        chosen = name in stored_settings.NAMES
        return getattr(access.settings_in_force() if chosen else access.settings(), name)


def register(app: Flask) -> None:
    app.session_interface = CookieSessions()
    app.after_request(_protect)
    app.context_processor(_context)
    app.add_template_filter(moment)
    app.add_template_filter(ago)
    app.add_template_filter(size)
    app.add_template_filter(month_name)
    app.add_template_filter(interval_name)
    app.add_template_filter(duration)
    app.add_template_filter(clock.iso, "iso")


def _protect(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    # Static files may be cached; what a session sees must not be.
    if request.endpoint != "static":
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer


def _context() -> dict[str, object]:
    return {
        "identity": access.current_identity,
        "settings": _Settings(),
        "now": clock.utcnow(),
        "configured_interval": watch.configured,
        "language": str(get_locale() or "en").replace("_", "-"),
        "version": VERSION,
        "settings_pages": navigation.settings_pages,
        "has_view": current_app.view_functions.__contains__,
    }


def language() -> str | None:
    available = [each.language for each in get_babel().instance.list_translations()]
    return request.accept_languages.best_match(["en", *available], default="en")


def interval_name(value: str) -> str:
    return str(INTERVALS[value]) if value in INTERVALS else value


def moment(value: datetime | None) -> str:
    """A time in the viewer's zone and language: `Mon 23 Nov 2026, 09:10`."""
    return str(format_datetime(value, "EEE d MMM y, HH:mm")) if value else "–"


def month_name(value: date) -> str:
    """A month in the viewer's language: `November 2026`."""
    return str(format_date(value, "LLLL y"))


def ago(value: datetime | None) -> str:
    """How far a time lies from now, in words."""
    if value is None:
        return "–"
    gap = value - clock.utcnow()
    return str(format_timedelta(gap, granularity="second", threshold=1.2, add_direction=True))


def size(value: int | None) -> str:
    """Bytes in decimal units, as storage is sold and as people compare it."""
    if value is None:
        return "–"
    amount, unit = float(value), 0
    while abs(amount) >= 1000 and unit < len(_UNITS) - 1:
        amount /= 1000
        unit += 1
    return f"{format_decimal(round(amount, 1 if unit else 0))} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, the largest two that matter."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return str(_("clock was set back"))
    whole = int(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    shown = [each for each in parts if each][:2]
    return " ".join(shown) if len(shown) == 2 or whole >= 3600 else " ".join([*shown, f"{rest} s"])
