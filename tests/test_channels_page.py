"""The pages of the channels: how each fares, adding and changing them, and what a test message comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from app import channels
from app.clock import utcnow
from app.models import Channel, Delivery
from app.notify.catalogue import SERVICES
from tests import factories, receivers
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.web import LoggedIn, Site, site

FAILED_AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FAILING = {"failing_since_at": FAILED_AT, "last_error": "answered 500: <b>out</b> of order"}
MONITORING = "/settings/monitoring"
CHANNELS = "/settings/channels"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def _fill(here: Site) -> tuple[int, int, int]:
    """A job with an alert that a failing channel gave up and its fallback delivered; their ids."""
    with here.database.writing() as rows:
        job = factories.add_job(rows, now=utcnow())
        phone = factories.add_channel(rows, "phone")
        mail = factories.add_channel(rows, "mail <i>ops</i>", "email", fallback_id=phone.id, **FAILING)
        alert = factories.add_alert(rows, job)
        factories.add_delivery(
            rows, alert, mail, "given_up", attempts=12, finished_at=utcnow(), detail="answered 500"
        )
        factories.add_delivery(rows, alert, phone, fallback_for=mail.name, detail="200 OK")
        return job.id, mail.id, phone.id


def _text(user: LoggedIn, path: str) -> str:
    answer = user.get(path)
    assert answer.status_code == 200
    return " ".join(answer.text.split())


def test_the_dashboard_says_which_channel_fails_since_when_and_why(here: Site) -> None:
    admin = here.administrator()
    assert "fail." not in _text(admin, "/")
    _fill(here)
    page = _text(admin, "/")
    assert "Messages through mail &lt;i&gt;ops&lt;/i&gt; fail." in page
    assert "Since Mon 23 Nov 2026, 09:30:" in page
    assert "answered 500: &lt;b&gt;out&lt;/b&gt; of order" in page
    assert f'href="{CHANNELS}"' in page


def test_the_list_says_of_each_channel_how_it_fares(here: Site) -> None:
    _fill(here)
    page = _text(here.viewer(), CHANNELS)
    assert "mail &lt;i&gt;ops&lt;/i&gt;" in page
    assert (
        "Fails since Mon 23 Nov 2026, 09:30:</strong> answered 500: &lt;b&gt;out&lt;/b&gt; of order" in page
    )
    assert "phone as well" in page
    assert "Stands in for: mail &lt;i&gt;ops&lt;/i&gt;. Gets messages only while that fails." in page
    assert "no failure so far" in page
    assert "<dt>Given up, last 7 days</dt><dd>1</dd>" in page
    assert "<form" not in page.partition("<h1>")[2]


def test_the_monitoring_page_says_in_a_line_how_the_channels_fare(here: Site) -> None:
    admin = here.administrator()
    assert "Nobody is told anything: no channel was set up." in _text(admin, MONITORING)
    _fill(here)
    page = _text(admin, MONITORING)
    assert "1 failing" in page
    assert f'href="{CHANNELS}"' in page


def test_without_a_channel_the_page_says_what_that_means_and_leads_on(here: Site) -> None:
    assert "Nobody is told anything yet" in _text(here.viewer(), CHANNELS)
    assert f"{CHANNELS}/new" not in _text(here.viewer(), CHANNELS)
    assert f'href="{CHANNELS}/new"' in _text(here.administrator(), CHANNELS)


def test_an_administrator_sends_again_what_was_given_up(here: Site) -> None:
    _job_id, mail, phone = _fill(here)
    admin = here.administrator()
    assert _text(admin, CHANNELS).count("Send again</button>") == 1
    path = f"/settings/channels/{mail}/retry"
    assert path in _text(admin, CHANNELS)
    answer = admin.post(path, follow_redirects=True)
    assert "1 message is sent again." in answer.text
    with here.database.reading() as rows:
        first = rows.get_one(Delivery, 1)
        assert (first.status, first.attempts) == ("pending", 0)
    assert "nothing is left to send again" in admin.post(path, follow_redirects=True).text
    assert (
        "nothing is left to send again"
        in admin.post(f"/settings/channels/{phone}/retry", follow_redirects=True).text
    )
    assert admin.post("/settings/channels/99/retry").status_code == 404
    entries = here.audit("channel retried")
    assert (entries[0].actor, entries[0].after) == ("admin", "1 given up, 0 waiting")


def test_the_page_of_a_channel_lists_what_it_was_to_deliver(here: Site) -> None:
    job_id, mail, phone = _fill(here)
    page = _text(here.viewer(), f"{CHANNELS}/{mail}")
    assert f'<a href="/jobs/{job_id}">Documents</a>' in page
    assert "given up" in page
    assert 'data-label="Attempts">12</td>' in page
    assert ">answered 500</td>" in page
    assert "in place of mail &lt;i&gt;ops&lt;/i&gt;" in _text(here.viewer(), f"{CHANNELS}/{phone}")
    assert here.viewer().get(f"{CHANNELS}/99").status_code == 404


def test_a_viewer_can_not_send_again(here: Site) -> None:
    _job_id, mail, _phone = _fill(here)
    assert here.viewer().post(f"/settings/channels/{mail}/retry").status_code == 403


def test_the_page_of_a_job_tells_the_whole_story_of_an_alert(here: Site) -> None:
    job_id, _mail, _phone = _fill(here)
    page = _text(here.viewer(), f"/jobs/{job_id}")
    assert "mail &lt;i&gt;ops&lt;/i&gt;</strong>: given up, 12 attempts" in page
    assert "– answered 500</span>" in page
    assert "phone</strong> (in place of mail &lt;i&gt;ops&lt;/i&gt;): sent" in page


def test_a_message_in_a_pause_tells_when_the_next_attempt_is(here: Site) -> None:
    with here.database.writing() as rows:
        job, phone = factories.add_job(rows, now=utcnow()), factories.add_channel(rows, "phone", **FAILING)
        factories.add_delivery(
            rows,
            factories.add_alert(rows, job),
            phone,
            "pending",
            attempts=3,
            next_attempt_at=FAILED_AT + timedelta(minutes=2),
            detail="answered 500",
        )
        job_id = job.id
    page = _text(here.viewer(), f"/jobs/{job_id}")
    assert "phone</strong>: waiting to be sent, 3 attempts, next attempt" in page
    assert "Mon 23 Nov 2026, 09:32" in page


# Adding and changing


def _channels(here: Site) -> list[Channel]:
    with here.database.reading() as rows:
        return list(rows.scalars(select(Channel).order_by(Channel.id)))


def _fields(**settings: object) -> dict[str, object]:
    common = {"name": "Phone", "language": "en", "fallback": "0", "enabled": "y", "send_test": "y"}
    own = {key if key in common or "_" in key else f"setting_{key}": given for key, given in settings.items()}
    return {key: given for key, given in (common | own).items() if given is not None}


def test_a_mail_channel_is_added_and_its_test_mail_arrives(here: Site) -> None:
    with SmtpReceiver() as smtp:
        given = {"host": "127.0.0.1", "port": smtp.port, "security": "none", "to": "ops@b.example"}
        fields = _fields(**given, setting_from="v@a.example", language="fr")
        answer = here.administrator().post(f"{CHANNELS}/new/email", data=fields, follow_redirects=True)
    assert "Phone is saved. The test message arrived: 250 OK queued" in answer.text
    assert answer.request.path == CHANNELS
    (mail,) = smtp.mails
    assert mail.recipients == ["ops@b.example"]
    (channel,) = _channels(here)
    assert (channel.kind, channel.language, channel.enabled) == ("email", "fr", True)
    assert channel.tested_at is not None
    assert here.audit("channel added")[0].after == (
        f"Phone, e-mail to ops@b.example through 127.0.0.1:{smtp.port}, language fr, fallback none, on"
    )
    assert here.audit("channel tested")[0].after == "arrived: 250 OK queued"


def test_a_channel_whose_test_fails_is_saved_and_said_to_fail(here: Site) -> None:
    admin = here.administrator()
    with HttpReceiver(receivers.status(503, b"out of order")) as receiver:
        fields = _fields(url=f"{receiver.url}/token-1234567890")
        answer = admin.post(f"{CHANNELS}/new/webhook", data=fields, follow_redirects=True)
    assert answer.request.path == f"{CHANNELS}/1/edit"
    assert 'role="alert"' in answer.text
    assert "Phone is saved, but the test message did not arrive:" in answer.text
    assert "out of order" in answer.text
    assert "token-1234567890" not in answer.text
    (channel,) = _channels(here)
    assert channel.tested_at is None
    assert channel.failing_since_at is not None
    assert "Messages through Phone fail." in _text(admin, "/")
    told = here.audit("channel added")[0].after + here.audit("channel tested")[0].after
    assert "token-1234567890" not in told


def test_without_the_box_no_test_message_is_sent(here: Site) -> None:
    with HttpReceiver() as receiver:
        fields = _fields(url=receiver.url, send_test=None, enabled=None)
        answer = here.administrator().post(f"{CHANNELS}/new/webhook", data=fields, follow_redirects=True)
        assert receiver.requests == []
    assert "No test message was sent." in answer.text
    assert _channels(here)[0].enabled is False


def test_a_service_of_the_catalogue_is_added_edited_and_keeps_its_secret(here: Site) -> None:
    admin = here.administrator()
    with HttpReceiver(receivers.ok(b"{}", {"Content-Type": "application/json"})) as receiver:
        fields = _fields(place=receiver.url, token="AbCdEfGhIjKlMnO")
        answer = admin.post(f"{CHANNELS}/new/gotify", data=fields, follow_redirects=True)
        assert "The test message arrived: taken by the service" in answer.text
        assert receiver.requests[0].path == "/message"
        assert receiver.requests[0].headers["X-Gotify-Key"] == "AbCdEfGhIjKlMnO"
        (before,) = _channels(here)
        assert before.config == {"urls": f"gotify://127.0.0.1:{receiver.port}/AbCdEfGhIjKlMnO/"}
        form = admin.get(f"{CHANNELS}/1/edit").text
        assert f'value="{receiver.url}"' in form
        assert "AbCdEfGhIjKlMnO" not in form
        fields = _fields(place=f"{receiver.url}/sub", token="", name="Gotify")
        assert admin.post(f"{CHANNELS}/1/edit", data=fields).status_code == 302
        assert receiver.requests[1].path == "/sub/message"
    (after,) = _channels(here)
    assert after.config == {"urls": f"gotify://127.0.0.1:{receiver.port}/sub/AbCdEfGhIjKlMnO/"}
    (entry,) = here.audit("channel changed")
    assert (entry.target, "AbCd" in f"{entry.before}{entry.after}") == ("Gotify", False)
    assert f"Phone, Gotify {receiver.url}, " in entry.before
    assert f"Gotify, Gotify {receiver.url}/sub, " in entry.after
    assert "changed:" not in entry.after


def test_a_new_secret_is_audited_by_its_name_and_an_optional_one_can_be_removed(here: Site) -> None:
    config = {"server": "http://127.0.0.1:9", "topic": "backups", "token": "tk_old_secret"}
    with here.database.writing() as rows:
        factories.add_channel(rows, "Phone", config=config)
    admin = here.administrator()
    path, plain = f"{CHANNELS}/1/edit", _fields(server="http://127.0.0.1:9", topic="backups", send_test=None)
    assert "tk_old_secret" not in admin.get(path).text
    assert "Remove the stored value" in admin.get(path).text
    admin.post(path, data=plain)
    assert _channels(here)[0].config["token"] == "tk_old_secret"
    admin.post(path, data={**plain, "setting_token": "tk_new_secret"})
    assert _channels(here)[0].config["token"] == "tk_new_secret"
    admin.post(path, data={**plain, "clear_token": "y"})
    assert _channels(here)[0].config["token"] == ""
    told = [each.after for each in here.audit("channel changed")]
    assert ["changed: token" in each for each in told] == [False, True, True]
    assert "secret" not in "".join(told)


@pytest.mark.parametrize(
    ("service", "settings", "said"),
    [
        (
            "email",
            {"host": "a b", "setting_from": "v@a.example", "to": "o@b.example"},
            "a host name or an IP",
        ),
        ("email", {"host": "a", "setting_from": "", "to": "o@b.example"}, "This field is required."),
        ("ntfy", {"server": "https://ntfy.sh", "topic": "no spaces"}, "1 to 64 letters, digits"),
        ("slack", {"webhook": "https://example.org/"}, "an address such as https://hooks.slack.com"),
        ("telegram", {"token": "nonsense", "chats": "1"}, "the values exactly as Telegram shows them"),
        ("other", {"urls": "nosuch://x"}, "addresses that Apprise knows"),
        ("ntfy", {"server": "http://127.0.0.1:9", "topic": "a", "name": " "}, "This field is required."),
        ("ntfy", {"server": "http://127.0.0.1:9", "topic": "a", "name": "taken"}, "of this name already"),
        ("ntfy", {"server": "http://127.0.0.1:9", "topic": "a", "language": "xx"}, "Not a valid choice"),
        ("ntfy", {"server": "http://127.0.0.1:9", "topic": "a", "fallback": "99"}, "Not a valid choice"),
        ("ntfy", {"server": "http://127.0.0.1:9", "topic": "a", "fallback": "x"}, "Invalid Choice"),
    ],
)
def test_a_form_that_cannot_be_used_says_where_and_keeps_what_was_typed(
    here: Site, service: str, settings: dict[str, object], said: str
) -> None:
    with here.database.writing() as rows:
        factories.add_channel(rows, "taken")
    answer = here.administrator().post(f"{CHANNELS}/new/{service}", data=_fields(**settings))
    assert answer.status_code == 400
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text
    first = next(value for key, value in settings.items() if key not in ("name", "language", "fallback"))
    assert str(first) in answer.text
    assert len(_channels(here)) == 1


def test_channels_that_would_stand_in_for_each_other_are_refused(here: Site) -> None:
    with here.database.writing() as rows:
        one = factories.add_channel(rows, "one")
        factories.add_channel(rows, "two", fallback_id=one.id)
    fields = _fields(name="one", server="http://127.0.0.1:9", topic="other", fallback="2", send_test=None)
    answer = here.administrator().post(f"{CHANNELS}/1/edit", data=fields)
    assert answer.status_code == 400
    assert "A channel can&#39;t stand in for itself: one → two → one." in answer.text
    assert _channels(here)[0].config["topic"] == "backups"


def test_a_language_that_the_form_does_not_offer_is_kept(here: Site) -> None:
    with here.database.writing() as rows:
        factories.add_channel(rows, "Phone", language="pt_BR")
    admin = here.administrator()
    assert "Português (brasil)" in admin.get(f"{CHANNELS}/1/edit").text
    fields = _fields(server="http://127.0.0.1:9", topic="backups", language="pt_BR", send_test=None)
    admin.post(f"{CHANNELS}/1/edit", data=fields)
    assert _channels(here)[0].language == "pt_BR"


# Test messages, on and off, removing


def test_a_test_message_tells_the_outcome_and_heals_or_marks_the_channel(here: Site) -> None:
    with here.database.writing() as rows:
        job, now = factories.add_job(rows, now=utcnow()), utcnow()
        hook = factories.add_channel(rows, "hook", "webhook", **FAILING)
        later = {"attempts": 3, "next_attempt_at": now + timedelta(hours=6)}
        factories.add_delivery(rows, factories.add_alert(rows, job), hook, "pending", **later)
    admin = here.administrator()
    with HttpReceiver() as receiver:
        with here.database.writing() as rows:
            rows.get_one(Channel, 1).config = {"url": receiver.url}
        answer = admin.post(f"{CHANNELS}/1/test", data={"from": "show"}, follow_redirects=True)
        assert answer.request.path == f"{CHANNELS}/1"
        assert "hook works. The test message arrived: 200 OK" in answer.text
    (channel,) = _channels(here)
    assert (channel.failing_since_at, channel.last_error) == (None, None)
    assert channel.tested_at is not None
    with here.database.reading() as rows:
        # What waited in a long pause goes now.
        assert rows.get_one(Delivery, 1).next_attempt_at <= utcnow()
    answer = admin.post(f"{CHANNELS}/1/test", follow_redirects=True)
    assert answer.request.path == CHANNELS
    assert "The test message through hook did not arrive: refused the connection" in answer.text
    assert _channels(here)[0].failing_since_at is not None
    assert [each.after for each in here.audit("channel tested")][1] == "failed: refused the connection"


def test_a_test_message_holds_no_transaction_open(here: Site) -> None:
    """While the receiver takes its time, others write."""
    with here.database.writing() as rows:
        factories.add_channel(rows, "slow", "webhook")
    written = []

    def write(handler: receivers.Handler) -> None:
        with here.database.writing() as rows:
            written.append(rows.execute(text("UPDATE channel SET language = 'de'")).rowcount)
        handler.answer(200, b"")

    with HttpReceiver(write) as receiver:
        with here.database.writing() as rows:
            rows.get_one(Channel, 1).config = {"url": receiver.url}
        assert "works" in here.administrator().post(f"{CHANNELS}/1/test", follow_redirects=True).text
    assert written == [1]


def test_a_receiver_that_never_answers_ends_within_the_bound(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_DELIVERY_SECONDS="1") as here, HttpReceiver(receivers.hang()) as receiver:
        answer = here.administrator().post(
            f"{CHANNELS}/new/webhook", data=_fields(url=receiver.url), follow_redirects=True
        )
        assert "did not arrive: did not answer within 1 s" in answer.text


def test_a_channel_is_switched_off_and_on(here: Site) -> None:
    with here.database.writing() as rows:
        factories.add_channel(rows, "Phone")
    admin = here.administrator()
    answer = admin.post(f"{CHANNELS}/1/switch", data={"enabled": "0"}, follow_redirects=True)
    assert "Phone is off: new messages don&#39;t go to it" in answer.text
    assert _channels(here)[0].enabled is False
    admin.post(f"{CHANNELS}/1/switch", data={"enabled": "0"})
    admin.post(f"{CHANNELS}/1/switch", data={"enabled": "1"})
    assert _channels(here)[0].enabled is True
    assert len(here.audit("channel disabled")) == len(here.audit("channel enabled")) == 1
    assert admin.post(f"{CHANNELS}/1/switch", data={"enabled": "maybe"}).status_code == 400


def test_removing_says_first_what_is_lost(here: Site) -> None:
    _job_id, mail, phone = _fill(here)
    with here.database.writing() as rows:
        job = factories.add_job(rows, "Other", now=utcnow())
        channel = rows.get_one(Channel, phone)
        for _number in range(3):
            alert = factories.add_alert(rows, job)
            factories.add_delivery(rows, alert, channel, "pending", next_attempt_at=utcnow())
    admin = here.administrator()
    page = _text(admin, f"{CHANNELS}/{phone}/remove")
    assert "3 messages that still wait are lost" in page
    assert "then have no other to turn to: mail &lt;i&gt;ops&lt;/i&gt;" in page
    assert "No message waits for it." in _text(admin, f"{CHANNELS}/{mail}/remove")
    assert "phone is removed." in admin.post(f"{CHANNELS}/{phone}/remove", follow_redirects=True).text
    (left,) = _channels(here)
    assert (left.id, left.fallback_id) == (mail, None)
    with here.database.reading() as rows:
        assert set(rows.scalars(select(Delivery.channel_id))) == {mail}
    (entry,) = here.audit("channel removed")
    assert (entry.target, entry.after) == ("phone", "3 waiting messages dropped")


def test_a_viewer_sees_no_secret_and_not_whose_address_it_is(here: Site) -> None:
    with here.database.writing() as rows:
        factories.add_channel(rows, "mail", "email")
        factories.add_channel(rows, "gotify", "apprise")
    for user, address in ((here.viewer(), "o…@b.example"), (here.administrator(), "ops@b.example")):
        page = _text(user, CHANNELS) + _text(user, f"{CHANNELS}/1") + _text(user, f"{CHANNELS}/2")
        assert page.count(f"e-mail to {address} through 127.0.0.1:9") == 2
        assert "AbCdEfGhIjKlMnO" not in page


def test_a_viewer_is_not_told_the_topic_nor_the_addresses_in_an_answer(here: Site) -> None:
    now = utcnow()
    said = "refused every recipient: anna@b.example: 550 no such user"
    with here.database.writing() as rows:
        factories.add_channel(rows, "phone", "ntfy")
        mail = factories.add_channel(rows, "mail", "email", failing_since_at=now, last_error=said)
        job = factories.add_job(rows, now=now)
        alert = factories.add_alert(rows, job)
        factories.add_delivery(rows, alert, mail, detail=said)
    for user, is_told in ((here.viewer(), False), (here.administrator(), True)):
        lists, others = _text(user, CHANNELS), (f"{CHANNELS}/{mail.id}", "/", f"/jobs/{job.id}")
        assert ("127.0.0.1:9/backups" in lists) == is_told
        for page in (lists, *(_text(user, each) for each in others)):
            assert "550 no such user" in page
            assert ("anna@b.example" in page) == is_told


def test_every_service_has_its_form(here: Site) -> None:
    admin = here.administrator()
    chooser = admin.get(f"{CHANNELS}/new").text
    paths = re.findall(rf'href="({CHANNELS}/new/[\w-]+)"', chooser)
    assert len(paths) == len(set(paths)) == len(SERVICES)
    for path in paths:
        assert 'name="setting_' in admin.get(path).text
    assert admin.get(f"{CHANNELS}/new/nothing").status_code == 404


# Cost


def _queries(here: Site, user: LoggedIn, path: str) -> int:
    statements: list[str] = []

    def note(*given: object) -> None:
        statements.append(str(given[2]))

    event.listen(here.database.engine, "before_cursor_execute", note)
    try:
        _text(user, path)
    finally:
        event.remove(here.database.engine, "before_cursor_execute", note)
    return len([each for each in statements if each.lstrip().startswith("SELECT")])


def test_pages_ask_as_many_queries_for_many_channels_as_for_one(here: Site) -> None:
    _fill(here)
    user = here.viewer()
    paths = (CHANNELS, f"{CHANNELS}/1", "/settings/messages")
    few = [_queries(here, user, path) for path in paths]
    with here.database.writing() as rows:
        job = factories.add_job(rows, "Many", now=utcnow())
        for number in range(15):
            channel = factories.add_channel(rows, f"channel {number}", fallback_id=1)
            factories.add_delivery(rows, factories.add_alert(rows, job), channel)
        for _number in range(60):
            factories.add_delivery(rows, factories.add_alert(rows, job), rows.get_one(Channel, 1))
    assert [_queries(here, user, path) for path in paths] == few
    assert max(few) <= 7


@pytest.mark.sqlite("asks for SQLite's plan")
def test_the_last_messages_are_read_from_the_index_without_sorting(here: Site) -> None:
    with here.database.reading() as rows:
        plans: list[str] = []

        def explain(
            _connection: object, cursor: object, statement: str, values: object, *_rest: object
        ) -> None:
            if statement.lstrip().startswith("SELECT delivery"):
                connection = rows.connection().connection.driver_connection
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
                plans.append("\n".join(each[3] for each in plan))

        event.listen(here.database.engine, "before_cursor_execute", explain)
        try:
            channels.recent(rows, 1)
        finally:
            event.remove(here.database.engine, "before_cursor_execute", explain)
    assert len(plans) == 2
    for plan in plans:
        assert "TEMP B-TREE" not in plan, plan
        assert "ix_delivery_channel" in plan, plan


def test_many_messages_are_cut_to_the_newest(here: Site) -> None:
    with here.database.writing() as rows:
        job, channel = factories.add_job(rows, now=utcnow()), factories.add_channel(rows, "Phone")
        for number in range(30):
            alert = factories.add_alert(rows, job)
            factories.add_delivery(rows, alert, channel, detail=f"answer {number:02}")
        alert = factories.add_alert(rows, job)
        factories.add_delivery(rows, alert, channel, "pending", next_attempt_at=utcnow(), detail="waits")
    page = _text(here.viewer(), f"{CHANNELS}/1")
    assert re.findall(r"answer \d\d|>waits<", page) == [
        ">waits<",
        *(f"answer {n}" for n in range(29, 10, -1)),
    ]
