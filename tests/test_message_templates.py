"""Messages in one's own words: what may stand in them, what they become; none is lost over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask_babel import Babel
from sqlalchemy import event, select, update

from app.clock import iso
from app.db import Database
from app.message_templates import all_wordings
from app.models import Alert, MessageTemplate
from app.notify import Message, templates, texts
from app.notify.templates import PLACEHOLDERS, TemplateError, Wording, check, wording_for
from app.wording_forms import example_facts
from tests import couriers, factories
from tests.receivers import HttpReceiver
from tests.stage import NOON, add_channel
from tests.web import Site, site

URL = "https://veilleur.example/jobs/7"
FACTS = example_facts("failed", NOON)


@pytest.fixture
def app() -> Iterator[Flask]:
    made = Flask("texts")
    Babel(made)
    with made.app_context():
        yield made


def written(title: str, body: str, kind: str = "failed", language: str = "en", **facts: object) -> Message:
    return texts.compose(
        kind,
        {**FACTS, **facts},
        message_id="m",
        occurred_at=NOON,
        url=URL,
        zone="Europe/Paris",
        language=language,
        wording=Wording(title, body),
    )


# Rendering


def test_every_placeholder_is_filled_in(app: Flask) -> None:
    body = written("{job}", "\n".join(f"{name}={{{name}}}" for name in PLACEHOLDERS)).body
    told = dict(line.partition("=")[::2] for line in body.splitlines() if "=" in line)
    assert told["job"] == "Photos"
    assert told["server"] == "nas-attic"
    assert told["state"] == "failed"
    assert told["tolerance"] == "1 hour"
    assert told["outcome"] == "Error"
    assert told["errors"] == "1"
    assert told["warnings"] == "2"
    assert told["error"] == "No space left on device: /backup/photos"
    assert told["zone"] == "Europe/Paris"
    assert told["link"] == URL
    assert told["title"] == "Failed: Photos on nas-attic"
    assert told["text"] == "The backup Photos on nas-attic has failed."
    for name in ("expected", "overdue_since", "last_good", "last_report"):
        assert "2026" in told[name], name
    assert "{" not in body


def test_title_and_text_of_our_own_are_what_is_sent_without_a_wording(app: Flask) -> None:
    own = texts.compose(
        "failed", FACTS, message_id="m", occurred_at=NOON, url=URL, zone="Europe/Paris", language="en"
    )
    assert written("{title}", "{text}") == own


def test_times_are_told_in_the_language_of_the_channel(app: Flask) -> None:
    assert "Nov. 2026" in written("x", "{expected}", language="de").body
    assert "nov. 2026" in written("x", "{expected}", language="fr").body


def test_what_is_not_known_is_a_dash(app: Flask) -> None:
    message = texts.compose(
        "overdue",
        {},
        message_id="m",
        occurred_at=NOON,
        url=None,
        zone="UTC",
        wording=Wording("{job}", "{expected} {error} {link} {tolerance} {state}"),
    )
    assert (message.title, message.body) == ("?", "– – – – –\n")


def test_braces_are_written_twice(app: Flask) -> None:
    assert written("{{job}} {job}", "}}{{").title == "{job} Photos"
    assert written("x", "}}{{").body == "}{\n"


def test_what_a_client_sends_is_never_filled_in_again(app: Flask) -> None:
    message = written("{job}", "{error} {server}", job="{error}", error="{link} {{x}} %(job)s {0.__class__}")
    assert message.title == "{error}"
    assert message.body == "{link} {{x}} %(job)s {0.__class__} nas-attic\n"


def test_values_are_as_clean_as_in_our_own_text(app: Flask) -> None:
    message = written(
        "a {job}\nb",
        "{server} | {error}",
        job="x\r\nBcc: all@evil.example",
        server="\u202eevil\x1b[2J",
        error="password=hunter2222 at https://user:pw@host.example/secret\x07",
    )
    assert message.title == "a x Bcc: all@evil.example b"
    assert "\x1b" not in message.body
    assert "\u202e" not in message.body
    assert "hunter2222" not in message.body
    assert "user:pw" not in message.body


def test_a_message_stays_bounded_however_often_a_value_is_used(app: Flask) -> None:
    message = written("{job}" * 40, "{error}" * 700, error="e" * 5000, job="j" * 500)
    assert len(message.title) <= 300
    assert len(message.body) <= 12_001


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{jobs}", "{jobs}"),
        ("{job.name}", "{job.name}"),
        ("{job!r}", "{job!r}"),
        ("{job:>99999999}", "{job:>99999999}"),
        ("{0}", "{0}"),
        ("{}", "{}"),
        ("{ job }", "{ job }"),
        ("a { b", "A { stands alone"),
        ("a } b", "A } stands alone"),
        ("{job", "A { stands alone"),
        ("{{job}", "A } stands alone"),
    ],
)
def test_what_is_no_placeholder_is_named(app: Flask, text: str, named: str) -> None:
    with pytest.raises(TemplateError) as problem:
        check(text)
    assert named.strip("{}").strip() in str(problem.value)


@pytest.mark.parametrize("wording", [Wording("{gone}", "x"), Wording("x", "{gone}"), Wording("{", "}")])
def test_a_wording_that_cannot_be_used_leaves_our_own_text(app: Flask, wording: Wording) -> None:
    own = written("{title}", "{text}")
    assert written(wording.title, wording.body) == own


def test_a_wording_that_says_nothing_leaves_our_own_text(app: Flask) -> None:
    own = written("{title}", "{text}")
    assert written(" ", "\n \n") == own


def test_a_stand_in_still_says_why_it_came_this_way(app: Flask) -> None:
    message = texts.compose(
        "failed",
        FACTS,
        message_id="m",
        occurred_at=NOON,
        url=URL,
        zone="UTC",
        fallback_for="mail",
        wording=Wording("x", "Short."),
    )
    assert message.body == "Short.\n\nThis message came this way because the channel mail failed.\n"


def test_a_message_about_several_keeps_our_own_text(app: Flask) -> None:
    facts = {"members": [{"job": "a", "server": "b"}], "count": 1, "server": "b"}
    wording = Wording("x", "y")
    given = {"message_id": "m", "occurred_at": NOON, "url": None, "zone": "UTC"}
    assert texts.compose("overdue", facts, **given, wording=wording) == texts.compose(
        "overdue", facts, **given
    )


def test_a_language_with_a_country_uses_the_words_of_the_language() -> None:
    german, english = Wording("de", "de"), Wording("en", "en")
    known = {("overdue", "de"): german, ("overdue", "en"): english}
    assert wording_for(known, "overdue", "de_AT") == german
    assert wording_for(known, "overdue", "de-CH") == german
    assert wording_for(known, "overdue", "fr") is None
    assert wording_for(known, "failed", "de") is None


# Delivery


def _store(database: Database, title: str, body: str, kind: str = "overdue") -> None:
    with database.writing() as rows:
        factories.add_message_template(rows, kind, title=title, body=body)


def _delivered(database: Database, receiver: HttpReceiver, *kinds: str) -> list[dict[str, object]]:
    add_channel(database, "webhook", "hook", {"url": receiver.url})
    job_id = couriers.add_job(database)
    couriers.tell(database, job_id, *kinds)
    with couriers.courier(database) as courier:
        courier.settle(60)
    return [each.json() for each in receiver.requests]


def test_the_courier_uses_the_stored_words(database: Database) -> None:
    _store(database, "{job} is late", "Call somebody. {link}")
    with HttpReceiver() as receiver:
        overdue, recovered = _delivered(database, receiver, "overdue", "recovered")
    assert overdue["title"] == "Documents nightly is late"
    assert str(overdue["body"]).startswith("Call somebody. http")
    assert str(recovered["title"]).startswith("Recovered: ")


def test_damaged_words_lose_no_message(database: Database) -> None:
    _store(database, "{nobody knows this}", "{neither this")
    with HttpReceiver() as receiver:
        (overdue,) = _delivered(database, receiver, "overdue")
    assert overdue["title"] == "Overdue: Documents nightly on nas"


def test_words_are_read_once_for_many_messages(database: Database) -> None:
    _store(database, "{job} is late", "x")
    statements: list[str] = []
    with HttpReceiver() as receiver:
        add_channel(database, "webhook", "hook", {"url": receiver.url})
        for number in range(40):
            couriers.tell(database, couriers.add_job(database, f"job {number}"), "overdue")
        event.listen(
            database.engine, "before_cursor_execute", lambda *given: statements.append(str(given[2]))
        )
        with couriers.courier(database) as courier:
            courier.settle(60)
        assert len(receiver.requests) == 40
    reads = [each for each in statements if "FROM message_template" in each]
    rounds = [each for each in statements if "FROM channel" in each and "EXISTS" in each]
    assert 1 <= len(reads) <= len(rounds)


def test_all_words_are_one_query(database: Database) -> None:
    _store(database, "a", "b")
    _store(database, "c", "d", "failed")
    assert all_wordings(database) == {
        ("overdue", "en"): Wording("a", "b"),
        ("failed", "en"): Wording("c", "d"),
    }


# Pages

EDIT = "/settings/messages/overdue/en"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def _stored(here: Site) -> list[tuple[str, str, str, str]]:
    with here.database.reading() as rows:
        return [
            (each.kind, each.language, each.title, each.body)
            for each in rows.scalars(select(MessageTemplate))
        ]


def test_a_text_is_saved_listed_and_audited(here: Site) -> None:
    admin = here.administrator()
    assert admin.get("/settings/messages").text.count("our own text") >= 16
    answer = admin.post(EDIT, data={"title": "{job}!", "body": "Look:\r\n{link}"}, follow_redirects=True)
    assert "Saved. The next message of this kind uses these words." in answer.text
    assert "your text" in answer.text
    assert _stored(here) == [("overdue", "en", "{job}!", "Look:\n{link}")]
    (entry,) = here.audit("message text changed")
    assert (entry.actor, entry.target) == ("admin", "overdue (en)")
    assert (entry.before, entry.after) == (None, "{job}!\nLook:\n{link}")
    page = admin.get(EDIT).text
    assert 'value="{job}!"' in page
    assert "Photos!" in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": "{jbo}", "body": "x"}, "There is no placeholder {jbo}"),
        ({"title": "x", "body": "a } b"}, "A } stands alone"),
        ({"title": "", "body": "x"}, "This field is required."),
        ({"title": "x" * 201, "body": "x"}, "longer than 200"),
        ({"title": "x", "body": "x" * 5001}, "longer than 5000"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_and_kept(
    here: Site, fields: dict[str, str], said: str
) -> None:
    answer = here.administrator().post(EDIT, data=fields)
    assert answer.status_code == 400
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert fields["body"] in answer.text
    assert _stored(here) == []


def test_the_preview_shows_a_made_up_backup_and_a_real_one(here: Site) -> None:
    with here.database.writing() as rows:
        job = factories.add_job(rows, "Invoices <b>")
        alert = factories.add_alert(
            rows, job, facts={"job": "Invoices <b>", "server": "office", "expectedAt": iso(NOON)}
        )
        number = alert.id
    admin = here.administrator()
    assert "Invoices &lt;b&gt; – nas-attic" in admin.get(EDIT).text
    fields = {"title": "{job} on {server}", "body": "{expected}"}
    preview = f"{EDIT}/preview"
    assert "Photos on nas-attic" in admin.post(preview, data=fields).text
    real = admin.post(preview, data={**fields, "example": str(number)}).text
    assert "Invoices &lt;b&gt; on office" in real
    assert "Dec 1, 2026" in real
    # One that is gone, or of another kind, is no reason to refuse.
    with here.database.writing() as rows:
        rows.execute(update(Alert).values(kind="failed"))
    for example in (str(number), "999", "x", "9" * 30, "-1"):
        assert "Photos on nas-attic" in admin.post(preview, data={**fields, "example": example}).text


def test_the_preview_says_what_is_wrong(here: Site) -> None:
    answer = here.administrator().post(f"{EDIT}/preview", data={"title": "{x}", "body": "b"})
    assert answer.status_code == 200
    assert "Title: There is no placeholder {x}" in answer.text
    assert "<html" not in answer.text


def test_without_scripts_a_button_shows_the_message_and_saves_nothing(here: Site) -> None:
    answer = here.administrator().post(EDIT, data={"title": "{job}!", "body": "b", "preview": "1"})
    assert answer.status_code == 200
    assert "Photos!" in answer.text
    assert 'value="{job}!"' in answer.text
    assert _stored(here) == []


def test_back_to_our_own_text_says_first_what_is_lost(here: Site) -> None:
    admin = here.administrator()
    assert admin.get(f"{EDIT}/reset").status_code == 404
    admin.post(EDIT, data={"title": "Mine", "body": "My <own> words"})
    page = admin.get(f"{EDIT}/reset").text
    assert "My &lt;own&gt; words" in page
    assert "Overdue: Photos on nas-attic" in page
    admin.post(f"{EDIT}/reset")
    assert _stored(here) == []
    (entry,) = here.audit("message text reset")
    assert entry.before == "Mine\nMy <own> words"


def test_our_own_text_unchanged_is_not_stored(here: Site) -> None:
    admin = here.administrator()
    admin.post(EDIT, data={"title": "{title}", "body": "{text}"})
    assert _stored(here) == []
    assert here.audit("message text reset") == []


@pytest.mark.parametrize("path", ["/settings/messages/test/en", "/settings/messages/overdue/xx"])
def test_only_known_kinds_and_languages_have_a_page(here: Site, path: str) -> None:
    admin = here.administrator()
    assert admin.get(path).status_code == 404
    assert admin.post(path, data={"title": "a", "body": "b"}).status_code == 404
    assert admin.post(f"{path}/preview", data={"title": "a", "body": "b"}).status_code == 404


def test_every_kind_and_language_has_a_page_with_every_placeholder(here: Site) -> None:
    admin = here.administrator()
    for kind in templates.KINDS:
        for language in templates.LANGUAGES:
            page = admin.get(f"/settings/messages/{kind}/{language}").text
            assert all(f"{{{name}}}" in page for name in PLACEHOLDERS)


def test_a_viewer_sees_which_texts_are_changed_and_changes_none(here: Site) -> None:
    with here.database.writing() as rows:
        factories.add_message_template(rows)
    page = here.viewer().get("/settings/messages").text
    assert "your text" in page
    assert EDIT not in page
