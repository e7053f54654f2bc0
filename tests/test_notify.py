"""Each channel against a real receiver that behaves, refuses, hangs, drips, redirects or lies."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import notify
from app.notify import cleaning, wire
from app.notify.message import Message
from tests import receivers
from tests.receivers import HttpReceiver, SmtpReceiver, refused_port

# Apprise's mail service loads it where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = Message(
    message_id="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    kind="overdue",
    title="Overdue: Fotos für Ömi 📷 on nas",
    body="No good backup Fotos für Ömi 📷 on nas has come.\n\nExpected: yesterday\n",
    severity="critical",
    url="https://veilleur.example/jobs/7",
    occurred_at=datetime(2026, 11, 23, 7, 0, tzinfo=UTC),
    facts={"server": "nas", "job": "Fotos für Ömi 📷", "toleranceSeconds": 3600, "lastGoodAt": None},
)
TOKEN = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
# Bounds of the calls under test; a call that keeps its bound is back long before the patience ends.
BOUND_SECONDS = 0.6
PATIENCE_SECONDS = 25


def mail_config(port: int, **more: object) -> dict[str, object]:
    base = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "from": "v@example.org",
        "to": "a@example.org",
    }
    return {**base, **more}


def ntfy_config(url: str, **more: object) -> dict[str, object]:
    return {"server": url, "topic": "backups", **more}


def webhook_config(url: str, **more: object) -> dict[str, object]:
    return {"url": f"{url}/hook", **more}


def apprise_config(url: str, **more: object) -> dict[str, object]:
    return {"urls": url.replace("http://", "json://") + "/hook", **more}


OVER_HTTP: dict[str, Callable[..., dict[str, object]]] = {"ntfy": ntfy_config, "webhook": webhook_config}


@pytest.fixture
def web() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[SmtpReceiver]:
    with SmtpReceiver() as receiver:
        yield receiver


def failure(kind: str, config: dict[str, object], **more: Any) -> notify.DeliveryError:
    with pytest.raises(notify.DeliveryError) as caught:
        notify.send(kind, config, more.pop("message", MESSAGE), **more)
    return caught.value


def bounded_failure(kind: str, config: dict[str, object]) -> notify.DeliveryError:
    """The failure of a call with a bound of its own, which must have kept it."""
    errors: list[notify.DeliveryError] = []
    thread = threading.Thread(
        target=lambda: errors.append(failure(kind, config, timeout_seconds=BOUND_SECONDS)), daemon=True
    )
    begun = time.monotonic()
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the call did not keep its bound"
    assert time.monotonic() - begun > BOUND_SECONDS * 0.9
    return errors[0]


# E-mail


def test_a_mail_arrives_with_its_text_and_its_headers(mail: SmtpReceiver) -> None:
    config = mail_config(mail.port, to="Ömi <a@example.org>, b@example.org")
    receipt = notify.send("email", config, MESSAGE)
    (arrived,) = mail.mails
    assert receipt.detail == "250 OK queued"
    assert arrived.sender == "v@example.org"
    assert arrived.recipients == ["a@example.org", "b@example.org"]
    message = arrived.message
    assert message["Subject"] == MESSAGE.title
    assert arrived.text.replace("\r\n", "\n") == MESSAGE.body
    assert message.get_content_type() == "text/plain"
    assert message.get_content_charset() == "utf-8"
    assert message["Message-ID"] == f"<{MESSAGE.message_id}@veilleur>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Veilleur-Kind"] == "overdue"
    assert message["From"] == "v@example.org"
    assert message["To"].addresses[0].display_name == "Ömi"
    assert message["Date"].datetime is not None
    assert arrived.raw.isascii()
    assert arrived.session_hello == "[127.0.0.1]"


def test_a_mail_asks_no_name_service_for_the_own_name(
    mail: SmtpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(wire.socket, "getfqdn", lambda name="": asked.append(name) or "x")
    notify.send("email", mail_config(mail.port), MESSAGE)
    assert asked == []


def test_a_retry_carries_the_same_message_id(mail: SmtpReceiver) -> None:
    for _attempt in range(2):
        notify.send("email", mail_config(mail.port), MESSAGE)
    assert len({arrived.message["Message-ID"] for arrived in mail.mails}) == 1


def test_a_name_with_line_breaks_adds_no_mail_header(mail: SmtpReceiver) -> None:
    evil = replace(
        MESSAGE, title="Overdue: x\r\nBcc: all@example.org\n\nHello\x00\u2028World", kind="test\r\nX-A: b"
    )
    notify.send("email", mail_config(mail.port), evil)
    (arrived,) = mail.mails
    assert arrived.message["Bcc"] is None
    assert arrived.message["X-A"] is None
    assert arrived.message["Subject"] == "Overdue: x Bcc: all@example.org Hello World"
    assert arrived.recipients == ["a@example.org"]


def test_a_very_long_subject_and_lines_of_a_single_dot_survive(mail: SmtpReceiver) -> None:
    title = "Überfällig: " + "sehr langer Name " * 20
    body = ".\n..\n.hidden\nFrom here\n" + "x" * 3000 + "\n"
    notify.send("email", mail_config(mail.port), replace(MESSAGE, title=title, body=body))
    (arrived,) = mail.mails
    assert arrived.message["Subject"] == title.strip()
    assert arrived.text.replace("\r\n", "\n") == body
    assert max(map(len, arrived.raw.split(b"\r\n"))) <= 998


def test_a_lone_surrogate_in_a_name_stops_no_mail(mail: SmtpReceiver) -> None:
    notify.send("email", mail_config(mail.port), replace(MESSAGE, title="a\ud800b", body="c\udfffd\n"))
    assert mail.mails[0].message["Subject"] == "ab"
    assert mail.mails[0].text.strip() == "cd"


def test_one_refused_recipient_among_several_is_reported_and_the_others_get_the_mail() -> None:
    with SmtpReceiver(refused={"gone@example.org": "550 no such user"}) as mail:
        config = mail_config(mail.port, to="a@example.org, gone@example.org")
        receipt = notify.send("email", config, MESSAGE)
        assert mail.mails[0].recipients == ["a@example.org"]
    assert receipt.detail == "250 OK queued; refused gone@example.org: 550 no such user"


@pytest.mark.parametrize(("answer", "permanent"), [("550 no such user", True), ("450 try later", False)])
def test_a_mail_whose_every_recipient_is_refused_fails(answer: str, permanent: bool) -> None:
    with SmtpReceiver(refused={"a@example.org": answer}) as mail:
        error = failure("email", mail_config(mail.port))
    assert error.reason == f"refused every recipient: a@example.org: {answer}"
    assert error.permanent is permanent


@pytest.mark.parametrize(("answer", "permanent"), [("554 looks like spam", True), ("451 disk full", False)])
def test_a_mail_that_the_server_does_not_take_fails_in_its_words(answer: str, permanent: bool) -> None:
    with SmtpReceiver(answer_to_data=answer) as mail:
        error = failure("email", mail_config(mail.port))
    assert error.reason == f"answered: {answer}"
    assert error.permanent is permanent


def test_a_login_is_used_and_a_wrong_password_is_told_but_not_shown() -> None:
    with SmtpReceiver(login=("veilleur", "correct-horse")) as mail:
        notify.send("email", mail_config(mail.port, username="veilleur", password="correct-horse"), MESSAGE)
        assert mail.mails[0].login == "veilleur"
        error = failure("email", mail_config(mail.port, username="veilleur", password="wrong-horse"))
    assert error.reason.startswith("refused the login: 535")
    assert error.permanent
    assert "horse" not in error.reason


def test_a_server_without_starttls_gets_no_mail_in_the_clear(mail: SmtpReceiver) -> None:
    error = failure("email", mail_config(mail.port, security="starttls"))
    assert "STARTTLS" in error.reason
    assert error.permanent
    assert mail.mails == []


@pytest.mark.parametrize("stage", ["connect", "data"])
def test_a_mail_server_that_falls_silent_is_given_up_in_time(stage: str) -> None:
    with SmtpReceiver(hang_at=stage) as mail:
        assert bounded_failure("email", mail_config(mail.port)).reason == "did not answer within 0.6 s"


@pytest.mark.parametrize("stage", ["connect", "data"])
def test_a_mail_server_that_drips_bytes_is_given_up_in_time(stage: str) -> None:
    with SmtpReceiver(drip_at=stage) as mail:
        assert bounded_failure("email", mail_config(mail.port)).reason == "did not answer within 0.6 s"


def test_a_port_that_is_no_mail_server_is_told(web: HttpReceiver) -> None:
    web.behaviour = receivers.hang()
    assert bounded_failure("email", mail_config(web.port)).reason == "did not answer within 0.6 s"


# ntfy


def test_ntfy_gets_the_message_as_json_at_its_root(web: HttpReceiver) -> None:
    receipt = notify.send("ntfy", ntfy_config(web.url + "/", token=TOKEN), MESSAGE)
    (request,) = web.requests
    assert receipt.detail == "200 OK"
    assert (request.method, request.path) == ("POST", "/")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.json() == {
        "topic": "backups",
        "title": MESSAGE.title,
        "message": MESSAGE.body.strip() + "\n",
        "priority": 5,
        "tags": ["rotating_light"],
        "click": MESSAGE.url,
    }


def test_ntfy_without_token_and_page_sends_neither(web: HttpReceiver) -> None:
    notify.send("ntfy", ntfy_config(web.url), replace(MESSAGE, url=None, severity="info"))
    (request,) = web.requests
    assert request.headers["Authorization"] is None
    assert "click" not in request.json()
    assert request.json()["priority"] == 3


def test_ntfy_gets_at_most_its_4096_bytes_of_text(web: HttpReceiver) -> None:
    notify.send("ntfy", ntfy_config(web.url), replace(MESSAGE, body="ü" * 5000))
    text = web.requests[0].json()["message"]
    assert 3900 < len(text.encode()) <= 4096
    assert text.endswith("ü…")


def test_a_title_for_ntfy_is_one_line(web: HttpReceiver) -> None:
    notify.send("ntfy", ntfy_config(web.url), replace(MESSAGE, title="a\r\nPriority: min\u202ed"))
    assert web.requests[0].json()["title"] == "a Priority: mind"


def test_a_web_page_is_no_receipt_of_ntfy(web: HttpReceiver) -> None:
    web.behaviour = receivers.ok(b"<h1>Welcome</h1>", {"Content-Type": "text/html; charset=utf-8"})
    assert "web page" in failure("ntfy", ntfy_config(web.url)).reason


# Webhook


def test_a_webhook_gets_the_whole_message_signed(web: HttpReceiver) -> None:
    config = webhook_config(
        web.url, method="put", secret="s3cr3t-key", headers="X-Room: 7\r\n\r\nX-Who:  me "
    )
    receipt = notify.send("webhook", config, MESSAGE)
    (request,) = web.requests
    assert receipt.detail == "200 OK"
    assert (request.method, request.path) == ("PUT", "/hook")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == MESSAGE.message_id
    assert (request.headers["X-Room"], request.headers["X-Who"]) == ("7", "me")
    digest = hmac.new(b"s3cr3t-key", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Veilleur-Signature"] == f"sha256={digest}"
    assert request.json() == {
        "messageId": MESSAGE.message_id,
        "kind": "overdue",
        "severity": "critical",
        "title": MESSAGE.title,
        "body": MESSAGE.body,
        "url": MESSAGE.url,
        "occurredAt": "2026-11-23T07:00:00Z",
        "facts": MESSAGE.facts,
    }


def test_a_webhook_without_secret_is_not_signed(web: HttpReceiver) -> None:
    notify.send("webhook", webhook_config(web.url), MESSAGE)
    assert web.requests[0].method == "POST"
    assert web.requests[0].headers["X-Veilleur-Signature"] is None
    assert web.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_every_2xx_of_a_webhook_is_success(web: HttpReceiver, code: int) -> None:
    web.behaviour = receivers.status(code)
    assert notify.send("webhook", webhook_config(web.url), MESSAGE).detail.startswith(str(code))


def test_an_answer_without_end_is_quoted_in_200_characters(web: HttpReceiver) -> None:
    web.behaviour = receivers.flood(500, b"boom ")
    error = failure("webhook", webhook_config(web.url), timeout_seconds=PATIENCE_SECONDS)
    assert error.reason.startswith("answered 500: boom boom")
    assert len(error.reason) <= len("answered 500: ") + 200


def test_a_200_whose_body_never_ends_is_success_within_the_bound(web: HttpReceiver) -> None:
    web.behaviour = receivers.drip_body(200)
    begun = time.monotonic()
    receipt = notify.send("webhook", webhook_config(web.url), MESSAGE, timeout_seconds=5 * BOUND_SECONDS)
    assert receipt.detail == "200 OK"
    assert time.monotonic() - begun < PATIENCE_SECONDS


def test_cookies_of_one_receiver_are_never_sent_back(web: HttpReceiver) -> None:
    web.behaviour = receivers.ok(b"", {"Set-Cookie": "session=1; Path=/"})
    for _attempt in range(2):
        notify.send("webhook", webhook_config(web.url), MESSAGE)
    assert web.requests[1].headers["Cookie"] is None


def test_proxy_variables_and_netrc_are_not_obeyed(
    web: HttpReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with refused_port() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        notify.send("webhook", webhook_config(web.url), MESSAGE)
    assert web.requests[0].headers["Authorization"] is None


def test_each_message_goes_out_on_a_connection_of_its_own(web: HttpReceiver) -> None:
    for _attempt in range(5):
        notify.send("webhook", webhook_config(web.url), MESSAGE)
    assert len({request.client_port for request in web.requests}) == 5


def test_messages_in_a_row_share_a_connection_and_the_next_row_has_another(web: HttpReceiver) -> None:
    for _row in range(2):
        with notify.in_a_row():
            for _attempt in range(3):
                notify.send("webhook", webhook_config(web.url), MESSAGE)
    ports = [request.client_port for request in web.requests]
    assert ports == [ports[0]] * 3 + [ports[3]] * 3
    assert ports[0] != ports[3]


@pytest.mark.parametrize(
    "drops",
    [
        receivers.reset(),
        receivers.raw(b""),
    ],
    ids=["resets", "closes"],
)
def test_a_connection_that_was_dropped_between_two_messages_costs_no_attempt(
    web: HttpReceiver, drops: receivers.Behaviour
) -> None:
    web.queue = [receivers.ok(), drops]
    with notify.in_a_row():
        for _attempt in range(3):
            assert notify.send("webhook", webhook_config(web.url), MESSAGE).detail == "200 OK"
    assert len(web.requests) == 4  # one came twice, under the same number


def test_a_receiver_that_drops_a_fresh_connection_too_has_failed(web: HttpReceiver) -> None:
    web.queue = [receivers.ok()]
    web.behaviour = receivers.reset()
    with notify.in_a_row():
        notify.send("webhook", webhook_config(web.url), MESSAGE)
        error = failure("webhook", webhook_config(web.url))
    assert error.reason == "closed the connection without an answer"
    assert len(web.requests) == 3


def test_an_answer_too_long_to_be_read_ends_its_connection(web: HttpReceiver) -> None:
    web.queue = [receivers.ok(b"x" * 200_000)]
    with notify.in_a_row():
        for _attempt in range(2):
            assert notify.send("webhook", webhook_config(web.url), MESSAGE).detail == "200 OK"
    assert len({request.client_port for request in web.requests}) == 2


def test_eight_threads_send_at_once_without_mixing_their_bounds(web: HttpReceiver) -> None:
    def one(number: int) -> None:
        notify.send("webhook", webhook_config(web.url), replace(MESSAGE, message_id=f"{number:032x}"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len({request.headers["Idempotency-Key"] for request in web.requests}) == 8


# ntfy and webhook: what goes wrong


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize(
    ("code", "permanent"),
    [
        (500, False),
        (503, False),
        (429, False),
        (408, False),
        (400, True),
        (401, True),
        (403, True),
        (404, True),
    ],
)
def test_a_status_that_is_not_2xx_fails_in_the_receivers_words(
    web: HttpReceiver, kind: str, code: int, permanent: bool
) -> None:
    web.behaviour = receivers.status(code, b'{"error":"out of\r\n order"}')
    error = failure(kind, OVER_HTTP[kind](web.url))
    assert error.reason == f'answered {code}: {{"error":"out of order"}}'
    assert error.permanent is permanent
    assert len(web.requests) == 1


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_an_error_page_is_quoted_as_text(web: HttpReceiver, kind: str) -> None:
    page = (
        b"<html><head><style>b{}</style><title>502 Bad Gateway</title></head><body><p>nginx</p></body></html>"
    )
    web.behaviour = receivers.status(502, page, {"Content-Type": "text/html"})
    assert failure(kind, OVER_HTTP[kind](web.url)).reason == "answered 502: 502 Bad Gateway nginx"


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_a_redirect_is_not_followed_and_says_so(web: HttpReceiver, kind: str) -> None:
    with HttpReceiver() as elsewhere:
        web.behaviour = receivers.redirect(f"{elsewhere.url}/secret-place")
        error = failure(kind, OVER_HTTP[kind](web.url))
        assert elsewhere.requests == []
    assert error.reason.startswith("answered 302: a redirect to http://127.0.0.1")
    assert "not followed" in error.reason
    assert "secret-place" not in error.reason
    assert error.permanent


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize("behaviour", [receivers.hang(), receivers.drip_headers()], ids=["hang", "drip"])
def test_a_web_receiver_that_hangs_or_drips_is_given_up_in_time(
    web: HttpReceiver, kind: str, behaviour: receivers.Behaviour
) -> None:
    web.behaviour = behaviour
    assert bounded_failure(kind, OVER_HTTP[kind](web.url)).reason == "did not answer within 0.6 s"


def test_a_slow_receiver_within_the_bound_is_fine(web: HttpReceiver) -> None:
    web.behaviour = receivers.slow(0.3)
    assert notify.send("webhook", webhook_config(web.url), MESSAGE, timeout_seconds=10).detail == "200 OK"


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_a_reset_connection_is_told(web: HttpReceiver, kind: str) -> None:
    web.behaviour = receivers.reset()
    assert failure(kind, OVER_HTTP[kind](web.url)).reason == "closed the connection without an answer"


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize("content", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 abc\r\n\r\n", b"X" * 100_000])
def test_an_answer_that_is_no_http_is_told(web: HttpReceiver, kind: str, content: bytes) -> None:
    web.behaviour = receivers.raw(content)
    assert failure(kind, OVER_HTTP[kind](web.url)).reason == "did not answer as a web server does"


@pytest.mark.parametrize("kind", ["email", "ntfy", "webhook"])
def test_a_port_that_refuses_is_told(kind: str) -> None:
    with refused_port() as port:
        config = mail_config(port) if kind == "email" else OVER_HTTP[kind](f"http://127.0.0.1:{port}")
        error = failure(kind, config)
    assert error.reason == "refused the connection"
    assert not error.permanent


@pytest.mark.parametrize("kind", ["email", "ntfy", "webhook"])
def test_a_name_that_does_not_exist_is_told(kind: str) -> None:
    config = (
        mail_config(25, host="nowhere.invalid")
        if kind == "email"
        else OVER_HTTP[kind]("http://nowhere.invalid")
    )
    assert failure(kind, config).reason.startswith("name not found")


def test_a_name_service_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def look_up(*_where: object, flags: int = 0, **_more: object) -> list[object]:
        if not flags:
            released.wait(30)
        raise wire.socket.gaierror(wire.socket.EAI_NONAME, "not a number")

    monkeypatch.setattr(wire.socket, "getaddrinfo", look_up)
    error = bounded_failure("webhook", webhook_config("http://slow.example"))
    released.set()
    assert error.reason == "did not answer within 0.6 s"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "999999999"}, 86400),
        ({"Date": "Mon, 23 Nov 2026 07:00:00 GMT", "Retry-After": "Mon, 23 Nov 2026 07:02:00 GMT"}, 120),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_a_receiver_asks_for_is_passed_on(
    web: HttpReceiver, headers: dict[str, str], seconds: int | None
) -> None:
    def behave(handler: receivers.Handler) -> None:
        handler.send_response_only(503)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    web.behaviour = behave
    assert failure("webhook", webhook_config(web.url)).retry_after_seconds == seconds


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    target = folder / "both.pem"
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    target.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return target


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operator's own authority, as the system's variable names it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fresh_threads_and_context()
    yield
    monkeypatch.delenv("SSL_CERT_FILE")
    fresh_threads_and_context()


def fresh_threads_and_context() -> None:
    wire.tls_context.cache_clear()
    notify.http._local.__init__()


def tls_config(kind: str, port: int) -> dict[str, object]:
    if kind == "webhook":
        return webhook_config(f"https://127.0.0.1:{port}")
    return mail_config(port, security=kind)


@pytest.fixture(params=["webhook", "tls", "starttls"])
def secured(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[tuple[str, Any]]:
    if request.param == "webhook":
        with HttpReceiver(tls=tls) as web:
            yield request.param, web
    else:
        with SmtpReceiver(tls=tls, implicit_tls=request.param == "tls") as mail:
            yield request.param, mail


@pytest.mark.usefixtures("trusted")
def test_an_encrypted_receiver_of_the_own_authority_is_reached(secured: tuple[str, Any]) -> None:
    kind, receiver = secured
    notify.send("webhook" if kind == "webhook" else "email", tls_config(kind, receiver.port), MESSAGE)
    arrived = receiver.requests if kind == "webhook" else receiver.mails
    assert len(arrived) == 1
    assert kind == "webhook" or arrived[0].tls


def test_a_certificate_that_nobody_vouches_for_is_refused(secured: tuple[str, Any]) -> None:
    kind, receiver = secured
    error = failure("webhook" if kind == "webhook" else "email", tls_config(kind, receiver.port))
    assert error.reason.startswith("its certificate is not trusted: ")
    assert (receiver.requests if kind == "webhook" else receiver.mails) == []


@pytest.mark.usefixtures("trusted")
def test_an_encrypted_receiver_that_drips_is_given_up_in_time(tls: ssl.SSLContext) -> None:
    with HttpReceiver(receivers.drip_headers(), tls=tls) as web:
        assert bounded_failure("webhook", webhook_config(web.url)).reason == "did not answer within 0.6 s"


def test_an_encrypted_call_to_a_port_in_the_clear_says_what_to_check(mail: SmtpReceiver) -> None:
    error = failure("email", mail_config(mail.port, security="tls"))
    assert error.reason.startswith("no encrypted connection")


def test_an_encrypted_call_to_a_silent_port_is_given_up_in_time() -> None:
    with SmtpReceiver(hang_at="connect") as mail:
        error = bounded_failure("email", mail_config(mail.port, security="tls"))
    assert error.reason == "did not answer within 0.6 s"


# Apprise


def test_an_apprise_service_gets_the_message_as_text(web: HttpReceiver) -> None:
    receipt = notify.send("apprise", apprise_config(web.url), replace(MESSAGE, title="<b>x</b>"))
    (request,) = web.requests
    assert receipt.detail == "taken by the service"
    assert request.path.rstrip("/") == "/hook"
    assert request.json()["title"] == "<b>x</b>"
    assert request.json()["message"].strip() == MESSAGE.body.strip()
    assert request.json()["type"] == "failure"


def test_a_recovery_is_good_news_for_apprise(web: HttpReceiver) -> None:
    notify.send("apprise", apprise_config(web.url), replace(MESSAGE, kind="recovered", severity="info"))
    assert web.requests[0].json()["type"] == "success"


def test_several_apprise_services_all_get_the_message(web: HttpReceiver) -> None:
    urls = f"json://127.0.0.1:{web.port}/first\n json://127.0.0.1:{web.port}/second"
    assert notify.send("apprise", {"urls": urls}, MESSAGE).detail == "taken by 2 services"
    assert sorted(request.path.strip("/") for request in web.requests) == ["first", "second"]


def test_a_failed_apprise_service_is_told_with_its_words(web: HttpReceiver) -> None:
    web.behaviour = receivers.status(500, b"out of <b>order</b>")
    error = failure("apprise", apprise_config(web.url))
    assert "out of order" in error.reason
    assert "error=500" in error.reason


def test_an_apprise_service_that_refuses_is_told() -> None:
    with refused_port() as port:
        error = failure("apprise", apprise_config(f"http://127.0.0.1:{port}"))
    assert error.reason.startswith("refused the connection; ")


@pytest.mark.parametrize("query", ["", "?redirect=yes"])
def test_apprise_follows_no_redirect(web: HttpReceiver, query: str) -> None:
    with HttpReceiver() as elsewhere:
        web.behaviour = receivers.redirect(elsewhere.url)
        error = failure("apprise", {"urls": f"json://127.0.0.1:{web.port}/hook{query}"})
        assert elsewhere.requests == []
    assert "302" in error.reason


def test_an_apprise_service_that_drips_is_given_up_and_takes_no_second_worker(web: HttpReceiver) -> None:
    web.behaviour = receivers.drip_headers()
    config = apprise_config(web.url)
    assert bounded_failure("apprise", config).reason == "did not answer within 0.6 s"
    assert "still busy" in failure("apprise", config).reason
    receivers.wait_until(lambda: web.requests)
    assert len(web.requests) == 1
    web.behaviour = receivers.ok()
    web.release()
    receivers.wait_until(lambda: works("apprise", config))


def works(kind: str, config: dict[str, object]) -> bool:
    try:
        notify.send(kind, config, MESSAGE)
    except notify.DeliveryError:
        return False
    return True


@pytest.mark.parametrize("kind", ["webhook", "apprise"])
def test_no_secret_reaches_the_log_even_at_debug_level(web: HttpReceiver, kind: str) -> None:
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    web.behaviour = receivers.status(403)
    address = f"me:passw0rd@127.0.0.1:{web.port}/path-of-secrets"
    try:
        logging.getLogger("veilleur").debug("the log is written")
        failure(kind, {"urls": f"json://{address}"} if kind == "apprise" else {"url": f"http://{address}"})
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "the log is written" in written.getvalue()
    assert "passw0rd" not in written.getvalue()
    assert "path-of-secrets" not in written.getvalue()


# Settings

GOOD = {
    "email": {"host": "mail.example", "from": "v@example.org", "to": "a@example.org"},
    "ntfy": {"topic": "backups"},
    "webhook": {"url": "https://host.example/hook"},
    "apprise": {"urls": "json://host.example/hook"},
}

WRONG = [
    ("email", "host", ["", None, "a b", "mail.example/x", "a\nb", 7.5, ["x"]]),
    ("email", "port", ["0", "65536", "x", -1, "٣", True, "25\n26"]),
    ("email", "security", ["ssl", "STARTTLS\x00", 1]),
    (
        "email",
        "from",
        ["", "nobody", "a@b\r\nBcc: c@d", "a@b, c@d", "@", "a@", "<>", "a b@c.d", "ü@example.org"],
    ),
    (
        "email",
        "to",
        ["", " , ", "nobody", "a@b.c, nobody", "a@b\nc@d", ",".join(f"a{n}@b.c" for n in range(51))],
    ),
    ("ntfy", "server", ["ftp://x", "ntfy.sh", "https://", "https://x?y=1", "http://a b", "http://x:99999"]),
    ("ntfy", "topic", ["", "a/b", "a b", "ü", "x" * 65]),
    ("ntfy", "token", ["a b", "tökén", "a\r\nX: y"]),
    (
        "webhook",
        "url",
        ["", "file:///etc/passwd", "https://", "http://x y", "//x", "http://x\\y", "x" * 5000],
    ),
    ("webhook", "method", ["GET", "DELETE", "P\nOST"]),
    ("webhook", "headers", ["novalue", "a b: c", "X: ü", "X: ", "Host: x", "content-length: 1", "X: a\x0bb"]),
    ("webhook", "secret", ["a\nb", {"a": 1}]),
    ("apprise", "urls", ["", "nothing", "nosuchservice://x", "json://good.example\nbad://x"]),
]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value) for kind, field, values in WRONG for value in values],
)
def test_a_wrong_setting_is_named(kind: str, field: str, value: object) -> None:
    with pytest.raises(notify.ConfigError) as caught:
        notify.check(kind, {**GOOD[kind], field: value})
    assert caught.value.field == field
    assert caught.value.expected
    assert str(caught.value) == f"{field}: {caught.value.expected}"


def test_every_field_of_every_kind_is_among_the_wrong_settings() -> None:
    tried = {(kind, field) for kind, field, _values in WRONG}
    free = {("email", "username"), ("email", "password")}
    assert tried | free == {
        (kind.name, field.name) for kind in notify.KINDS.values() for field in kind.fields
    }


@pytest.mark.parametrize(("given", "missing"), [("username", "password"), ("password", "username")])
def test_a_user_name_and_a_password_come_together(given: str, missing: str) -> None:
    with pytest.raises(notify.ConfigError) as caught:
        notify.check("email", {**GOOD["email"], given: "x"})
    assert caught.value.field == missing


def test_an_unknown_setting_and_an_unknown_kind_are_named() -> None:
    with pytest.raises(notify.ConfigError, match=r"^tpoic: no such setting"):
        notify.check("ntfy", {**GOOD["ntfy"], "tpoic": "x"})
    with pytest.raises(notify.ConfigError, match=r"^kind: one of email, ntfy, webhook, apprise"):
        notify.check("pigeon", {})


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_of_a_mail_server_follows_its_encryption(security: str, port: int) -> None:
    assert notify.check("email", {**GOOD["email"], "security": security})["port"] == port


def test_checked_settings_are_complete_and_stay_as_they_are_when_checked_again() -> None:
    for kind, config in GOOD.items():
        checked = notify.check(kind, config)
        assert set(checked) == {field.name for field in notify.KINDS[kind].fields}
        assert notify.check(kind, checked) == checked
        assert json.loads(json.dumps(checked)) == checked


def test_recipients_may_be_a_list_and_repeat_and_carry_names() -> None:
    to = ["a@example.org", "Ömi <b@exämple.org>", "a@example.org"]
    checked = notify.check("email", {**GOOD["email"], "to": to})
    assert checked["to"] == "a@example.org, Ömi <b@xn--exmple-cua.org>"


def test_settings_that_can_not_be_used_fail_the_delivery_for_good() -> None:
    error = failure("ntfy", {"topic": "a b"})
    assert error.reason.startswith("the channel's settings can't be used: topic")
    assert error.permanent
    assert failure("pigeon", {}).permanent


# Secrets


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        (
            "email",
            GOOD["email"] | {"username": "u", "password": "pw-1"},
            "e-mail to a@example.org through mail.example:587",
        ),
        ("ntfy", {"topic": "backups", "token": TOKEN}, "ntfy ntfy.sh/backups"),
        (
            "webhook",
            {"url": "https://me:pw-1@host.example:8443/t0ken?k=v"},
            "webhook https://host.example:8443/…",
        ),
        ("apprise", {"urls": "discord://123456789/abcdefghijklmn"}, "Apprise discord://****"),
    ],
)
def test_a_channel_is_described_without_its_secrets(kind: str, config: dict[str, object], told: str) -> None:
    assert notify.describe(kind, notify.check(kind, config)) == told


def echo(handler: receivers.Handler) -> None:
    """The worst receiver: it repeats everything that it was sent."""
    request = handler.server.receiver.requests[-1]
    pieces = re.split("[/?&=]", request.path)
    sent = " ".join(
        [request.path, *pieces, *(f"{name} is {value}" for name, value in request.headers.items())]
    )
    handler.answer(500, sent.encode())


def test_a_receiver_that_repeats_secrets_does_not_bring_them_into_the_reason(web: HttpReceiver) -> None:
    web.behaviour = echo
    port = web.port
    cases: list[tuple[str, dict[str, object], list[str]]] = [
        ("ntfy", ntfy_config(web.url, token=TOKEN), [TOKEN]),
        (
            "webhook",
            {
                "url": f"http://me:passw0rd@127.0.0.1:{port}/services/T0KENT0KEN?code=querysecret",
                "headers": "X-Key: headersecret\nX-Auth: Special othersecret",
            },
            ["passw0rd", "T0KENT0KEN", "querysecret", "headersecret", "othersecret", "bWU6cGFzc3cwcmQ"],
        ),
        ("apprise", {"urls": f"json://me:passw0rd@127.0.0.1:{port}/T0KENT0KEN"}, ["passw0rd", "T0KENT0KEN"]),
    ]
    for kind, config, secrets in cases:
        reason = failure(kind, config).reason
        assert "500" in reason
        assert not [secret for secret in secrets if secret in reason], reason


def test_a_receipt_does_not_repeat_a_password() -> None:
    with SmtpReceiver(login=("u", "correct-horse"), answer_to_data="250 hello correct-horse") as mail:
        config = mail_config(mail.port, username="u", password="correct-horse")
        assert notify.send("email", config, MESSAGE).detail == "250 hello ****"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("see https://user:pw@host.example/path?token=x.", "see https://****@host.example/…."),
        ("https://host.example/hooks/T0/B1", "https://host.example/…"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/…"),
        ("https://user:p/w@host.example/", "https://****"),
        ("discord://id/token failed", "discord://**** failed"),
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer ****"),
        ('{"token":"abc123","a":1}', '{"token":"****","a":1}'),
        ("api_key=abc&x=1", "api_key=****&x=1"),
        ("user:pw@mail.example said no", "****@mail.example said no"),
        ("550 5.1.1 <a@example.org>: no such user", "550 5.1.1 <a@example.org>: no such user"),
        ("answered 500: out of order", "answered 500: out of order"),
    ],
)
def test_secrets_in_a_text_are_masked(text: str, masked: str) -> None:
    assert notify.mask(text) == masked
    assert notify.mask(masked) == masked


def test_masking_a_long_text_takes_no_time_to_speak_of() -> None:
    for text in ("a:" * 50_000, "token" * 20_000, "http://" * 20_000, "x" * 200_000 + "://"):
        begun = time.monotonic()
        notify.mask(text)
        assert time.monotonic() - begun < PATIENCE_SECONDS


def test_a_reason_is_one_line_of_at_most_500_characters() -> None:
    error = notify.DeliveryError("a\r\nb " * 1000)
    assert len(error.reason) == 500
    assert error.reason.startswith("a b a b")
    assert str(error) == error.reason


def test_text_is_cleaned_but_keeps_its_letters() -> None:
    assert cleaning.one_line("  a\tb\u2028c\x1b[31m\u202ed\ud800 é 日本 👩‍👧 ") == "a b c[31md é 日本 👩‍👧"
    assert cleaning.lines("a\r\n  b\rc\x00d  \n") == "a\n  b\ncd\n"
