"""Where gunicorn and flask find the application; a wrong setting ends the process with one line."""

from __future__ import annotations

import logging
import os
import sys

from flask import Flask
from sqlalchemy.exc import DBAPIError

from app import clock, create_app, installation, welcome
from app.accounts import AccountError
from app.db import reason
from app.schema import SchemaTooNew
from app.settings import SettingError, load


def _assemble() -> Flask:
    try:
        settings, first_start = installation.prepare(load(os.environ), clock.utcnow())
    except SettingError as problem:
        sys.exit(f"veilleur: {problem}")
    except AccountError as problem:
        sys.exit(f"veilleur: VEILLEUR_ADMIN_PASSWORD: can't be used; expected {problem}")
    except SchemaTooNew as problem:
        sys.exit(f"veilleur: {problem}")
    except ModuleNotFoundError as problem:
        sys.exit(f"veilleur: VEILLEUR_DATABASE_URL: its driver is not installed ({problem.name})")
    except DBAPIError as problem:
        sys.exit(f"veilleur: VEILLEUR_DATABASE_URL: the database can't be used ({reason(problem)})")
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if first_start:
        welcome.tell(settings, first_start)
    return create_app(settings)


app = _assemble()
