"""The rules of reading a report: what is demanded, what is tolerated, what it comes to."""

import json
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest

from app.reports import UnusableReport, parse
from tests.report_makers import DATA, ENDED, EXTRA, TEXT, form, missing_in, sent, text

# What counts as a good backup


@pytest.mark.parametrize("outcome", ["Success", "Warning"])
def test_a_whole_backup_is_good(outcome: str) -> None:
    report = sent(ParsedResult=outcome)
    assert report.good
    assert report.is_backup
    assert report.ended_at == ENDED.replace(microsecond=750000)


@pytest.mark.parametrize(
    "data",
    [
        {"PartialBackup": True},
        {"PartialBackup": "True", "ParsedResult": "Warning"},
        {"Interrupted": True},
        {"Dryrun": True},
        {"ParsedResult": "Error"},
        {"ParsedResult": "Fatal"},
        {"ParsedResult": "Unknown"},
        {"ParsedResult": "Splendid"},
        {"MainOperation": "Restore"},
    ],
)
def test_anything_less_is_not_good(data: dict[str, object]) -> None:
    assert not sent(**data).good


@pytest.mark.parametrize("parsed", ["Success", "Warning", "Unknown", None])
def test_an_exception_outranks_the_result(parsed: str | None) -> None:
    report = sent(top={"Exception": "System.IO.IOException: disk gone\n   at Put()"}, ParsedResult=parsed)
    assert (report.outcome, report.good) == ("Fatal", False)
    assert report.error == "System.IO.IOException: disk gone"


@pytest.mark.parametrize("nothing", [None, "None"])
def test_a_report_without_data_is_fatal_and_has_no_time(nothing: object) -> None:
    report = sent(top={"Data": nothing})
    assert (report.operation, report.outcome) == ("Backup", "Fatal")
    assert not (report.good or report.has_own_time)


def test_an_exception_in_the_place_of_the_result_is_fatal() -> None:
    exception = {"ClassName": "System.IOException", "Message": "no space\nleft", "Data": None}
    report = sent(top={"Data": exception})
    assert (report.outcome, report.error, report.ended_at) == ("Fatal", "no space", None)


@pytest.mark.parametrize("mangled", ["None", "null", "", None])
def test_an_exception_written_as_none_is_none(mangled: object) -> None:
    assert sent(top={"Exception": mangled}).good


# What is demanded


def test_a_backup_needs_an_identity_and_a_result() -> None:
    assert missing_in("{}") == ["backup-name", "machine-id", "backup-id", "ParsedResult"]
    assert missing_in('{"Data": {}, "Extra": {"backup-name": "x"}}') == ["ParsedResult"]
    assert missing_in('{"Data": {"ParsedResult": "Success"}, "Extra": {"machine-id": "m"}}') == [
        "backup-name",
        "backup-id",
    ]


def test_both_ids_do_for_an_identity_and_so_does_a_name() -> None:
    by_ids = sent(extra={"backup-name": None})
    by_name = sent(extra={"backup-id": "None"})
    assert (by_ids.backup_name, by_ids.identity_from_name) == (None, False)
    assert (by_name.backup_id, by_name.identity_from_name) == (None, True)


@pytest.mark.parametrize(
    "body",
    [
        '{"Data": {"MainOperation": "Test", "EndTime": "soon"}}',
        '{"Extra": {"OperationName": "Test"}, "Data": null}',
        "Duplicati Test report for x\n\nEndTime: soon",
        "MainOperation: Test\nParsedResult: Success",
    ],
)
def test_another_operation_needs_nothing_more(body: str) -> None:
    report = parse(body.encode(), None)
    assert (report.operation, report.is_backup) == ("Test", False)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"hello", b"[]", b"[1]", b'"x"', b"5", b"<html/>", b"\0"])
def test_what_is_no_report_is_refused(body: bytes) -> None:
    assert missing_in(body)


def test_a_message_of_the_users_own_names_the_option_to_change() -> None:
    with pytest.raises(UnusableReport, match="--send-http-message"):
        form(text="Backup: Fatal for Custom at file:///srv", host="nas1", token="abc")


# Times


def test_the_end_comes_from_begin_and_duration_when_it_is_not_told() -> None:
    assert sent(EndTime=None, Duration="1h30m").ended_at == datetime(2026, 11, 23, 8, 40, 25, 250000, UTC)
    assert sent(EndTime="soon", Duration="00:00:01").ended_at == ENDED.replace(microsecond=250000)


@pytest.mark.parametrize(
    "data",
    [
        {"EndTime": "soon", "BeginTime": None},
        {"EndTime": "soon", "Duration": "soon"},
        {"EndTime": None, "BeginTime": "soon"},
        {"EndTime": ["x"], "BeginTime": {}},
    ],
)
def test_a_backup_whose_time_cannot_be_read_is_unusable(data: dict[str, object]) -> None:
    with pytest.raises(UnusableReport) as refused:
        sent(**data)
    assert refused.value.missing_fields == ["EndTime"]


