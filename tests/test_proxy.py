"""The proxy to the cron service, driven over real sockets by strangers, an administrator, a bad service."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from waitress import wasyncore
from waitress.server import create_server
from werkzeug.serving import make_server

import app as product
from app import installation
from app.assembly import create_app
from app.clock import utcnow
from app.cron_client import CronClient, CronServiceUnavailable, safe_path
from app.db import EXTENSION
from app.settings import load
from tests import databases, fake_cron
from tests.fake_cron import BROKEN, ENDLESS, FakeCron
from tests.processes import until

TOKEN = "shared-token"
PASSWORD = "correct horse battery"
NOT_RUNNING = {
    "error": "Cron service is not running",
    "message": "The cron service is not available. Please start it with: flask cron-start",
}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass
class Site:
    """The web application behind a real HTTP server; `target` goes onto the wire as it is."""

    port: int
    logged_in: list[str] = field(default_factory=list)

    def get(self, target: str, *headers: str) -> Reply:
        return self.send("GET", target, *headers)

    def post(self, target: str, *headers: str, body: bytes = b"") -> Reply:
        return self.send("POST", target, *self.logged_in, *headers, body=body)

    def send(self, method: str, target: str, *headers: str, body: bytes = b"") -> Reply:
        host = (
            [] if any(header.startswith("Host:") for header in headers) else [f"Host: 127.0.0.1:{self.port}"]
        )
        length = [f"Content-Length: {len(body)}"] if body else []
        lines = [f"{method} {target} HTTP/1.1", *host, *length, *headers, "Connection: close", "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall("\r\n".join(lines).encode() + body)
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            return Reply(
                answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
            )

    def log_in(self) -> None:
        credentials = json.dumps({"username": "admin", "password": PASSWORD}).encode()
        reply = self.send("POST", "/api/auth/login", "Content-Type: application/json", body=credentials)
        cookie = reply.headers["set-cookie"].split(";")[0]
        self.logged_in = [f"Cookie: {cookie}", f"X-CSRF-Token: {reply.json['csrfToken']}"]


@pytest.fixture(scope="module")
def service() -> Iterator[FakeCron]:
    with fake_cron.running() as running:
        yield running


@pytest.fixture
def cron(service: FakeCron) -> FakeCron:
    service.arrived.clear()
    service.connections = 0
    service.patience = 1_000_000
    return service


def client_of(url: str, **options: float) -> CronClient:
    """Generous: only tests of endless answers wait for a deadline, and they set their own."""
    patience = {"connect_seconds": 20, "read_seconds": 20, "write_seconds": 20}
    return CronClient(url, TOKEN, **(patience | options))


@pytest.fixture
def client(cron: FakeCron) -> CronClient:
    return client_of(cron.url)


@pytest.fixture(scope="module")
def running_site(service: FakeCron, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    instance = tmp_path_factory.mktemp("instance")
    environ = {
        **databases.environ_of(instance),
        "VEILLEUR_INSTANCE_PATH": str(instance),
        "VEILLEUR_ADMIN_PASSWORD": PASSWORD,
        "VEILLEUR_CRON_TOKEN": TOKEN * 4,
        "CRON_SERVICE_URL": service.url,
    }
    settings, _first_start = installation.prepare(load(environ), utcnow())
    app = create_app(settings)
    app.extensions["cron_client"] = client_of(service.url)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    site = Site(server.server_port)
    site.log_in()
    yield site
    server.shutdown()
    thread.join(60)
    server.server_close()
    app.extensions[EXTENSION].dispose()


@pytest.fixture
def site(running_site: Site, cron: FakeCron) -> Site:
    return running_site


# --- where a request may go


@pytest.mark.parametrize("path", ["health", "trigger/overdue-backup-check", "a.b/_c/~d", "...", "a" * 200])
def test_a_plain_path_is_safe(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        "a\\b",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\n",
        "a:b",
        "@a",
        "é",
        "a;b",
        "a\0",
        "．．/a",
        "a" * 201,
    ],
)
def test_any_other_path_is_not(path: str) -> None:
    assert safe_path(path) is None


@pytest.mark.parametrize(
    "target",
    [
        "/api/cron/../api/x",
        "/api/cron/..",
        "/api/cron/.",
        "/api/cron/./health",
        "/api/cron/a/../b",
        "/api/cron/%2e%2e%2fx",
        "/api/cron/%2e%2e/x",
        "/api/cron/.%2e/x",
        "/api/cron/..%2fx",
        "/api/cron/..%5cx",
        "/api/cron/..\\x",
        "/api/cron/%252e%252e%252fx",
        "/api/cron/..%252fx",
        "/api/cron/%c0%ae%c0%ae/x",
        "/api/cron/．．/x",
        "/api/cron//evil.example/x",
        "/api/cron///evil.example/x",
        "/api/cron/%2fevil.example/x",
        "/api/cron/%2f%2fevil.example/x",
        "/api/cron/http://evil.example/",
        "/api/cron/http:%2f%2fevil.example/",
        "/api/cron/@evil.example/",
        "/api/cron/:80@evil.example/",
        "/api/cron/health%00",
        "/api/cron/%00",
        "/api/cron/health%23x",
        "/api/cron/health%3fx=1",
        "/api/cron/health%0d%0aX:%20y",
        "/api/cron/health%0a",
        "/api/cron/health%20",
        "/api/cron/health;x=1",
        "/api/cron/h%c3%a9alth",
        "/api/cron/%ff",
        "/api/cron/health/",
        "/api/cron/health//x",
        "/api/cron/",
        "/api/cron/" + "a" * 201,
        "http://evil.example/api/cron/../x",
        "http://evil.example//api/cron//x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_crafted_target_reaches_the_service(site: Site, cron: FakeCron, method: str, target: str) -> None:
    reply = site.get(target) if method == "GET" else site.post(target)
    assert reply.status == 404
    assert "location" not in reply.headers
    assert cron.arrived == []
    if "/api/" in target and "//api" not in target:
        assert reply.json == {"error": "Not found"}


def test_an_absolute_target_still_goes_to_the_configured_service(site: Site, cron: FakeCron) -> None:
    reply = site.get("http://evil.example/api/cron/health?x=1", "Host: evil.example")
    assert reply.status == 200
    assert (cron.arrived[0].target, cron.arrived[0].header("Host")) == (
        "/health?x=1",
        f"127.0.0.1:{cron.port}",
    )


def test_an_encoded_path_arrives_as_the_plain_one_that_was_checked(site: Site, cron: FakeCron) -> None:
    site.get("/api/cron/%74rigger%2fx")
    assert cron.arrived[0].target == "/trigger/x"


@pytest.mark.parametrize(
    "query",
    [
        "a=1&a=2",
        "a=%2F%20+b&c==&d",
        "%0d%0aX:%20y",
        "a=%00",
        "../..//",
        "http://evil.example/?x",
        "d=100%&e=%41",
        "q='\"<>|^`{}[]\\",
        "?",
    ],
)
def test_the_query_arrives_with_its_meaning_and_within_the_line(
    site: Site, cron: FakeCron, query: str
) -> None:
    assert site.get(f"/api/cron/health?{query}").status == 200
    path, _mark, arrived = cron.arrived[0].target.partition("?")
    assert path == "/health"
    assert parse_qsl(arrived, keep_blank_values=True) == parse_qsl(query, keep_blank_values=True)
    assert cron.arrived[0].header("X") is None
    assert len(cron.arrived) == 1


def test_a_query_that_is_not_ascii_arrives_encoded(client: CronClient, cron: FakeCron) -> None:
    client.get("health", "é=ü".encode())
    assert cron.arrived[0].target == "/health?%C3%A9=%C3%BC"


def test_a_fragment_in_the_query_never_cuts_the_target_short(client: CronClient, cron: FakeCron) -> None:
    client.get("health", b"a=1#b&c=2")
    assert cron.arrived[0].target == "/health?a=1%23b&c=2"


def test_a_query_of_more_than_4_kb_is_refused(site: Site, cron: FakeCron) -> None:
    assert site.get("/api/cron/health?" + "a" * 4096).status == 200
    assert site.get("/api/cron/health?" + "a" * 4097).status == 414
    assert len(cron.arrived) == 1


def test_the_client_itself_refuses_an_unchecked_path(client: CronClient, cron: FakeCron) -> None:
    with pytest.raises(ValueError, match="not a path"):
        client.get("../secret")
    with pytest.raises(ValueError, match="not a path"):
        client.post("/secret")
    assert cron.connections == 0


def test_a_base_address_with_a_path_is_kept(cron: FakeCron) -> None:
    client_of(f"{cron.url}/cron/").get("health")
    assert cron.arrived[0].target == "/cron/health"


# --- what is forwarded


def test_only_what_is_needed_is_forwarded(site: Site, cron: FakeCron) -> None:
    foreign = [
        "Authorization: Basic dXNlcg==",
        "X-Forwarded-User: root",
        "X-Forwarded-For: 10.0.0.1",
        "Proxy-Authorization: Basic eA==",
        "Keep-Alive: timeout=9",
        "TE: trailers",
        "Upgrade: websocket",
        "Expect-CT: x",
        "X-Api-Key: secret",
    ]
    site.post("/api/cron/trigger/x", *foreign, "Content-Type: application/json", body=b'{"a": 1}')
    (arrived,) = cron.arrived
    sent = {key.lower(): value for key, value in arrived.headers}
    assert sent.pop("host") == f"127.0.0.1:{cron.port}"
    assert sent == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": f"Bearer {TOKEN}",
        "content-length": "8",
        "content-type": "application/json",
        "user-agent": "Veilleur",
    }


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": 1}'),
        ("application/octet-stream", bytes(range(256))),
        ("application/x-www-form-urlencoded", b"a=1&b=%20"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        ),
        ("text/plain; charset=utf-8", "é".encode()),
    ],
)
def test_a_body_and_its_type_arrive_unchanged(
    site: Site, cron: FakeCron, content_type: str, body: bytes
) -> None:
    assert site.post("/api/cron/trigger/x", f"Content-Type: {content_type}", body=body).status == 200
    (arrived,) = cron.arrived
    assert (arrived.method, arrived.body, arrived.header("Content-Type")) == ("POST", body, content_type)


def test_an_empty_post_is_forwarded_as_such(site: Site, cron: FakeCron) -> None:
    site.post("/api/cron/trigger/x")
    (arrived,) = cron.arrived
    assert (arrived.body, arrived.header("Content-Length"), arrived.header("Content-Type")) == (
        b"",
        "0",
        None,
    )


@pytest.mark.parametrize("content_type", ["a\r\nX: y", "a\nX: y", "a\0", "é", "a" * 201])
def test_a_content_type_that_would_not_fit_a_header_is_left_out(
    client: CronClient, cron: FakeCron, content_type: str
) -> None:
    client.post("x", body=b"1", content_type=content_type)
    assert cron.arrived[0].header("Content-Type") is None
    assert cron.arrived[0].header("X") is None


def test_a_body_of_more_than_1_mib_is_refused(site: Site, cron: FakeCron) -> None:
    limit = 1024 * 1024
    assert site.post("/api/cron/x", body=b"a" * limit).status == 200
    for size in (limit + 1, limit + 2, 3 * limit):
        reply = site.post("/api/cron/x", body=b"a" * size)
        assert (reply.status, reply.json) == (413, {"error": "Too large"})
    assert [len(arrived.body) for arrived in cron.arrived] == [limit]


@pytest.mark.parametrize("size", [1024 * 1024, 1024 * 1024 + 1, 1024 * 1024 + 2])
def test_a_chunked_body_is_whole_or_refused(site: Site, cron: FakeCron, size: int) -> None:
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"a" * size)
    lines = ["POST /api/cron/x HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *site.logged_in, "", ""]
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + chunked)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == (200 if size == 1024 * 1024 else 413)
    assert [len(arrived.body) for arrived in cron.arrived] == ([size] if answer.status == 200 else [])


def test_the_environment_is_ignored(cron: FakeCron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with fake_cron.running() as trap:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, trap.url)
        client = client_of(cron.url)
        client.get("health")
        client.post("trigger/x")
        assert trap.connections == 0
    assert [arrived.header("Authorization") for arrived in cron.arrived] == [f"Bearer {TOKEN}"] * 2


# --- what is handed back


def test_status_body_and_type_are_handed_back(site: Site) -> None:
    reply = site.get("/api/cron/error-500")
    assert (reply.status, reply.json) == (500, {"error": "x"})


def test_html_stays_html_and_nothing_else_of_the_service_comes_through(site: Site) -> None:
    reply = site.get("/api/cron/html")
    assert (reply.status, reply.body) == (200, b"<script>1</script>")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_cookie_of_the_service_goes_neither_out_nor_back(site: Site, cron: FakeCron) -> None:
    reply = site.get("/api/cron/cookie", "Cookie: session=mine")
    assert "set-cookie" not in reply.headers
    assert "x-secret" not in reply.headers
    site.get("/api/cron/echo")
    site.post("/api/cron/echo")
    assert [arrived.header("Cookie") for arrived in cron.arrived] == [None] * 3


def test_a_redirect_is_handed_back_without_its_target_and_not_followed(site: Site, cron: FakeCron) -> None:
    for reply in (site.get("/api/cron/redirect"), site.post("/api/cron/redirect")):
        assert (reply.status, reply.body) == (302, b"moved")
        assert "location" not in reply.headers
    assert [arrived.target for arrived in cron.arrived] == ["/redirect"] * 2


def test_an_answer_without_content_has_none(site: Site) -> None:
    reply = site.get("/api/cron/no-content")
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize("path", ["untyped", "odd-type", "long-type"])
def test_a_missing_or_unusable_type_is_not_invented(site: Site, path: str) -> None:
    reply = site.get(f"/api/cron/{path}")
    assert (reply.status, reply.body) == (200, b"?")
    assert "content-type" not in reply.headers


def test_a_type_folded_over_two_lines_stays_one_header(site: Site) -> None:
    reply = site.get("/api/cron/folded-type")
    assert (reply.status, reply.body) == (200, b"?")
    assert "x-injected" not in reply.headers


def test_an_old_answer_that_ends_with_its_connection_is_handed_back(site: Site) -> None:
    reply = site.get("/api/cron/open-body")
    assert (reply.status, reply.body) == (200, b"old but whole")


@pytest.mark.parametrize("path", ["gzipped", "gzipped-chunked"])
def test_an_answer_compressed_against_our_wish_is_unpacked(site: Site, path: str) -> None:
    reply = site.get(f"/api/cron/{path}")
    assert (reply.status, reply.body) == (200, b"plain words")
    assert "content-encoding" not in reply.headers


def test_head_is_answered_like_get_without_a_body(site: Site, cron: FakeCron) -> None:
    reply = site.send("HEAD", "/api/cron/health")
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_not_allowed(site: Site, cron: FakeCron, method: str) -> None:
    reply = site.send(method, "/api/cron/health", *site.logged_in)
    assert (reply.status, reply.json["error"]) == (405, "Method not allowed")
    assert cron.arrived == []


def test_a_post_needs_a_session_and_a_token(site: Site, cron: FakeCron) -> None:
    assert site.send("POST", "/api/cron/stop/x").status == 401
    cookie_alone = site.send("POST", "/api/cron/stop/x", site.logged_in[0])
    assert (cookie_alone.status, cookie_alone.json["error"]) == (401, "Unauthorized")
    assert cron.arrived == []


# --- a service that fails


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_a_broken_answer_is_reported_as_not_running(site: Site, cron: FakeCron, fault: str) -> None:
    path = "/api/cron/" + fault.replace("_", "-")
    for reply in (site.get(path), site.post(path)):
        assert (reply.status, reply.json) == (503, NOT_RUNNING)
    assert site.get("/api/cron/health").status == 200


@pytest.mark.parametrize("path", ["gzip-bomb", "gzip-bomb-chunked", "big-redirect", "ten-megabytes-chunked"])
def test_a_large_answer_never_fills_the_memory(client: CronClient, path: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CronServiceUnavailable, match="more than 5242880 bytes"):
            client.get(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_service_that_is_not_there_is_reported_at_once(site: Site, cron: FakeCron) -> None:
    cron.stop()
    try:
        for reply in (site.get("/api/cron/health"), site.post("/api/cron/trigger/x")):
            assert (reply.status, reply.json) == (503, NOT_RUNNING)
    finally:
        cron.start()
    assert site.get("/api/cron/health").status == 200


@pytest.mark.parametrize("call", [CronClient.get, CronClient.post])
@pytest.mark.parametrize("fault", sorted(ENDLESS))
def test_an_endless_answer_ends_at_the_deadline(
    client: CronClient, fault: str, call: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("echo")
    with monkeypatch.context() as impatient:
        impatient.setattr(client, "_read_seconds", 0.4)
        impatient.setattr(client, "_write_seconds", 0.6)
        started = time.monotonic()
        with pytest.raises(CronServiceUnavailable, match=r"within 0\.[46] s"):
            call(client, fault)
        # Wide on purpose: without the deadline these would take 20 s or for ever.
        assert 0.3 < time.monotonic() - started < 15
    assert client.get("echo").status == 200


def test_what_is_told_has_a_deadline_of_its_own(client: CronClient) -> None:
    with pytest.raises(CronServiceUnavailable, match=r"within 0\.2 s"):
        client.tell("drips_header", b"", "text/plain", deadline_seconds=0.2)


def test_a_service_that_never_accepts_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        client = client_of(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_seconds=0.3)
        with pytest.raises(CronServiceUnavailable):
            client.get("health")
        for each in waiting:
            each.close()


def test_many_threads_are_each_cut_at_their_own_deadline(client: CronClient, cron: FakeCron) -> None:
    outcomes: list[str] = []

    def call(deadline_seconds: float) -> None:
        try:
            client.tell("drips_header", b"", "text/plain", deadline_seconds=deadline_seconds)
        except CronServiceUnavailable as error:
            outcomes.append(str(error))

    patient, *hasty = [threading.Thread(target=call, args=(seconds,)) for seconds in (60, 0.4, 0.3, 0.2)]
    for thread in (patient, *hasty):
        thread.start()
    for thread in hasty:
        thread.join(20)
    assert sorted(outcomes) == [f"no whole answer within {seconds} s" for seconds in (0.2, 0.3, 0.4)]
    assert patient.is_alive()
    cron.drop_connections()
    patient.join(20)
    assert len(outcomes) == 4


def test_the_log_says_why_and_the_user_is_not_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    reply = site.get("/api/cron/status-999")
    assert reply.json == NOT_RUNNING
    assert "no answer from the cron service: status 999" in caplog.text


# --- connections


def test_gets_share_one_connection(client: CronClient, cron: FakeCron) -> None:
    for _ in range(20):
        client.get("health")
    client.get("no-content")
    client.get("gzipped-chunked")
    client.get("health")
    assert cron.connections == 1


def test_a_restart_of_the_service_is_not_noticed(client: CronClient, cron: FakeCron) -> None:
    assert client.get("health").status == 200
    cron.stop()
    cron.start()
    assert client.get("health").status == 200


def test_a_get_on_a_connection_that_closes_under_it_is_repeated_once(
    client: CronClient, cron: FakeCron
) -> None:
    cron.patience = 1
    assert client.get("health").status == 200
    assert client.get("health").status == 200
    assert (cron.connections, len(cron.arrived)) == (2, 3)


def test_a_get_that_fails_on_a_fresh_connection_is_not_repeated(client: CronClient, cron: FakeCron) -> None:
    with pytest.raises(CronServiceUnavailable):
        client.get("dies-before-answering")
    assert len(cron.arrived) == 1


def test_a_post_goes_out_on_a_fresh_connection_and_only_once(client: CronClient, cron: FakeCron) -> None:
    cron.patience = 1
    client.get("health")
    assert client.post("trigger/x").status == 200
    assert cron.connections == 2
    with pytest.raises(CronServiceUnavailable):
        client.post("dies-before-answering")
    assert [arrived.target for arrived in cron.arrived] == ["/health", "/trigger/x", "/dies-before-answering"]


def tell(client: CronClient, path: str = "echo") -> int:
    return client.tell(path, b"{}", "application/json", deadline_seconds=20).status


@pytest.fixture
def control_url() -> Iterator[str]:
    """Of a server as the cron service runs one: it takes a hundred connections, others wait."""

    def answer(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"{}"]

    server = create_server(answer, host="127.0.0.1", port=0)
    serving = threading.Thread(target=server.run)
    serving.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.trigger.pull_trigger(partial(wasyncore.close_all, server._map, ignore_all=True))
    serving.join(20)
    server.task_dispatcher.shutdown()
    assert not serving.is_alive()


def test_more_threads_than_the_service_takes_connections_are_all_answered(control_url: str) -> None:
    threads = 130
    client, together = client_of(control_url, read_seconds=20), threading.Barrier(threads)

    def get() -> int:
        together.wait(60)
        return client.get("health").status

    with ThreadPoolExecutor(threads) as pool:
        answers = [pool.submit(get) for _ in range(threads)]
        assert {each.result() for each in answers} == {200}
    client.close()


def test_what_is_told_goes_out_on_one_connection_for_all_threads(client: CronClient, cron: FakeCron) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(1) as another:
            assert another.submit(tell, client).result() == 200
    assert (cron.connections, len(cron.arrived)) == (1, 5)
    assert {each.method for each in cron.arrived} == {"POST"}


def test_what_is_told_survives_a_restart_of_the_service(client: CronClient, cron: FakeCron) -> None:
    assert tell(client) == 200
    cron.stop()
    cron.start()
    assert tell(client) == 200


def test_what_is_told_is_repeated_once_where_its_connection_closes_under_it(
    client: CronClient, cron: FakeCron
) -> None:
    cron.patience = 1
    assert tell(client) == 200
    assert tell(client) == 200
    assert (cron.connections, len(cron.arrived)) == (2, 3)
    with pytest.raises(CronServiceUnavailable):
        tell(client, "dies-before-answering")
    assert len(cron.arrived) == 5, "on the kept connection and on a fresh one"
    with pytest.raises(CronServiceUnavailable):
        tell(client, "dies-before-answering")
    assert len(cron.arrived) == 6, "on a fresh one alone"


def test_no_thread_stays_when_there_is_nothing_to_watch(cron: FakeCron) -> None:
    # The server's own threads come and go as well.
    def watching() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name == "cron-client-deadlines"}

    others = watching()
    client = client_of(cron.url, read_seconds=3)
    client.get("health")
    assert watching() - others
    until(lambda: not watching() - others, "the thread to end")


FORKING = """
import os, sys
from app.cron_client import CronClient, CronServiceUnavailable
client = CronClient(sys.argv[1], "t", read_seconds=20)
client.get("health")
child = os.fork()
for _ in range(3):
    assert client.get("echo").status == 200
client._read_seconds = 0.5
try:
    client.get("drips_header")
except CronServiceUnavailable as error:
    assert "within 0.5 s" in str(error), error
else:
    raise AssertionError
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_gives_each_process_its_own_connection_and_deadlines(cron: FakeCron) -> None:
    checkout = Path(product.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", FORKING, cron.url], cwd=checkout, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert cron.connections == 2
