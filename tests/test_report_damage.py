"""Broken, cut off and hostile bodies: nothing but UnusableReport leaves, soon, and never as good news."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.reports import UnusableReport, parse, salvage
from tests.report_makers import DATA, ENDED, EXTRA, TEXT, missing_in, sent, text


def damaged(extra: str = '"backup-name":"Docs"', nested: str = "") -> bytes:
    return (
        '{"Data":{"TestResults":{"Verifications":[{"Key":"Error","Value":"' + nested + '"}],'
        '"MainOperation":"Test","ParsedResult":"Success"},"MainOperation":"Backup","ParsedResult":"Error",'
        '"EndTime":"2026-11-23T07:10:26Z","ExaminedFiles":7,"BackendStatistics":{"ParsedResult":"Success",'
        '"KnownFileSize":5}},"Extra":{' + extra + '},"LogLines":["a","b"],"Exception":null}'
    ).encode()


@pytest.mark.parametrize(
    "nested",
    [
        r'file \"-redacted-", hash',
        r'-redacted-": no',
        r'-redacted-" no',
        r'\"-redacted-",\"-redacted-" gone',
        r'gone: \"-redacted-"',
        r'{\"path\": \"-redacted-"}',
        r'(\"-redacted-")',
        "raw \n line \\q",
    ],
)
def test_a_quote_that_lost_its_backslash_is_read_over(nested: str) -> None:
    report = parse(damaged(nested=nested), "application/json")
    assert (report.operation, report.outcome, report.backup_name) == ("Backup", "Error", "Docs")
    assert (report.ended_at, report.examined_files, report.stored_bytes) == (ENDED, 7, 5)
    assert report.salvaged
    assert report.log_lines == ("a", "b")


def test_a_backup_name_with_a_broken_quote_is_read() -> None:
    report = parse(damaged(extra=r'"backup-name":"My \"-redacted-" files","machine-id":"m"'), None)
    assert (report.backup_name, report.machine_id) == ('My "-redacted-" files', "m")


def test_a_cut_off_backup_is_not_taken_for_the_operation_inside_it() -> None:
    body = damaged()
    cut = body[: body.index(b',"MainOperation":"Backup"')]
    with pytest.raises(UnusableReport, match="--allow-paths-in-log-messages=true") as refused:
        parse(cut, None)
    assert "backup-name" in refused.value.missing_fields


def test_good_news_from_a_cut_off_result_is_not_believed() -> None:
    start = b'{"Extra":{"backup-name":"Docs"},"Data":{"MainOperation":"Backup","ParsedResult":"%s","Interr'
    assert missing_in(start % b"Success") == ["ParsedResult"]
    assert parse(start % b"Error", None).outcome == "Error"
    assert missing_in((start % b"Success").replace(b'"Interr', b'"X":{"Data":{}},')) == ["ParsedResult"]


def test_the_search_in_a_damaged_body_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "_STEPS_LIMIT", 1000)
    body = '{"Extra":{"a":"b"},"LogLines":[' + '"x",' * 900 + '"x"],"Data":{"a":1}'
    found, data_is_whole = salvage.salvage(body)
    assert found["Extra"] == {"a": "b"}
    assert ("Data" in found, data_is_whole) == (False, False)


@given(st.permutations(list(DATA)), st.permutations(["Data", "Extra", "Exception"]), st.integers(0, 600))
@settings(max_examples=300, deadline=None)
def test_no_cut_makes_a_bad_run_good(keys: list[str], tops: list[str], length: int) -> None:
    data = {key: (DATA | {"Interrupted": True})[key] for key in keys}
    document = {"Data": {"CompactResults": DATA, **data}, "Extra": {"backup-name": "x"}, "Exception": None}
    body = json.dumps({key: document[key] for key in tops}).encode()
    try:
        report = parse(body[:length], None)
    except UnusableReport:
        return
    assert not report.good
    assert report.operation == "Backup"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"Data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Data":{"ExaminedFiles":' + b"9" * 100_000 + b"}}",
        b'{"' + b"\\" * 300_000,
        b'{"a":' + b'"   ' * 100_000,
        b"{" + b'"' * 300_000,
        b"a=" + b"&" * 300_000,
        b"message=" + b"%" * 300_000,
        b"Duplicati Backup report for " + b" (,, " * 100_000,
        b"Duplicati Backup report for x" + b"\r\n" * 300_000,
        b"\xff\xfe" * 1000,
        b'{"Data":{"a":"b"' + b" " * 300_000,
    ],
)
def test_hostile_bodies_are_refused_quickly(body: bytes) -> None:
    assert missing_in(body)


def test_a_million_keys_and_a_deep_stranger_do_no_harm() -> None:
    strangers = {f"key{number}": number for number in range(300_000)}
    assert sent(extra=strangers, top=strangers, **strangers).good
    whole = json.dumps({"Data": DATA, "Extra": EXTRA}).encode()
    report = parse(whole[:-1] + b',"New":' + b"[" * 50_000 + b"]" * 50_000 + b"}", None)
    assert (report.good, report.salvaged) == (True, True)


def test_many_log_lines_are_read_over() -> None:
    line = "2026-11-23 07:10:20 +00 - [Information-X]: Put - \"x\" 'y' {z}"
    assert len(sent(top={"LogLines": [line] * 50_000}).log_lines) == 200
    assert len(text(TEXT + "Log data:\n" + (line + "\n") * 50_000).log_lines) == 200


KEYS = st.sampled_from([*DATA, *EXTRA]) | st.sampled_from(
    ["Data", "Extra", "Main", "LogLines", "Exception", "message", "name", "ClassName", "BackendStatistics"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["Success", "Backup", "None", "1h30m", TEXT, "2026-11-23T07:10:26Z", json.dumps(DATA)])
)
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=8),
    max_leaves=30,
)
KNOWN_TYPES = [None, "application/json", "application/x-www-form-urlencoded", "text/html"]
CONTENT_TYPES = st.sampled_from(KNOWN_TYPES) | st.text()


def check(body: bytes, content_type: str | None) -> None:
    try:
        report = parse(body, content_type)
    except UnusableReport as refused:
        assert refused.reason
        return
    assert len(report.log_lines) <= 200
    assert report.outcome in ("Success", "Warning", "Error", "Fatal", "Unknown")
    assert report.backup_name or (report.machine_id and report.backup_id) or not report.is_backup
    json.dumps([report.backup_name, report.error, report.log_lines], ensure_ascii=False).encode()
    bytes.fromhex(report.fingerprint)


@given(st.binary(max_size=300) | st.text().map(str.encode), CONTENT_TYPES)
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_report_or_unusable(body: bytes, content_type: str | None) -> None:
    check(body, content_type)


@given(ANY_JSON, CONTENT_TYPES, st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_any_json_is_a_report_or_unusable(document: object, content_type: str | None, cut: int) -> None:
    body = json.dumps(document).encode()
    check(body[: len(body) - cut], content_type)


@given(st.dictionaries(KEYS | st.text(), LEAVES.map(str), max_size=6), CONTENT_TYPES)
@settings(max_examples=300, deadline=None)
def test_any_form_is_a_report_or_unusable(fields: dict[str, str], content_type: str | None) -> None:
    check(urlencode(fields, errors="replace").encode(), content_type)