def test_a_run_that_never_ended_has_no_time_and_no_duration() -> None:
    report = sent(EndTime="0001-01-01T00:00:00", Duration="00:00:00", ParsedResult="Fatal")
    assert (report.ended_at, report.duration_seconds, report.has_own_time) == (None, None, False)
    assert report.began_at is not None


def test_a_duration_that_cannot_be_read_comes_from_the_times() -> None:
    assert sent(Duration="soon").duration_seconds == 1.5
    assert sent(Duration="-01:00:00.5").duration_seconds == -3600.5


def test_the_next_scheduled_run_is_the_clients_own_word() -> None:
    assert sent(extra={"next-scheduled-run": "20261124T070000Z"}).next_scheduled_at == datetime(
        2026, 11, 24, 7, tzinfo=UTC
    )
    for nothing in (None, "", "soon", 5):
        assert sent(extra={"next-scheduled-run": nothing}).next_scheduled_at is None


# Counts, statistics, details


def test_statistics_are_read_and_none_is_told_from_zero() -> None:
    report = sent(
        BackendStatistics={
            "BytesUploaded": 0,
            "BytesDownloaded": "12",
            "KnownFileSize": 2**42,
            "KnownFileCount": 3.0,
            "KnownFilesets": 0,
            "BackupListCount": 4,
            "TotalQuotaSpace": 100,
            "FreeQuotaSpace": 0,
            "AssignedQuotaSpace": -1,
            "ParsedResult": "Fatal",
            "EndTime": "0001-01-01T00:00:00",
        }
    )
    assert (report.uploaded_bytes, report.downloaded_bytes, report.stored_bytes) == (0, 12, 2**42)
    assert (report.stored_files, report.versions) == (3, 0)
    assert (report.free_quota_bytes, report.total_quota_bytes, report.assigned_quota_bytes) == (0, 100, None)
    assert report.outcome == "Success"


def test_versions_come_from_the_list_count_of_older_clients_and_no_quota_is_none() -> None:
    report = sent(BackendStatistics={"BackupListCount": 4, "TotalQuotaSpace": 0, "FreeQuotaSpace": 0})
    assert (report.versions, report.free_quota_bytes, report.total_quota_bytes) == (4, None, None)


def test_the_surroundings_are_read() -> None:
    report = sent(
        extra={"machine-name": " nas ", "operating-system": "Linux", "destination-type": "s3"},
        Version="2.3.0.4 (2.3.0.4_stable_2026-07-09)",
    )
    assert (report.machine_name, report.operating_system, report.destination_type) == ("nas", "Linux", "s3")
    assert report.duplicati_version == "2.3.0.4 (2.3.0.4_stable_2026-07-09)"


def test_numbers_that_make_no_sense_are_none() -> None:
    body = b'{"Data":{"ParsedResult":"Success","ExaminedFiles":NaN,"AddedFiles":1e999,"OpenedFiles":-3},'
    report = parse(body + b'"Extra":{"backup-name":"x"}}', None)
    assert (report.examined_files, report.added_files, report.opened_files) == (None, None, None)


def test_log_lines_are_bounded_and_keep_what_went_wrong() -> None:
    usual = [f"2026-11-23 07:10:20 +00 - [Information-X]: {number}" for number in range(5000)]
    wrong = ["2026-11-23 07:10:20 +00 - [Error-X]: bad\0\ud800" + "x" * 3000, "now - [Warning-X]: odd"]
    lines = sent(top={"LogLines": [*usual, *wrong, None, 5]}).log_lines
    assert len(lines) == 200
    assert lines[0].startswith("2026-11-23 07:10:20 +00 - [Error-X]: bad?xxx")
    assert len(lines[0]) <= 2000
    assert lines[1:4] == (wrong[1], *usual[:2])


def test_result_files_tell_their_errors_and_warnings_as_log_lines() -> None:
    report = sent(Errors=["e"], Warnings=["w"], Messages=["m"])
    assert report.log_lines == ("e", "w")


def test_the_error_is_one_short_line() -> None:
    assert sent(top={"Exception": "\n\n  a" + "b" * 600 + "\nc"}).error == "a" + "b" * 499


def test_text_that_no_database_takes_is_cleaned() -> None:
    report = sent(extra={"backup-name": " a\0b\ud800\n", "machine-name": "x" * 5000})
    assert report.backup_name == "ab?"
    assert report.machine_name == "x" * 300


# The text form


def test_a_header_tells_name_and_ids() -> None:
    report = text(TEXT)
    assert (report.backup_name, report.machine_id, report.backup_id, report.machine_name) == (
        "Docs",
        "m1",
        "DB-1",
        "nas",
    )


