"""The fingerprint: the same for one run in every form, another for every other run."""

import pytest

from tests.report_makers import TEXT, sent, text


def test_the_json_and_the_text_of_one_run_have_the_same_fingerprint() -> None:
    report = sent(BackendStatistics={"BytesUploaded": 5}, Version="2.3", top={"LogLines": ["a"]})
    assert report.fingerprint == text(TEXT).fingerprint
    assert len(bytes.fromhex(report.fingerprint)) == 32


@pytest.mark.parametrize(
    "data",
    [
        {"ParsedResult": "Warning"},
        {"EndTime": "2026-11-23T07:10:27Z"},
        {"BeginTime": "2026-11-23T07:10:24Z"},
        {"ExaminedFiles": 8},
        {"Interrupted": True},
        {"MainOperation": "Test"},
    ],
)
def test_another_run_has_another_fingerprint(data: dict[str, object]) -> None:
    assert sent(**data).fingerprint != sent().fingerprint
    assert sent(extra={"backup-id": "DB-2"}).fingerprint != sent().fingerprint


def test_failures_without_times_are_told_apart_by_their_log() -> None:
    first, again, next_day = (
        sent(top={"Data": None, "LogLines": [f"2026-11-{day} 07:10:20 +00 - [Error-X]: a"]})
        for day in (23, 23, 24)
    )
    assert first.fingerprint == again.fingerprint != next_day.fingerprint


def test_a_changed_label_does_not_change_the_fingerprint_of_a_job_with_ids() -> None:
    assert sent(extra={"backup-name": "Renamed"}).fingerprint == sent().fingerprint
