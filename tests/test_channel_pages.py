"""What pages say of channels that fail, and the button that sends again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.clock import utcnow
from app.models import Delivery
from tests import factories
from tests.web import LoggedIn, Site, site

FAILED_AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FAILING = {"failing_since_at": FAILED_AT, "last_error": "answered 500: <b>out</b> of order"}
MONITORING = "/settings/monitoring"


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
    assert f'href="{MONITORING}#channels"' in page


def test_the_monitoring_page_lists_the_channels_and_what_was_given_up(here: Site) -> None:
    _fill(here)
    page = _text(here.viewer(), MONITORING)
    assert "fallback: phone" in page
    assert "answered 500: &lt;b&gt;out&lt;/b&gt; of order" in page
    assert "no failure" in page
    assert "Send again</button>" not in page


def test_without_a_channel_the_monitoring_page_says_how_to_add_one(here: Site) -> None:
    assert "flask channel add" in _text(here.viewer(), MONITORING)


def test_an_administrator_sends_again_what_was_given_up(here: Site) -> None:
    _job_id, mail, phone = _fill(here)
    admin = here.administrator()
    assert _text(admin, MONITORING).count("Send again</button>") == 1
    path = f"/settings/channels/{mail}/retry"
    assert path in _text(admin, MONITORING)
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
