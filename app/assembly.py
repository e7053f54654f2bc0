"""The web application, put together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import access, failures, languages, presentation
from app.blueprints import BLUEPRINTS
from app.core import create_core
from app.db import EXTENSION
from app.extensions import csrf
from app.presence import Presence
from app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LARGEST_FORM_BYTES = 1024 * 1024


def create_app(settings: Settings) -> Flask:
    """Assemble the web application from settings completed by `installation.prepare`."""
    app = create_core(settings, languages.chosen, access.timezone)
    app.config.update(
        SESSION_COOKIE_NAME="veilleur_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_CHECK_DEFAULT=False,  # access.enforce checks it, after the session
        WTF_CSRF_TIME_LIMIT=None,  # a page left open overnight still works; the token ends with the session
        WTF_CSRF_SSL_STRICT=False,  # clients of the API send no Referer; token and SameSite protect them
        MAX_CONTENT_LENGTH=LARGEST_FORM_BYTES,  # a report may be larger, but only with a key
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.extensions["presence"] = Presence(app.extensions[EXTENSION])
    csrf.init_app(app)
    app.before_request(access.enforce)
    failures.register(app)
    presentation.register(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    _believe_proxies(app, settings.trusted_proxies)
    return app


def _believe_proxies(app: Flask, count: int) -> None:
    # Only what the outermost trusted proxy wrote is believed; with none in front, nothing is.
    if count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            _plain_prefix(app.wsgi_app),
            x_for=count,
            x_proto=count,
            x_host=count,
            x_port=count,
            x_prefix=count,
        )


def _plain_prefix(application: WSGIApplication) -> WSGIApplication:
    """Many a proxy hands on the X-Forwarded-Prefix of the client; only a path may stand before our links."""

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not re.fullmatch(r"(/[\w.~%@+-]+)*", environ.get("SCRIPT_NAME", "")):
            environ["SCRIPT_NAME"] = ""
        return application(environ, start_response)

    return checked
