"""The audit log as a page and as a file."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, event, insert

from app import audit_csv, audit_search
from app.audit_search import Filter
from app.db import Database
from app.models import AuditEntry
from tests.web import LoggedIn, Site, site

AUDIT = "/settings/audit"
START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("audit"), VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture(scope="module")
def admin(here: Site) -> LoggedIn:
    return here.administrator()


def fill(database: Database, count: int, **columns: object) -> None:
    """So many entries, one an hour; every tenth by vera about the job Photos."""
    with database.writing() as rows:
        rows.execute(delete(AuditEntry))
        rows.execute(
            insert(AuditEntry),
            [
                {
                    "id": number + 1,
                    "happened_at": START + timedelta(hours=number),
                    "actor": "admin" if number % 10 else "vera",
                    "action": "job paused" if number % 10 else "key added",
                    "target": f"entry {number}" if number % 10 else f"Photos 100%_{number}",
                    "before": None,
                    "after": None,
                    "address": "192.0.2.1",
                    **columns,
                }
                for number in range(count)
            ],
        )


def targets(page: str) -> list[str]:
    return [html.unescape(each).strip() for each in re.findall(r'main-link">[^<]+</span>([^<]*)', page)]


def walk(admin: LoggedIn, path: str) -> list[str]:
    """The targets of all pages, by the link to the next one."""
    found = []
    while path:
        page = admin.get(path)
        assert page.status_code == 200
        found += targets(page.text)
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(following[1]) if following else ""
    return found


def test_the_newest_come_first_and_every_entry_is_on_one_page(here: Site, admin: LoggedIn) -> None:
    fill(here.database, 125)
    found = walk(admin, AUDIT)
    assert len(found) == 125
    assert found[0] == "entry 124"
    assert found[-1] == "Photos 100%_0"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("actor=vera", 13),
        ("action=key+added", 13),
        ("action=nothing", 0),
        ("target=photos", 13),
        ("target=100%25_1", 4),
        ("target=%25", 13),
        ("actor=vera&target=entry", 0),
        # One an hour from 12:00 UTC: the first day of Paris (UTC+1) ends at 23:00 UTC.
        ("to=2026-11-01", 11),
        ("from=2026-11-02&to=2026-11-02", 24),
        ("from=2026-11-06", 125 - 11 - 4 * 24),
        ("from=2027-01-01", 0),
        ("to=2020-01-01", 0),
    ],
)
def test_a_filter_finds_what_fits_and_is_kept_in_the_links(
    here: Site, admin: LoggedIn, query: str, expected: int
) -> None:
    fill(here.database, 125)
    assert len(walk(admin, f"{AUDIT}?{query}")) == expected
    page = html.unescape(admin.get(f"{AUDIT}?{query}").text)
    assert re.search(rf'href="{AUDIT}/export.csv\?{re.escape(query)}"', page)


def test_what_is_known_is_offered(here: Site, admin: LoggedIn) -> None:
    fill(here.database, 20)
    page = admin.get(f"{AUDIT}?action=long+ago").text
    assert '<option value="vera">' in page
    assert '<option value="job paused">job paused</option>' in page
    assert '<option value="long ago" selected>long ago</option>' in page


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-02-30", "from=2026-11-02&to=2026-11-01"])
def test_a_day_that_is_none_is_told_and_kept(here: Site, admin: LoggedIn, query: str) -> None:
    answer = admin.get(f"{AUDIT}?{query}")
    assert answer.status_code == 400
    assert "Expected: " in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert query.partition("=")[2][:10] in answer.text


@pytest.mark.parametrize(
    "query", ["before=-1", "before=99999999999999999999", "actor=%00", "target=" + "x" * 5000]
)
def test_nothing_in_the_address_breaks_the_page(here: Site, admin: LoggedIn, query: str) -> None:
    assert admin.get(f"{AUDIT}?{query}").status_code == 200
    assert admin.get(f"{AUDIT}/export.csv?{query}").status_code == 200


def test_a_look_reads_a_bounded_part_and_the_next_goes_on(
    here: Site, admin: LoggedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_search, "READ_LIMIT", 30)
    fill(here.database, 200)
    page = admin.get(f"{AUDIT}?target=Photos+100%25_0").text
    assert "Look further back" in page
    assert targets(page) == []
    assert walk(admin, f"{AUDIT}?target=Photos+100%25_0") == ["Photos 100%_0"]
    exported = admin.get(f"{AUDIT}/export.csv?target=Photos+100%25_0").text
    assert len(exported.splitlines()) == 2


@pytest.mark.sqlite("asks for SQLite's plan")
def test_a_page_costs_few_queries_and_none_of_them_scans_the_log(here: Site, admin: LoggedIn) -> None:
    fill(here.database, 5000)
    asked: list[tuple[str, object]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: object, *_rest: object
    ) -> None:
        asked.append((statement, parameters))

    event.listen(here.database.engine, "before_cursor_execute", note)
    admin.get(f"{AUDIT}?actor=vera&from=2026-11-20&to=2026-11-30")
    event.remove(here.database.engine, "before_cursor_execute", note)
    queries = [each for each in asked if "FROM audit_entry" in each[0]]
    assert len(queries) == 6
    assert len(asked) <= 12
    with here.database.reading() as rows:
        for statement, parameters in queries:
            plan = rows.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = " / ".join(str(each[3]) for each in plan)
            # A walk over the primary key stops at its LIMIT; only a scan with a sort would read everything.
            assert "SEARCH audit_entry" in steps or "LIMIT" in statement, (statement, steps)
            assert "TEMP B-TREE FOR ORDER BY" not in steps or "DISTINCT" in statement, (statement, steps)


# The file


def export(admin: LoggedIn, query: str = "") -> tuple[str, list[list[str]]]:
    answer = admin.get(f"{AUDIT}/export.csv?{query}")
    assert answer.status_code == 200
    assert answer.content_type == "text/csv; charset=utf-8"
    text = answer.data.decode()
    assert text.startswith("\ufeff")
    return text, list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))


def test_the_file_holds_what_fits_the_newest_first_with_utc_times(here: Site, admin: LoggedIn) -> None:
    fill(here.database, 2500)
    _text, rows = export(admin, "actor=vera")
    header, *entries = rows
    assert header == ["number", "happened_at", "actor", "action", "target", "before", "after", "address"]
    assert len(entries) == 250
    assert entries[-1][:5] == ["1", "2026-11-01T12:00:00Z", "vera", "key added", "Photos 100%_0"]
    assert [int(each[0]) for each in entries] == sorted((int(each[0]) for each in entries), reverse=True)
    answer = admin.get(f"{AUDIT}/export.csv")
    assert re.fullmatch(
        r'attachment; filename="veilleur-audit-\d{8}T\d{6}Z.csv"', answer.headers["Content-Disposition"]
    )


def test_the_file_follows_rfc_4180(here: Site, admin: LoggedIn) -> None:
    fill(here.database, 1, target='a "quoted", word', before="one\ntwo\r\nthree", after="é漢")
    text, rows = export(admin)
    assert text.endswith("\r\n")
    assert '"a ""quoted"", word"' in text
    assert rows[1][4:7] == ['a "quoted", word', "one\ntwo\r\nthree", "é漢"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_a_formula(here: Site, admin: LoggedIn, begin: str) -> None:
    cell = f'{begin}HYPERLINK("http://evil.example")'
    columns = dict.fromkeys(("actor", "action", "target", "before", "after", "address"), cell)
    fill(here.database, 1, **columns)
    _text, rows = export(admin)
    assert rows[1][2:] == [f"'{cell}"] * 6


def test_ordinary_text_is_left_as_it_is() -> None:
    for text in ("", "admin", "a=b", "'quoted", "5 - 3"):
        assert audit_csv.defused(text) == text


def test_the_file_is_read_in_parts_and_holds_no_transaction_open(here: Site) -> None:
    fill(here.database, 2500)
    entries = audit_search.every(here.database, Filter())
    assert next(entries).id == 2500
    with here.database.writing() as rows:
        rows.execute(delete(AuditEntry).where(AuditEntry.id <= 1000))
    assert sum(1 for _each in entries) == 1499
