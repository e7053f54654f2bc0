"""nginx with the files of deploy/, as they are shipped, in front of a running Veilleur."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import CHECKOUT, require_tool, unused_port
from tests.processes import Veilleur, is_listening, started, until

DEPLOY = CHECKOUT / "deploy"

# Only what any test needs: where nginx may write as whatever user runs it.
MAIN = """
{user}
pid {folder}/nginx.pid;
daemon off;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log off;
    include {folder}/nginx.conf;
    include {folder}/nginx-https.conf;
    server {{
        listen 127.0.0.1:{subpath_port};
        merge_slashes off;
        include {folder}/nginx-subpath.conf;
    }}
}}
"""


@dataclass
class Front:
    """nginx with its three ways in, each with a trailing slash."""

    folder: Path
    veilleur: Veilleur
    upload_key: str
    http_port: int = field(default_factory=unused_port)
    https_port: int = field(default_factory=unused_port)
    subpath_port: int = field(default_factory=unused_port)

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "http": f"http://127.0.0.1:{self.http_port}/",
            "https": f"https://127.0.0.1:{self.https_port}/",
            "subpath": f"http://127.0.0.1:{self.subpath_port}/veilleur/",
        }

    @property
    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("veilleur*.log"))


def lay_out(front: Front) -> None:
    """Copy the shipped files; only ports, folders and the certificate's place change."""
    replaced = {
        "server 127.0.0.1:9666;": f"server 127.0.0.1:{front.veilleur.port};",
        "listen 80;": f"listen 127.0.0.1:{front.http_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{front.https_port} ssl;",
        "/var/log/nginx": str(front.folder),
        "/etc/letsencrypt/live/veilleur.example.org/fullchain.pem": f"{front.folder}/certificate.pem",
        "/etc/letsencrypt/live/veilleur.example.org/privkey.pem": f"{front.folder}/key.pem",
    }
    unseen = set(replaced)
    for shipped in DEPLOY.glob("*.conf"):
        content = shipped.read_text()
        unseen -= {old for old in replaced if old in content}
        for old, new in replaced.items():
            content = content.replace(old, new)
        (front.folder / shipped.name).write_text(content)
    assert unseen == set()
    user = "user root;" if os.geteuid() == 0 else ""
    main = MAIN.format(folder=front.folder, user=user, subpath_port=front.subpath_port)
    (front.folder / "main.conf").write_text(main)


def make_certificate(folder: Path) -> None:
    names = ["-subj", "/CN=veilleur.test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(
        [
            require_tool("openssl"),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            *names,
            *files,
        ],
        check=True,
        capture_output=True,
    )


@contextlib.contextmanager
def running(veilleur: Veilleur) -> Iterator[Front]:
    """nginx until the block ends; the web application must be up already."""
    nginx = require_tool("nginx")
    folder = veilleur.folder / "nginx"
    folder.mkdir()
    make_certificate(folder)
    front = Front(folder, veilleur, veilleur.upload_key())
    lay_out(front)
    command = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "main.conf")]
    ports = (front.http_port, front.https_port, front.subpath_port)
    with started(command, folder / "nginx.out") as process:
        until(lambda: process.child.poll() is not None or all(map(is_listening, ports)), "nginx")
        assert process.child.poll() is None, process.output
        yield front
