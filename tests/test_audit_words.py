"""Words for what the audit log and the quarantine keep in plain English: none is missing, none is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from app import audit_words, quarantine_words
from tests.conftest import CHECKOUT
from tests.web import Site, site

NOTED = re.compile(
    r"(?:note\(rows, (?:job, )?|changing\((?:job_id, )?|_remove\(rows, body_id, |action=|refused=)"
    r'"([a-z ]+)"'
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("words")) as made:
        yield made


def noted() -> set[str]:
    """Each action that some door of the application writes by its name."""
    doors = [*(CHECKOUT / "app").glob("*.py"), *(CHECKOUT / "app").glob("[bc]*/*.py")]
    return {action for path in doors for action in NOTED.findall(path.read_text())}


def test_each_action_has_words() -> None:
    actions = noted()
    assert {"login", "key added", "job paused", "schedule changed"} <= actions
    assert actions <= set(audit_words.ACTIONS)


def test_an_action_of_another_version_is_shown_as_it_is(here: Site) -> None:
    with here.app.test_request_context():
        assert audit_words.action_name("job knitted") == "job knitted"


def test_the_words_for_a_reason_are_the_reason_itself_in_english(here: Site) -> None:
    with here.app.test_request_context():
        for reason, words in quarantine_words.REASONS.items():
            assert str(words) == reason


def test_reasons_that_came_together_are_all_translated(here: Site) -> None:
    first, second = list(quarantine_words.REASONS)[-2:]
    with here.app.test_request_context(headers={"Accept-Language": "fr"}):
        told = quarantine_words.reason_words(f"{first} {second}")
    assert first not in told
    assert second not in told
    assert "ParsedResult manque." in told
