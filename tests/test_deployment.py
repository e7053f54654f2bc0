"""The files in deploy/, as they are shipped, in front of a real Veilleur: http, https and a sub-path."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests.conftest import CHECKOUT, SAMPLES, require_tool, unused_port
from tests.processes import PASSWORD, Veilleur, is_listening, started, until

DEPLOY = CHECKOUT / "deploy"
REPORT = SAMPLES / "054-live-2.0.7.1-backup-first.json"
SPOOFED = "203.0.113.77"

# Only what any test needs: where nginx may write as whatever user runs it.
MAIN = """
{user}
pid {folder}/nginx.pid;
daemon off;
error_log {folder}/error.log info;
events {{ worker_connections 128; }}
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


@dataclass
class Way:
    """One way in."""

    name: str
    base: str
    front: Front

    @property
    def prefix(self) -> str:
        return urlsplit(self.base).path

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.front.folder / "certificate.pem")
        return session

    def logged_in(self) -> requests.Session:
        session = self.session()
        answer = session.post(
            self.base + "api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return session


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


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    nginx = require_tool("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    veilleur = Veilleur(tmp_path_factory.mktemp("veilleur"), {"VEILLEUR_TRUSTED_PROXIES": "1"})
    make_certificate(folder)
    with veilleur.web():
        front = Front(folder, veilleur, veilleur.upload_key())
        lay_out(front)
        command = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "main.conf")]
        with started(command, folder / "nginx.out") as process:
            until(
                lambda: (
                    process.child.poll() is not None
                    or all(map(is_listening, (front.http_port, front.https_port, front.subpath_port)))
                ),
                "nginx",
            )
            assert process.child.poll() is None, process.output
            yield front


@pytest.fixture(params=["http", "https", "subpath"])
def way(request: pytest.FixtureRequest, front: Front) -> Way:
    return Way(request.param, front.addresses[request.param], front)


def test_the_login_page_and_everything_it_refers_to_load(way: Way) -> None:
    session = way.session()
    page = session.get(way.base + "login", timeout=20)
    assert page.status_code == 200
    refers = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assets = [each for each in refers if "static/" in each]
    assert assets
    for each in assets:
        assert each.startswith(way.prefix)
        assert session.get(urljoin(page.url, each), timeout=20).status_code == 200


def test_redirects_stay_where_the_visitor_came_in(way: Way) -> None:
    answer = way.session().get(way.base, allow_redirects=False, timeout=20)
    assert answer.status_code == 302
    target = urljoin(way.base, answer.headers["Location"])
    assert target.startswith(way.base + "login")


def test_after_the_login_form_the_first_page_of_the_same_way_opens(way: Way) -> None:
    session = way.session()
    page = session.get(way.base, timeout=20)
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    following = re.search(r'name="next"[^>]*value="([^"]*)"', page.text)
    assert token
    assert following
    answer = session.post(
        way.base + "login",
        data={"csrf_token": token[1], "username": "admin", "password": PASSWORD, "next": following[1]},
        headers={"Referer": page.url},
        timeout=20,
    )
    assert answer.status_code == 200
    assert answer.url.rstrip("?") == way.base


def test_the_cookie_is_bound_to_the_path_and_secure_on_https(way: Way) -> None:
    cookie = way.session().get(way.base + "api/csrf", timeout=20).headers["Set-Cookie"]
    parts = {part.strip() for part in cookie.split(";")}
    assert f"Path={way.prefix.rstrip('/') or '/'}" in parts
    assert ("Secure" in parts) is (way.name == "https")
    assert "HttpOnly" in parts


def test_a_report_comes_through_and_its_key_is_in_no_log(way: Way) -> None:
    key = way.front.upload_key
    upload = f"{way.base}api/upload?api_key={key}"
    session = way.session()
    headers = {"Content-Type": "application/json", "Referer": upload}
    taken = session.post(upload, data=REPORT.read_bytes(), headers=headers, timeout=20)
    assert (taken.status_code, taken.json()["success"]) == (200, True)
    assert session.post(upload, data=b"{}", headers=headers, timeout=20).status_code == 400
    marker = f"{way.prefix}api/upload?-"
    until(lambda: marker in way.front.logs, "the access log")
    assert key not in way.front.logs
    assert key not in (way.front.folder / "error.log").read_text()


