"""Words from strangers stay words: names, errors and log lines in pages, messages, terminal and log."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import apprise
import pytest
import requests
from click.testing import Result
from sqlalchemy import delete, select, update

from app import maintenance, notify
from app.clock import utcnow
from app.log_lines import RecordFormatter
from app.maintenance import Window
from app.models import (
    Alert,
    ApiKey,
    AuditEntry,
    Channel,
    Delivery,
    Job,
    MaintenanceWindow,
    MessageTemplate,
    QuarantinedBody,
    Report,
    ReportBody,
    Server,
    TaskRun,
    Total,
    User,
)
from app.notify import Message, texts
from tests import databases, factories
from tests.processes import PASSWORD, Veilleur
from tests.receivers import HttpReceiver, SmtpReceiver, ok
from tests.stage import backup_body
from tests.test_access import ROWS
from tests.visitors import Visitors, furnish
from tests.web import LoggedIn, Site, site

HOSTILE = {
    "markup": "</title><script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\' onfocus=\'alert(1)',
    "template": "{{ 7*191 }} {% raw %} ${7*191} %(job)s {0} #{7*191}",
    "address": "javascript:alert(1)",
    "terminal": "\x1b[2J\x1b]0;owned\x07 \x9b31m",
    "lines": "nas\r\nBcc: all@evil.example\r\n\r\nsecond\u2028third\x0bfourth",
    "direction": "\u202egpj.evil\u2066",
    "formula": '=HYPERLINK("http://evil.example";"good")',
    "commands": "@everyone <!channel> <@U1|x> [good](http://evil.example) ||hidden|| ~~struck~~ ```quoted```",
}
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
EVERY_WORD = pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitors]:
    with site(tmp_path_factory.mktemp("injection")) as made:
        yield Visitors(made)


def empty(site: Site) -> None:
    with site.database.writing() as rows:
        for each in (
            Delivery,
            Alert,
            Channel,
            ReportBody,
            Report,
            MaintenanceWindow,
            MessageTemplate,
            Job,
            Server,
            QuarantinedBody,
            TaskRun,
        ):
            rows.execute(delete(each))
        rows.execute(update(Total).values(value=0))
        databases.number_anew(rows)


@pytest.fixture
def here(visitors: Visitors) -> Site:
    """Without anything that a test before has left."""
    empty(visitors.here)
    return visitors.here


def failed_report(words: str, days_ago: int = 3) -> bytes:
    """What a client sends whose every word is chosen by somebody else."""
    content = json.loads(backup_body(utcnow() - timedelta(days=days_ago), name=words, machine="nas"))
    content["Extra"] |= {"machine-name": words, "backup-id": "DB-1"}
    content["Data"] |= {"ParsedResult": "Error", "Errors": [words], "ErrorsActualLength": 1, "Version": words}
    content["LogLines"] = [words, *words.splitlines()]
    return json.dumps(content).encode()


def upload(here: Site, body: bytes, **headers: str) -> int:
    return (
        here.stranger().post(f"/api/upload?api_key={here.upload_key}", data=body, headers=headers).status_code
    )


# Pages


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, and where links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _value in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def pages(visitors: Visitors, words: str) -> dict[str, Structure]:
    """Every page of a site on which everything is called so."""
    here = visitors.here
    furnish(here)
    empty(here)
    visitors.send("admin", ROWS[0])  # so that the login is in the log before it is emptied
    assert upload(here, failed_report(words)) == 200
    assert upload(here, b'{"Data": "' + words.encode() + b'"', **{"Content-Type": "text/x"}) == 400
    with here.database.writing() as rows:
        job, report = rows.scalars(select(Job)).one(), rows.scalars(select(Report)).one()
        job.acknowledged_at, job.acknowledged_by = utcnow(), words[:80]
        once = Window(starts_at=utcnow(), ends_at=utcnow() + timedelta(hours=1))
        maintenance.add(rows, words, once, utcnow())
        channel = factories.add_channel(rows, words, failing_since_at=utcnow(), last_error=words)
        factories.add_delivery(rows, factories.add_alert(rows, job), channel, detail=words)
        factories.add_quarantined(
            rows, reason=words, key_label=words, missing_fields=[words], content_type=words
        )
        factories.add_message_template(rows, title=words, body=words, updated_by=words[:80])
        factories.add_check(rows, succeeded=False, message=words)
        rows.execute(delete(ApiKey).where(ApiKey.id.not_in((1, 2, 900))))
        rows.execute(update(ApiKey).where(ApiKey.id == 900).values(label=words))
        told = {"actor": words[:80], "action": words[:60], "target": words, "before": words, "after": words}
        rows.execute(delete(AuditEntry))
        rows.add(AuditEntry(happened_at=utcnow(), address="", **told))
        assert (job.id, report.id) == (1, 1)
    found = {}
    for row in ROWS:
        if row.method == "GET" and not row.path.startswith("/api/") and row.expected["admin"] == "200":
            with visitors.send("admin", row) as answer:
                if answer.mimetype == "text/html":
                    found[row.path] = Structure(answer.text)
    return found


@pytest.fixture(scope="module")
def admin(visitors: Visitors) -> LoggedIn:
    return visitors.here.administrator()


@pytest.fixture(scope="module")
def plain_pages(visitors: Visitors, admin: LoggedIn) -> dict[str, Structure]:
    empty(visitors.here)
    return pages(visitors, "documents")


@EVERY_WORD
def test_a_page_is_built_the_same_whatever_things_are_called(
    visitors: Visitors, plain_pages: dict[str, Structure], here: Site, words: str
) -> None:
    found, expected = pages(visitors, words), plain_pages
    assert set(found) == set(expected)
    for path, structure in found.items():
        assert structure.elements == expected[path].elements, path
        assert [link for link in structure.links if not re.match(r"(/(?![/\\])|#)", link)] == [], path


def test_what_strangers_send_is_handed_out_as_text_to_be_saved_never_to_be_shown(
    visitors: Visitors, here: Site
) -> None:
    handed_out = [row for row in ROWS if row.path.endswith("/raw")]
    assert handed_out
    furnish(here)
    for row in handed_out:
        answer = visitors.send("admin", row)
        assert answer.content_type == "text/plain; charset=utf-8"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@EVERY_WORD
def test_a_path_or_query_is_not_repeated_as_markup(here: Site, admin: LoggedIn, words: str) -> None:
    filters = ({"actor": words}, {"action": words}, {"target": words}, {"from": words}, {"to": words})
    for query in filters:
        page = admin.get("/settings/audit", query_string=query).text
        assert "<script>alert" not in page
        assert "1337" not in page
    for query in ({"state": words}, {"after": words}, {"before": words}, {"next": words}, {"since": words}):
        for path in ("/", "/jobs/1", "/login", "/quarantine", "/settings/users", "/connect/900", "/nothing"):
            page = admin.get(path, query_string=query).text
            assert "<script>alert" not in page
            assert "1337" not in page
    page = here.stranger().get("/login", query_string={"next": words}).text
    assert Structure(page).elements == Structure(here.stranger().get("/login").text).elements
    assert admin.get(f"/{words}").text.count("alert(1)") == 0


@EVERY_WORD
def test_json_stays_json_whatever_the_error_quotes(
    here: Site, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr("app.passwords.time.sleep", lambda _seconds: None)
    body = json.dumps({"username": words, "password": words})
    answer = here.stranger().post("/api/auth/login", data=body, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (401, "application/json")
    answer = here.stranger().post(f"/api/upload?api_key={here.upload_key}", data=words.encode())
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert "<script" not in answer.text


# Messages


def message(words: str, kind: str = "failed") -> Message:
    facts = {"state": "failed", "job": words, "server": words, "outcome": words, "error": words}
    return texts.compose(
        kind,
        facts,
        message_id="ab" * 16,
        occurred_at=utcnow(),
        url="https://v.example/jobs/7",
        zone="UTC",
    )


@pytest.fixture
def web() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


@EVERY_WORD
def test_a_mail_keeps_its_headers_and_is_plain_text(here: Site, words: str) -> None:
    with here.app.app_context(), SmtpReceiver() as mail:
        config = {"host": "127.0.0.1", "port": mail.port, "security": "none"}
        notify.send("email", {**config, "from": "v@example.org", "to": "a@example.org"}, message(words))
        notify.send("email", {**config, "from": "v@example.org", "to": "a@example.org"}, message("documents"))
    hostile, plain = mail.mails
    assert hostile.recipients == ["a@example.org"]
    assert list(hostile.message.keys()) == list(plain.message.keys())
    assert hostile.message.get_content_type() == "text/plain"
    assert not hostile.message.is_multipart()
    assert not CONTROLS.search(hostile.text.replace("\r\n", "") + str(hostile.message["Subject"]))
    assert "https://v.example/jobs/7" in hostile.text


@EVERY_WORD
def test_ntfy_gets_words_only_no_headers_actions_or_markdown(
    here: Site, web: HttpReceiver, words: str
) -> None:
    with here.app.app_context():
        for each in (words, "documents"):
            notify.send("ntfy", {"server": web.url, "topic": "backups"}, message(each))
    hostile, plain = web.requests
    assert list(hostile.headers) == list(plain.headers)
    assert (
        list(hostile.json())
        == list(plain.json())
        == ["topic", "title", "message", "priority", "tags", "click"]
    )
    assert (hostile.json()["topic"], hostile.json()["click"]) == ("backups", "https://v.example/jobs/7")
    assert not CONTROLS.search(hostile.json()["title"] + hostile.json()["message"])
    assert "\n" not in hostile.json()["title"]


@EVERY_WORD
def test_a_webhook_gets_its_members_and_headers_and_no_others(
    here: Site, web: HttpReceiver, words: str
) -> None:
    with here.app.app_context():
        for each in (words, "documents"):
            notify.send("webhook", {"url": f"{web.url}/hook", "secret": "s3cret"}, message(each))
    hostile, plain = web.requests
    assert list(hostile.headers) == list(plain.headers)
    assert list(hostile.json()) == list(plain.json())
    assert hostile.json()["facts"]["job"] == words, "facts are data and travel as they are"
    assert not CONTROLS.search(hostile.json()["title"] + hostile.json()["body"])


def chat_addresses(web: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Real formatting of each service, sent here: only the address that a service is reached at is ours."""
    plugins = apprise.plugins.N_MGR
    monkeypatch.setattr(plugins["discord"], "notify_url", f"{web.url}/discord")
    monkeypatch.setattr(plugins["slack"], "webhook_url", f"{web.url}/slack")
    monkeypatch.setattr(plugins["tgram"], "notify_url", f"{web.url}/telegram/")
    discord = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
    return [
        discord,
        f"{discord}?format=markdown",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "tgram://123456789:abcdefg_hijklmnop/12315544/?format=markdown",
        f"mmost://127.0.0.1:{web.port}/3ccdd113474722377935511fc85d3dd4",
        f"json://127.0.0.1:{web.port}/hook",
    ]


