"""Somebody at a browser adds channels and writes message texts; real receivers take what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from app import clock
from tests import factories, receivers
from tests.browser import OPPOSITES, Visitor, look, visit
from tests.processes import PASSWORD, Veilleur
from tests.receivers import HttpReceiver, SmtpReceiver, wait_until
from tests.stage import backup_body


@pytest.fixture(scope="module")
def veilleur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veilleur]:
    installed = Veilleur(tmp_path_factory.mktemp("channels"), {"VEILLEUR_TIMEZONE": "Europe/Paris"})
    with installed.web(), installed.cron():
        yield installed


@pytest.fixture(scope="module")
def smtp() -> Iterator[SmtpReceiver]:
    with SmtpReceiver() as receiver:
        yield receiver


def _choose(visitor: Visitor, service: str) -> Page:
    page = visitor.go("/settings/channels")
    page.get_by_role("link", name="Add ").click()
    page.get_by_role("link", name=service, exact=True).click()
    return page


def test_a_mail_channel_added_in_the_form_gets_its_test_mail(visitor: Visitor, smtp: SmtpReceiver) -> None:
    page = _choose(visitor, "E-mail")
    page.get_by_label("Mail server").fill("127.0.0.1")
    page.get_by_label("Port").fill(str(smtp.port))
    page.get_by_label("Encryption").select_option("none")
    page.get_by_label("Sender").fill("veilleur@a.example")
    page.get_by_label("Recipients").fill("ops@b.example, night@b.example")
    page.get_by_label("Name", exact=True).fill("Mail to operations")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The test message arrived: 250 OK queued")).to_be_visible()
    expect(page.get_by_role("heading", name="Mail to operations")).to_be_visible()
    (mail,) = smtp.mails
    assert mail.recipients == ["ops@b.example", "night@b.example"]
    assert mail.message["Subject"] == "Test message from Veilleur"


def test_a_channel_whose_test_fails_keeps_the_form_at_hand(visitor: Visitor) -> None:
    with HttpReceiver(receivers.status(500, b"<b>out of order</b>")) as receiver:
        page = _choose(visitor, "JSON webhook")
        page.get_by_label("Address").fill(f"{receiver.url}/hook")
        page.get_by_label("Name", exact=True).fill("Hook")
        page.get_by_role("button", name="Save").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("Hook is saved, but the test message did not arrive")
        expect(alert).to_contain_text("out of order")
        expect(page.get_by_label("Name", exact=True)).to_have_value("Hook")
        expect(page.get_by_label("Address")).to_have_value("")
        receiver.behaviour = receivers.ok()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Hook is saved. The test message arrived: 200")).to_be_visible()
    assert [each.json()["kind"] for each in receiver.requests] == ["test", "test"]


def test_a_channel_is_tested_switched_off_and_removed(visitor: Visitor, smtp: SmtpReceiver) -> None:
    page = visitor.go("/settings/channels")
    page.get_by_role("button", name="Switch Hook off").click()
    expect(page.get_by_text("Hook is off:")).to_be_visible()
    page.get_by_role("button", name="Send a test message through Mail to operations").click()
    expect(page.get_by_text("Mail to operations works.")).to_be_visible()
    assert len(smtp.mails) == 2
    page.get_by_role("link", name="Remove Hook").click()
    expect(page.get_by_text("lost for good")).to_be_visible()
    page.get_by_role("button", name="Remove for good").click()
    expect(page.get_by_text("Hook is removed.")).to_be_visible()


def test_a_text_is_written_with_a_preview_and_a_real_message_uses_it(
    visitor: Visitor, veilleur: Veilleur, smtp: SmtpReceiver
) -> None:
    page = visitor.go("/settings/messages")
    page.get_by_role("link", name="Overdue in English").click()
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Overdue: Photos on nas-attic")
    page.get_by_label("Title").fill("Wake up: {job} on {server}")
    expect(preview).to_contain_text("Wake up: Photos on nas-attic")
    page.get_by_role("textbox", name="Text").fill("Late since {overdue_since}. {nobody}")
    expect(preview).to_contain_text("There is no placeholder {nobody}")
    page.get_by_role("textbox", name="Text").fill("Late since {overdue_since}. {{Call the office.}}\n{link}")
    expect(preview).to_contain_text("{Call the office.}")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("your text")).to_be_visible()
    before = len(smtp.mails)
    _fall_silent(veilleur)
    wait_until(lambda: len(smtp.mails) > before)
    mail = smtp.mails[before]
    assert mail.message["Subject"] == "Wake up: Documents nightly on nas"
    assert "{Call the office.}" in mail.text
    assert f"{veilleur.url}/jobs/1" in mail.text
    assert "What to look at first" not in mail.text


def _fall_silent(veilleur: Veilleur) -> None:
    """A backup that reported three days ago and not since; the real cron service finds it overdue."""
    body = backup_body(clock.utcnow() - timedelta(days=3))
    requests.post(
        f"{veilleur.url}/api/upload",
        params={"api_key": veilleur.upload_key()},
        data=body,
        headers={"Content-Type": "application/json"},
        timeout=30,
    ).raise_for_status()
    admin = requests.Session()
    login = {"username": "admin", "password": PASSWORD}
    token = admin.post(f"{veilleur.url}/api/auth/login", json=login, timeout=30).json()["csrfToken"]
    checked = admin.post(
        f"{veilleur.url}/api/cron/trigger/overdue-backup-check", headers={"X-CSRF-Token": token}, timeout=30
    )
    assert checked.json()["statistics"]["overdueBackupsFound"] == 1


def test_the_real_alert_can_be_chosen_for_the_preview(visitor: Visitor) -> None:
    page = visitor.go("/settings/messages/overdue/en")
    page.get_by_label("Show it with").select_option(label="Documents nightly – nas")
    expect(page.locator("#preview")).to_contain_text("Wake up: Documents nightly on nas")


@pytest.fixture(scope="module")
def filled(veilleur: Veilleur) -> int:
    """Channels in every condition, with what they had to deliver; the id of the failing one."""
    database, now = veilleur.database(), clock.utcnow()
    with database.writing() as rows:
        job = factories.add_job(rows, "Accounts & invoices <2026>", now=now)
        signal = {"urls": "signal://127.0.0.1:8080/%2B4915112345678/%2B33612345678/"}
        stand_in = factories.add_channel(
            rows, "Night shift", "apprise", config=signal, tested_at=now - timedelta(days=3), language="de"
        )
        factories.add_channel(rows, "Old webhook", "webhook", enabled=False)
        failing = factories.add_channel(
            rows,
            "Telephone of the administrator on duty at the weekend",
            failing_since_at=now - timedelta(hours=5),
            last_error="answered 429: too many messages; try again in an hour",
            fallback_id=stand_in.id,
            language="fr",
        )
        for number in range(9):
            alert = factories.add_alert(rows, job, ("overdue", "reminder", "recovered", "failed")[number % 4])
            over = {"finished_at": now - timedelta(hours=number), "detail": "200 OK"}
            if number == 3:
                over |= {"status": "given_up", "attempts": 12, "detail": "answered 429: too many messages"}
            factories.add_delivery(rows, alert, failing, **over)
        later = {"status": "pending", "attempts": 3, "next_attempt_at": now + timedelta(hours=2)}
        alert = factories.add_alert(rows, job, "reminder")
        factories.add_delivery(rows, alert, failing, **later, detail="answered 429: too many messages")
        number = failing.id
    database.dispose()
    return number


def _pages(failing: int) -> dict[str, str]:
    return {
        "channels": "/settings/channels",
        "channels-choose": "/settings/channels/new",
        "channels-email": "/settings/channels/new/email",
        "channels-telegram": "/settings/channels/new/telegram",
        "channels-edit": f"/settings/channels/{failing}/edit",
        "channels-show": f"/settings/channels/{failing}",
        "channels-remove": f"/settings/channels/{failing}/remove",
        "messages": "/settings/messages",
        "messages-edit": "/settings/messages/overdue/en",
        "messages-reset": "/settings/messages/overdue/en/reset",
    }


@pytest.mark.parametrize(("size", "scheme"), OPPOSITES)
def test_the_pages_can_be_read_by_everybody(
    browser: Browser, veilleur: Veilleur, filled: int, size: str, scheme: str
) -> None:
    with visit(browser, veilleur.url, size=size, scheme=scheme) as visitor:
        visitor.log_in()
        problems = []
        for name, path in _pages(filled).items():
            problems += look(visitor.go(path), name, f"{size}-{scheme}")
        page = visitor.go("/settings/channels/new/telegram")
        page.get_by_label("Bot token").fill("nonsense")
        page.get_by_label("Chats").fill("1")
        page.get_by_label("Name", exact=True).fill("x")
        with page.expect_navigation():
            page.get_by_role("button", name="Save").click()
        problems += look(page, "channels-refused", f"{size}-{scheme}")
        # A refused form answers 400, which the browser notes.
        visitor.wrong = [each for each in visitor.wrong if "400 (BAD REQUEST)" not in each]
    assert problems == []


def test_pages_work_without_scripts(browser: Browser, veilleur: Veilleur, smtp: SmtpReceiver) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        visitor = Visitor(context, veilleur.url)
        visitor.log_in()
        page = visitor.go("/settings/messages/failed/fr")
        page.get_by_label("Title").fill("Raté : {job}")
        page.get_by_role("button", name="Show the message").click()
        expect(page.locator("#preview")).to_contain_text("Raté : Photos")
        before = len(smtp.mails)
        page = visitor.go("/settings/channels")
        page.get_by_role("button", name="Send a test message through Mail to operations").click()
        expect(page.get_by_text("Mail to operations works.")).to_be_visible()
        assert len(smtp.mails) == before + 1
        assert visitor.wrong == []
    finally:
        context.close()