def test_a_chunked_report_of_many_megabytes_comes_through(way: Way) -> None:
    report = json.loads(REPORT.read_text())
    report["LogLines"] = ["x" * 1000] * 3000
    whole = json.dumps(report).encode()
    pieces = (whole[start : start + 65536] for start in range(0, len(whole), 65536))
    answer = way.session().post(
        f"{way.base}api/upload?api_key={way.front.upload_key}",
        data=pieces,
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 200


def test_a_report_above_the_limit_is_refused_in_json(way: Way) -> None:
    answer = way.session().post(
        f"{way.base}api/upload?api_key={way.front.upload_key}", data=b"x" * (66 << 20), timeout=60
    )
    assert answer.status_code == 413
    if way.name != "subpath":  # there the errors belong to the site around it
        assert answer.json()["error"] == "Too large"


def test_a_claimed_address_does_not_reach_the_audit_log(way: Way) -> None:
    claims = {
        "X-Forwarded-For": SPOOFED,
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "1",
        "Forwarded": f"for={SPOOFED}",
    }
    session = way.session()
    wrong = {"username": f"nobody-{way.name}", "password": "wrong wrong"}
    answer = session.post(way.base + "api/auth/login", json=wrong, headers=claims, timeout=20)
    assert answer.status_code == 401
    with sqlite3.connect(way.front.veilleur.instance / "veilleur.db") as rows:
        noted = rows.execute(
            "SELECT address FROM audit_entry WHERE target = ?", (f"nobody-{way.name}",)
        ).fetchall()
    assert noted == [("127.0.0.1",)]
    answer = session.get(way.base, headers=claims, allow_redirects=False, timeout=20)
    assert "evil" not in answer.headers["Location"]


def test_the_interval_is_saved_through_the_front(way: Way) -> None:
    session = way.logged_in()
    token = session.get(way.base + "api/csrf", timeout=20).json()["csrfToken"]
    headers = {"X-CSRF-Token": token, "Referer": way.base}
    saved = session.post(
        way.base + "api/cron-config", json={"interval": "30min"}, headers=headers, timeout=20
    )
    assert (saved.status_code, saved.json()) == (200, {"success": True})


def test_slashes_are_not_merged_on_the_way_to_the_proxy(way: Way) -> None:
    answer = way.session().get(way.base + "api/cron//health", timeout=20)
    assert answer.status_code == 404


def test_many_guesses_of_a_password_are_stopped_by_nginx(front: Front) -> None:
    # From an address of its own, as the limit counts by address and other tests log in too.
    # Not JSON: refused by Veilleur at once, so that only nginx's limit is met.
    statuses = [_status_for("127.0.0.2", front, "POST", "/api/auth/login") for _ in range(40)]
    assert statuses[0] == 415
    assert statuses[-1] == 429
    assert _status_for("127.0.0.2", front, "GET", "/api/ping") == 200


def _status_for(source: str, front: Front, method: str, target: str) -> int:
    connection = http.client.HTTPConnection(
        "127.0.0.1", front.http_port, timeout=20, source_address=(source, 0)
    )
    try:
        connection.request(method, target, body=b"x" if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def test_without_a_final_slash_the_sub_path_leads_in(front: Front) -> None:
    base = front.addresses["subpath"].rstrip("/")
    answer = requests.get(base, allow_redirects=False, timeout=20)
    assert (answer.status_code, answer.headers["Location"]) == (308, "/veilleur/")


def test_the_units_hold_together() -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    units = sorted(DEPLOY.glob("*.service"))
    told = subprocess.run([verify, "verify", *map(str, units)], capture_output=True, text=True)
    # On the machine that runs the tests nothing is installed in /opt.
    complaints = [line for line in told.stderr.splitlines() if "is not executable" not in line]
    assert len(units) == 2
    assert complaints == []