# What a chat service would obey, in its request as it arrived.
OBEYED = {
    "a mention of everybody": re.compile(r"(?i)@(everyone|here|channel|all|room)"),
    "a mention of a user or channel": re.compile(r"<[!@#]\w"),
    "a link under another text": re.compile(r"(?<!\\)\](?<!\\)\(|<https?:[^>]*\||<a\s"),
    "a hidden passage": re.compile(r"\|\|(?=\w)"),
    "a struck passage": re.compile(r"~~(?=\w)"),
    "a quoted passage": re.compile(r"```"),
}
MARKUP = {"markup": re.compile(r"<(script|img|a|title)\b|</title")}


@EVERY_WORD
def test_a_chat_service_obeys_nobody_but_us(
    here: Site, web: HttpReceiver, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    web.behaviour = ok(b"ok")
    for url in chat_addresses(web, monkeypatch):
        with here.app.app_context():
            notify.send("apprise", {"urls": url}, message(words))
        reads_markup = url.startswith(("slack:", "tgram:")) and "markdown" not in url
        for name, pattern in {**OBEYED, **(MARKUP if reads_markup else {})}.items():
            for text in every_text(web.requests[-1].json()):
                assert not pattern.search(text), f"{url}: {name} in {text!r}"


def every_text(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from every_text(each)


@pytest.mark.parametrize(
    "text",
    [
        "write to ömi@example.org",
        "https://v.example/jobs/7?a=[1]",
        "a | b ~ c and `code`",
        "list[0] (of 3) < 5 @ noon",
        "__init__.py and **all**",
        "Fotos für Ömi 📷",
    ],
)
def test_ordinary_text_reaches_a_chat_as_it_is(text: str) -> None:
    assert notify.cleaning.neutralized(text) == text


# The terminal


def told(here: Site, *arguments: str) -> str:
    result: Result = here.app.test_cli_runner().invoke(args=list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@EVERY_WORD
def test_a_command_prints_a_line_for_each_and_no_command_to_the_terminal(here: Site, words: str) -> None:
    assert upload(here, failed_report(words)) == 200
    with here.database.writing() as rows:
        # As an older version may have stored them.
        for job in rows.scalars(select(Job)):
            job.name = job.server.name = words
        channel = Channel(
            kind="ntfy", name=words, config={"server": "https://n", "topic": "t"}, created_at=utcnow()
        )
        rows.add(channel)
        keys, users = rows.query(ApiKey).count(), rows.query(User).count()
    for arguments in (("check", "--dry-run"), ("channel", "list"), ("key", "list"), ("user", "list")):
        output = told(here, *arguments)
        assert not CONTROLS.search(output.replace("\n", "")), arguments
        lines = {"check": 2, "channel": 1, "key": keys, "user": users}[arguments[0]]
        assert len(output.splitlines()) == lines, output


@EVERY_WORD
def test_labels_and_names_are_stored_as_one_clean_line(here: Site, words: str) -> None:
    told(here, "key", "add", words)
    told(here, "channel", "add", "webhook", words, "url=http://127.0.0.1/x", "--no-test")
    assert upload(here, failed_report(words)) == 200
    with here.database.reading() as rows:
        job = rows.scalars(select(Job)).one()
        names = [job.name, job.server.name, *rows.scalars(select(Channel.name))]
    for name in (*names, *told(here, "key", "list").splitlines()):
        assert not CONTROLS.search(name)
        assert "\n" not in name


# The log


def formatted(logger: logging.Logger, log: object) -> str:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(RecordFormatter())
    logger.addHandler(handler)
    try:
        log()  # type: ignore[operator]
    finally:
        logger.removeHandler(handler)
    return output.getvalue()


@EVERY_WORD
def test_a_record_of_the_log_is_one_line(words: str) -> None:
    logger = logging.getLogger("tests.injection")
    output = formatted(logger, lambda: logger.error("refused: %s", words))
    assert output.count("\n") == 1
    assert not CONTROLS.search(output)


@EVERY_WORD
def test_a_stack_trace_can_not_pass_for_another_record(words: str) -> None:
    logger = logging.getLogger("tests.injection")

    def fail() -> None:
        try:
            raise ValueError(f"{words}\n2026-11-23 07:00:00,000 INFO app: all is well")
        except ValueError:
            logger.exception("failed")

    first, *others = formatted(logger, fail).rstrip("\n").split("\n")
    assert first.endswith("ERROR tests.injection: failed")
    assert others
    for line in others:
        assert line.startswith("    ")
        assert not CONTROLS.search(line)


def test_nobody_writes_into_the_log_of_the_real_server_through_a_path(tmp_path: Path) -> None:
    forged = "2026-11-23 07:00:00,000 INFO app: all is well"
    installed = Veilleur(tmp_path, {"VEILLEUR_PUBLIC_READS": "0"})
    with installed.web() as process:
        client = requests.Session()
        login = {"username": "admin", "password": PASSWORD}
        assert client.post(f"{installed.url}/api/auth/login", json=login, timeout=30).status_code == 200
        # A database that fails makes the path part of the log.
        with databases.missing(installed.instance):
            answer = client.get(f"{installed.url}/api/cron/x%E2%80%A8{forged}%1B[2J%C2%9B", timeout=30)
        assert answer.status_code == 503
        output = process.output
    assert forged in output, "the path was not logged at all"
    assert [line for line in output.splitlines() if line.startswith(forged)] == []
    assert not CONTROLS.search(output.replace("\n", ""))
