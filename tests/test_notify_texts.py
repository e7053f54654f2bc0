"""What people read: titles and bodies for every kind, in their zone, with names made harmless."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from flask import Flask
from flask_babel import Babel, get_locale

from app.notify import texts
from app.notify.message import Message

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
FACTS: dict[str, object] = {
    "server": "nas",
    "job": "Documents nightly",
    "state": "overdue",
    "previousState": "late",
    "reason": "no good backup since the one before",
    "expectedAt": "2026-11-23T19:00:00Z",
    "untilAt": None,
    "overdueAt": "2026-11-23T20:30:00Z",
    "source": "declared",
    "toleranceSeconds": 5400,
    "lastGoodAt": "2026-11-22T19:04:00Z",
    "lastReportAt": "2026-11-22T19:04:00Z",
    "outcome": None,
    "error": None,
    "sinceAt": "2026-11-23T20:30:00Z",
    "warningsCount": 0,
    "errorsCount": 0,
    "partial": False,
    "interrupted": False,
}


@pytest.fixture(autouse=True)
def application() -> Iterator[Flask]:
    app = Flask("app")
    Babel(app)
    with app.app_context():
        yield app


def compose(kind: str, language: str = "en", zone: str = "Europe/Paris", **facts: object) -> Message:
    more: dict[str, Any] = {"message_id": "ab" * 16, "occurred_at": NOW, "url": "https://v.example/jobs/7"}
    return texts.compose(kind, {**FACTS, **facts}, zone=zone, language=language, **more)


@pytest.mark.parametrize(
    ("kind", "state", "title", "severity"),
    [
        ("overdue", "overdue", "Overdue: Documents nightly on nas", "critical"),
        ("reminder", "overdue", "Still overdue: Documents nightly on nas", "warning"),
        ("reminder", "failed", "Still failing: Documents nightly on nas", "warning"),
        ("recovered", "ok", "Recovered: Documents nightly on nas", "info"),
        ("failed", "failed", "Failed: Documents nightly on nas", "critical"),
        ("test", "", "Test message from Veilleur", "info"),
    ],
)
def test_each_kind_has_its_title_and_severity(kind: str, state: str, title: str, severity: str) -> None:
    message = compose(kind, state=state)
    assert (message.title, message.severity, message.kind) == (title, severity, kind)


def test_an_overdue_message_says_what_since_when_by_whose_word_and_where_to_look() -> None:
    assert compose("overdue").body == (
        "No good backup Documents nightly on nas has come in time.\n"
        "\n"
        "Expected: Mon, Nov 23, 2026, 8:00 PM\n"
        "This time was announced by Duplicati itself in its last report.\n"
        "Overdue since: Mon, Nov 23, 2026, 9:30 PM (tolerance: 1 hour 30 minutes)\n"
        "Last good backup: Sun, Nov 22, 2026, 8:04 PM\n"
        "\n"
        "What to look at first:\n"
        "- Was the computer off or asleep at that time?\n"
        "- Is a disk full, at the source or at the destination?\n"
        "- Does a script run before the backup? One that ends the run early sends no report at all.\n"
        "- Was the schedule changed in Duplicati, or the job removed?\n"
        "\n"
        "All times are in the zone Europe/Paris.\n"
        "\n"
        "Details: https://v.example/jobs/7\n"
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("declared", "announced by Duplicati itself"),
        ("collected", "read from the Duplicati server"),
        ("typed", "entered in Veilleur"),
        ("default", "assumed from the first report"),
    ],
)
def test_the_expected_time_names_its_source(source: str, words: str) -> None:
    assert words in compose("overdue", source=source).body


def test_a_reminder_says_how_long_it_has_been() -> None:
    assert "it has been overdue for 13 hours.\n" in compose("reminder").body


def test_a_window_of_expectation_is_told_as_one() -> None:
    body = compose("overdue", untilAt="2026-11-23T20:00:00Z").body
    assert "Expected: between Mon, Nov 23, 2026, 8:00 PM and Mon, Nov 23, 2026, 9:00 PM" in body


def test_a_job_that_never_had_a_good_backup_says_so() -> None:
    body = compose("overdue", lastGoodAt=None).body
    assert "Last good backup: none so far" in body
    assert "Last report of any kind: Sun, Nov 22, 2026, 8:04 PM" in body


def test_a_failure_brings_its_outcome_its_counts_and_its_words() -> None:
    body = compose(
        "failed",
        state="failed",
        outcome="Error",
        errorsCount=1,
        warningsCount=12,
        error="IOException: disk full\n  at X",
    ).body
    assert body.startswith(
        "The backup Documents nightly on nas has failed.\n\nOutcome: Error\n1 error\n12 warnings\n"
    )
    assert "Duplicati says:\n    IOException: disk full\n      at X\n" in body
    assert "What to look at first:" in body
    assert "Last good backup:" in body


@pytest.mark.parametrize(
    ("fact", "words"), [("partial", "before it was complete"), ("interrupted", "was interrupted")]
)
def test_a_stopped_run_is_told_as_such(fact: str, words: str) -> None:
    message = compose("failed", state="failed", **{fact: True})
    assert words in message.body
    assert message.severity == "warning"


def test_the_password_in_an_error_of_duplicati_is_masked() -> None:
    body = compose(
        "failed", state="failed", error="no answer from ftp://me:geheim@host/x?auth-password=geheim"
    ).body
    assert "geheim" not in body


def test_a_recovery_says_what_it_recovers_from_and_since_when() -> None:
    overdue = compose("recovered", state="ok", previousState="overdue").body
    assert overdue.startswith("A good backup Documents nightly on nas has come; it is no longer overdue.\n")
    assert "In this state since: Mon, Nov 23, 2026, 9:30 PM" in overdue
    assert "after a failed one" in compose("recovered", state="ok", previousState="failed").body


def test_a_test_message_needs_no_facts_and_no_page() -> None:
    message = texts.compose("test", {}, message_id="a", occurred_at=NOW, url=None, zone="UTC", language="en")
    assert message.body == "This channel works: messages about backups arrive here.\n"


def test_messages_are_composed_from_no_facts_at_all() -> None:
    for kind in ("overdue", "reminder", "recovered", "failed"):
        message = texts.compose(
            kind, {}, message_id="a", occurred_at=NOW, url=None, zone="UTC", language="en"
        )
        assert message.title.endswith("? on ?")


@pytest.mark.parametrize("value", ["yesterday", "", 7, "2026-11-23T19:00:00"])
def test_a_time_that_can_not_be_read_is_left_out(value: object) -> None:
    body = compose("reminder", expectedAt=value, overdueAt=value).body
    assert "Expected" not in body
    assert "Last good backup: Sun" in body


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("America/Los_Angeles", "Mon, Nov 23, 2026, 11:00 AM"),
        ("Asia/Kolkata", "Tue, Nov 24, 2026, 12:30 AM"),
        ("UTC", "Mon, Nov 23, 2026, 7:00 PM"),
    ],
)
def test_times_are_told_in_the_zone_of_the_reader(zone: str, words: str) -> None:
    body = compose("overdue", zone=zone).body
    assert f"Expected: {words}\n" in body
    assert f"All times are in the zone {zone}." in body


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "Europe", "a\x00b"])
def test_an_unknown_zone_is_told_as_utc(zone: str) -> None:
    assert "All times are in the zone UTC." in compose("overdue", zone=zone).body


@pytest.mark.parametrize("language", ["xx", "", "en_XX_YY_ZZ", "../de", "☃"])
def test_an_unknown_language_is_english(language: str) -> None:
    assert "Mon, Nov 23, 2026" in compose("overdue", language=language).body


@pytest.mark.parametrize("language", ["de", "de-AT", "de_DE"])
def test_dates_follow_the_language_of_the_reader(language: str) -> None:
    assert "Mo., 23. Nov. 2026, 20:00" in compose("overdue", language=language).body


def test_sentences_follow_the_language_of_the_reader(tmp_path: Path) -> None:
    catalog = Catalog(locale="de")
    catalog.add("Overdue: %(job)s on %(server)s", "Überfällig: %(job)s auf %(server)s")
    catalog.add(("%(num)d hour", "%(num)d hours"), ("%(num)d Stunde", "%(num)d Stunden"))
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "messages.mo").open("wb") as target:
        write_mo(target, catalog)
    app = Flask("app")
    Babel(app, default_translation_directories=str(tmp_path))
    with app.app_context():
        german, english = compose("overdue", language="de", toleranceSeconds=7200), compose("overdue")
    assert german.title == "Überfällig: Documents nightly auf nas"
    assert "2 Stunden" in german.body
    assert english.title == "Overdue: Documents nightly on nas"


def test_composing_leaves_the_language_around_it_alone() -> None:
    before = get_locale()
    compose("overdue", language="de")
    assert get_locale() == before


def test_names_from_clients_stay_on_their_line() -> None:
    message = compose(
        "overdue", job="x\r\nBcc: all@example.org\u2028\x00\u202eevil", server="<b>%(job)s{0}</b>\n" * 40
    )
    assert "\n" not in message.title
    assert "\r" not in message.title + message.body
    assert message.title.startswith("Overdue: x Bcc: all@example.org evil on <b>%(job)s{0}</b> <b>")
    assert len(message.title) < 230
    assert not any(line.startswith("Bcc") for line in message.body.splitlines())


def test_an_error_of_megabytes_makes_no_message_of_megabytes() -> None:
    assert len(compose("failed", state="failed", error="boom\n" * 1_000_000).body) < 6000


def test_the_facts_travel_with_the_message_unchanged() -> None:
    message = compose("overdue", job="a\nb")
    assert message.facts == {**FACTS, "job": "a\nb"}
    assert (message.message_id, message.occurred_at, message.url) == (
        "ab" * 16,
        NOW,
        "https://v.example/jobs/7",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 minutes"),
        (59, "0 minutes"),
        (60, "1 minute"),
        (5400, "1 hour 30 minutes"),
        (86400, "1 day"),
        (90061, "1 day 1 hour"),
        (86460, "1 day 1 minute"),
        (30 * 86400, "30 days"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert texts.duration(seconds) == words


def test_the_sentences_can_be_extracted_for_translation() -> None:
    with Path(texts.__file__).open("rb") as source:
        found = {message for _line, message, *_rest in extract("python", source)}
    assert "Overdue: %(job)s on %(server)s" in found
    assert ("%(num)d error", "%(num)d errors") in found
