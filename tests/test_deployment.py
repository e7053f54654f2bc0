"""The files in deploy/, as they are shipped, in front of a real Veilleur: http, https and a sub-path."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from sqlalchemy import select

from app.models import AuditEntry
from tests import nginx
from tests.conftest import SAMPLES
from tests.nginx import DEPLOY, Front
from tests.processes import PASSWORD, Veilleur, until

REPORT = SAMPLES / "054-live-2.0.7.1-backup-first.json"
SPOOFED = "203.0.113.77"


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


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    veilleur = Veilleur(tmp_path_factory.mktemp("veilleur"), {"VEILLEUR_TRUSTED_PROXIES": "1"})
    with veilleur.web(), nginx.running(veilleur) as front:
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
    database = way.front.veilleur.database()
    with database.reading() as rows:
        query = select(AuditEntry.address).where(AuditEntry.target == f"nobody-{way.name}")
        noted = rows.scalars(query).all()
    database.dispose()
    assert noted == ["127.0.0.1"]
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
