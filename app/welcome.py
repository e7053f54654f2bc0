"""What is said exactly once, after the first start: where to log in, and what to paste into Duplicati."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from app.settings import Settings

if TYPE_CHECKING:
    from app.installation import FirstStart

_EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  (recognised here, not listened on)


def listening_at(settings: Settings) -> str:
    """The web application's own address, without any proxy in front."""
    return _url(settings.host, settings.port)


def reached_at(settings: Settings) -> str:
    """The address to give to people and to Duplicati."""
    if settings.public_url:
        return settings.public_url
    # Nobody can connect to "every address"; the host's name is the best guess.
    host = socket.gethostname() if settings.host in _EVERY_ADDRESS else settings.host
    return _url(host, settings.port)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def duplicati_options(settings: Settings, upload_key: str) -> tuple[str, str]:
    """Option lines for Duplicati: for 2.0.9.100 and later, and the two older clients need."""
    url = f"{reached_at(settings)}/api/upload?api_key={upload_key}"
    return f"--send-http-json-urls={url}", f"--send-http-url={url}\n--send-http-result-output-format=Json"


def text(settings: Settings, first_start: FirstStart) -> str:
    given = "the one in VEILLEUR_ADMIN_PASSWORD"
    made = f"{first_start.password}   (shown only now)"
    lines = [
        "Veilleur is set up.",
        f"  Log in at   {reached_at(settings)}  as admin",
        f"  Password    {made if first_start.password else given}",
    ]
    if first_start.upload_key:
        new, old = duplicati_options(settings, first_start.upload_key)
        lines += [
            "  In Duplicati, add this option to each backup (the key in it is shown only now):",
            f"    {new}",
            "  or, for Duplicati before 2.0.9.100, these two:",
            *(f"    {line}" for line in old.splitlines()),
        ]
    return "\n".join(lines) + "\n"


def tell(settings: Settings, first_start: FirstStart) -> None:
    """Write it to standard output at once, also when that is a pipe."""
    sys.stdout.write(text(settings, first_start))
    sys.stdout.flush()
