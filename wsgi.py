"""Where gunicorn and flask find the application; a wrong setting ends the process with one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

from flask import Flask
from sqlalchemy.exc import DBAPIError

from app import clock, commands, installation, log_lines, welcome
from app.accounts import AccountError
from app.apart import done_apart
from app.db import reason
from app.installation import InstallationInUse
from app.schema import SchemaTooNew
from app.settings import SettingError, Settings, load

create: Callable[[Settings], Flask]
if commands.is_ours(sys.argv):
    from app.core import create_core as create
else:
    from app.assembly import create_app as create


def _assemble() -> Flask:
    try:
        " ".join(sys.argv).encode()
        settings = load(os.environ)
        if commands.needs_no_installation(sys.argv):
            return create(installation.located(settings))
        installation.occupy(settings.instance_path)
        # Apart, because the tools of the migrations would stay in memory, 15 MB of them.
        settings, first_start = done_apart(
            partial(installation.prepare, settings, clock.utcnow()),
            (SettingError, AccountError, SchemaTooNew, DBAPIError, ModuleNotFoundError),
        )
    except UnicodeEncodeError:
        sys.exit("veilleur: the command line is no text in UTF-8")
    except SettingError as problem:
        sys.exit(f"veilleur: {problem}")
    except AccountError as problem:
        sys.exit(f"veilleur: VEILLEUR_ADMIN_PASSWORD: can't be used; expected {problem}")
    except (SchemaTooNew, InstallationInUse) as problem:
        sys.exit(f"veilleur: {problem}")
    except ModuleNotFoundError as problem:
        sys.exit(f"veilleur: VEILLEUR_DATABASE_URL: its driver is not installed ({problem.name})")
    except DBAPIError as problem:
        sys.exit(f"veilleur: VEILLEUR_DATABASE_URL: the database can't be used ({reason(problem)})")
    log_lines.set_up(settings.log_level)
    if first_start:
        welcome.tell(settings, first_start)
    return create(settings)


app = _assemble()