@pytest.mark.parametrize(
    ("title", "name", "machine_id", "machine_name"),
    [
        ("Mac (IL)", "Mac (IL)", None, None),
        ("a, b, c", "a, b, c", None, None),
        ("Mac (old one, new one, other)", "Mac (old one, new one, other)", None, None),
        ("Mac (IL) (m1, DB-1, PC (old), 2)", "Mac (IL)", "m1", "PC (old), 2"),
        ("Docs (, , )", "Docs", None, None),
    ],
)
def test_brackets_in_names_are_not_ids(
    title: str, name: str, machine_id: str | None, machine_name: str | None
) -> None:
    report = text(f"Duplicati Backup report for {title}\n\nParsedResult: Success")
    assert (report.backup_name, report.machine_id, report.machine_name) == (name, machine_id, machine_name)


def test_only_the_outermost_lines_of_a_text_are_its_result() -> None:
    report = text(
        "Duplicati Backup report for x\n\n"
        "CompactResults:\n\n    BytesUploaded: 7\n    ParsedResult: Success\n\n"
        "    EndTime: 1/1/2001 0:00:00 (978307200)\n\n"
        "    BackendStatistics:\n        BytesUploaded: 1\n"
        "Warnings: [\n    line one\nParsedResult: Success\n]\n"
        "ParsedResult: Error\nParsedResult: Success\n"
        "BackendStatistics:\n    BytesUploaded: 5\n    ParsedResult: Success\n        KnownFileSize: 9\n"
        "Log data:\n2026-11-23 07:10:20 +00 - [Error-X]: a\n  at b\nExaminedFiles: 5\n"
    )
    assert (report.outcome, report.uploaded_bytes, report.stored_bytes) == ("Error", 5, None)
    assert report.ended_at is None
    assert report.log_lines == ("2026-11-23 07:10:20 +00 - [Error-X]: a\n  at b\nExaminedFiles: 5",)
    assert report.examined_files is None


def test_a_failed_text_is_fatal_whatever_else_it_says() -> None:
    report = text("Duplicati Backup report for x\nFailed: disk gone\nDetails: Y: no\n\nParsedResult: Success")
    assert (report.outcome, report.error) == ("Fatal", "disk gone")


def test_a_text_without_a_result_is_unusable() -> None:
    assert missing_in("Duplicati Backup report for x\n\nExaminedFiles: 5") == ["ParsedResult"]


# Forms


@pytest.mark.parametrize("field", ["message", "text", "report[body]", "x"])
def test_the_text_may_be_in_any_field(field: str) -> None:
    assert form(**{"host": "nas", field: TEXT, "token": "a" * 5000}) == text(TEXT)


def test_form_fields_add_what_the_header_lacks() -> None:
    body = "Duplicati Backup report for Docs\n\nParsedResult: Success"
    beside = {"machine-id": "m9", "backup-id": "DB-9", "machine-name": "nas", "backup-name": "Other"}
    report = form(message=body, **beside)
    assert (report.machine_id, report.backup_id, report.machine_name) == ("m9", "DB-9", "nas")
    assert report.backup_name == "Docs"


def test_json_in_a_form_is_read_as_json() -> None:
    document = json.dumps({"Data": DATA, "Extra": {"backup-name": "a+b & c=d"}})
    report = form(token="x", body=document, **{"machine-id": "m1"})
    assert (report.backup_name, report.machine_id, report.good) == ("a+b & c=d", "m1", True)


def test_unescaped_json_in_a_form_is_read_with_what_follows_it() -> None:
    document = json.dumps({"Data": DATA, "Extra": {"backup-name": "A&B=C+D"}}, separators=(",", ":"))
    assert parse(b"payload=" + document.encode(), None).backup_name == "A&B=C+D"
    assert parse(b"payload=" + document.encode() + b"&token=x", None).backup_name == "A&B=C+D"


def test_a_plus_is_a_space_only_where_no_other_space_is_written() -> None:
    plain = "Duplicati Backup report for A+B & C\n\nParsedResult: Success"
    for body in (
        "message=" + quote(plain),
        "message=" + quote(plain).replace("%2B", "+"),
        urlencode({"message": plain}),
        "message=" + plain,
        plain,
        quote(plain),
    ):
        report = parse(body.encode(), "application/x-www-form-urlencoded")
        assert report.backup_name == "A+B & C"


def test_a_wrapped_text_or_string_is_unwrapped() -> None:
    for body in (json.dumps({"id": 5, "message": TEXT}), json.dumps(TEXT)):
        assert parse(body.encode(), None) == text(TEXT)


def test_data_goes_before_what_surrounds_it() -> None:
    assert sent(top={"ParsedResult": "Success", "ExaminedFiles": 1}, ParsedResult="Error").outcome == "Error"


def test_a_raw_line_break_in_a_string_is_no_damage() -> None:
    report = parse(b'{"Data":{"ParsedResult":"Success"},"Extra":{"backup-name":"a","x":"b\nc"}}', None)
    assert (report.good, report.salvaged) == (True, False)


def test_data_may_be_a_json_string() -> None:
    document = {"Data": json.dumps(DATA), "Extra": EXTRA}
    assert parse(json.dumps(document).encode(), None) == sent()
    document["Data"] = "[" * 100_000
    assert missing_in(json.dumps(document)) == ["ParsedResult"]
