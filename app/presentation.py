"""How answers leave: security headers, cookies, language, and the filters every template uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_babel import get_locale
from flask_babel import lazy_gettext as _l

from app import access, clock, navigation, stored_settings, watch
from app.formats import ago, count, date, day, duration, moment, month_name, size, time_of_day
from app.notify import catalogue
from app.version import VERSION

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["INTERVALS", "ago", "count", "duration", "interval_name", "moment", "register", "size"]

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
    # What a session sees must not be kept. Static files and pages for all say how long they may be.
    "Cache-Control": "no-store",
}
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


class Answer(Response):
    """What every answer becomes on its way out, whoever made it: one with the headers that protect it."""

    def get_wsgi_response(
        self, environ: WSGIEnvironment
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        if self.mimetype == "text/html":
            self.vary.add("Accept-Language")
        body, status, headers = super().get_wsgi_response(environ)
        # Put to the finished list: each name set earlier would be looked for, checked and copied.
        given = {name.lower() for name, _value in headers}
        headers += [(name, value) for name, value in _HEADERS.items() if name.lower() not in given]
        return body, status, headers


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie, Secure whenever the request came over https and bound to the sub-path."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Most requests come from programs, without any cookie: there is no signature to look at.
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)

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
    app.response_class = Answer
    app.session_interface = CookieSessions()
    app.context_processor(_context)
    app.add_template_filter(moment)
    app.add_template_filter(ago)
    app.add_template_filter(size)
    app.add_template_filter(month_name)
    app.add_template_filter(interval_name)
    app.add_template_filter(duration)
    app.add_template_filter(count)
    app.add_template_filter(date)
    app.add_template_filter(day)
    app.add_template_filter(time_of_day)
    app.add_template_filter(clock.iso, "iso")
    app.add_template_filter(receipt)


def _context() -> dict[str, object]:
    return {
        "identity": access.current_identity,
        "settings": _Settings(),
        "now": clock.utcnow(),
        "configured_interval": watch.configured,
        "page_language": str(get_locale() or "en").replace("_", "-"),
        "timezone": access.timezone,
        "version": VERSION,
        "settings_pages": navigation.settings_pages,
    }


def receipt(text: str | None) -> str:
    """What a receiver said; a viewer is not told whose number or address it is."""
    identity = access.current_identity()
    told = text or ""
    return told if identity and identity.is_administrator else catalogue.veiled(told)


def interval_name(value: str) -> str:
    return str(INTERVALS[value]) if value in INTERVALS else value
