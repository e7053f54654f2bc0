"""Every known real report, read by hand: the answers are in samples/expected.json."""

import json
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.reports import Report, UnusableReport, parse
from tests.conftest import SHARED_DATA

SAMPLES = Path(__file__).parent / "samples"
EXPECTED = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
HERE = sorted(path.name for path in SAMPLES.glob("*-live-*"))
CONTENT_TYPES = [None, "application/json", "application/x-www-form-urlencoded", "text/plain; charset=latin-1"]


def body_of(name: str) -> bytes:
    folder = next((place for place in (SAMPLES, SHARED_DATA / "reports") if (place / name).is_file()), None)
    if folder is None:
        pytest.skip("published reports are not part of this repository")
    return (folder / name).read_bytes()


def as_written(report: Report, keys: list[str]) -> dict[str, object]:
    values = {key: getattr(report, key) for key in keys}
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_known_report_is_read_as_a_person_reads_it(name: str) -> None:
    expected = dict(EXPECTED[name])
    body = body_of(name)
    if "missing" in expected:
        with pytest.raises(UnusableReport) as refused:
            parse(body, None)
        assert refused.value.missing_fields == expected["missing"]
        return
    seconds = expected.pop("duration_seconds")
    report = parse(body, None)
    assert as_written(report, list(expected)) == expected
    assert report.duration_seconds == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
    assert report.salvaged is expected.get("salvaged", False)


def test_every_shared_report_has_an_expected_answer() -> None:
    if not (SHARED_DATA / "reports").is_dir():
        pytest.skip("published reports are not part of this repository")
    shared = {path.name for path in (SHARED_DATA / "reports").iterdir()} - {"manifest.tsv"}
    assert shared == set(EXPECTED)


def test_the_samples_of_this_repository_all_have_an_answer() -> None:
    assert len(HERE) > 50
    assert set(HERE) <= set(EXPECTED)


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("name", HERE)
def test_a_wrong_content_type_changes_nothing(name: str, content_type: str | None) -> None:
    body = body_of(name)
    assert outcome_of(body, content_type) == outcome_of(body, None)


@pytest.mark.parametrize("name", [name for name in HERE if name.endswith(".txt") and "custom" not in name])
def test_a_form_says_the_same_as_its_raw_text_with_either_line_end(name: str) -> None:
    body = body_of(name)
    text = unquote(body.decode().removeprefix("message="))
    for raw in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        for content_type in CONTENT_TYPES:
            assert parse(raw.encode(), content_type) == parse(body, None)


def outcome_of(body: bytes, content_type: str | None) -> object:
    try:
        return parse(body, content_type)
    except UnusableReport as refused:
        assert refused.reason.endswith(".")
        return refused.missing_fields


@given(st.sampled_from(HERE), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_sample_is_a_report_or_unusable(name: str, data: st.DataObject) -> None:
    body = bytearray(body_of(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        length = data.draw(st.integers(0, 40))
        body[at : at + length] = data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b"\\", b"{", b"&"]))
    outcome_of(bytes(body), data.draw(st.sampled_from(CONTENT_TYPES)))


@given(st.sampled_from([name for name in HERE if name.endswith(".json")]), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_a_cut_off_report_is_never_better_news_than_the_whole(name: str, share: float) -> None:
    body = body_of(name).rstrip()
    cut = outcome_of(body[: int(len(body) * share)], "application/json")
    if not isinstance(cut, Report):
        return
    whole = parse(body, None)
    assert (cut.operation, cut.outcome, cut.good, cut.ended_at) == (
        whole.operation,
        whole.outcome,
        whole.good,
        whole.ended_at,
    )


@pytest.mark.parametrize("name", [name for name in HERE if name.endswith(".json")])
def test_the_order_of_properties_does_not_matter(name: str) -> None:
    def turned(value: object) -> object:
        if isinstance(value, dict):
            return {key: turned(inner) for key, inner in reversed(value.items())}
        return value

    body = body_of(name)
    turned_body = json.dumps(turned(json.loads(body))).encode()
    assert outcome_of(turned_body, None) == outcome_of(body, None)
