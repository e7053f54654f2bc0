"""The page of a job: what it says in every state, what it hides, what it changes, and what it costs."""

from __future__ import annotations

import html
import json
import re
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from sqlalchemy import event, insert, text

from app import clock, maintenance, report_words
from app.maintenance import Window
from app.models import Channel, DeliveryAttempt, Job, MaintenanceWindow, Report, ReportBody
from tests import factories
from tests.conftest import SAMPLES
from tests.test_series import rows_of
from tests.web import Site, site

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture
def job_id(here: Site) -> int:
    with here.database.writing() as rows:
        return factories.add_job(rows, "Documents", now=clock.utcnow()).id


def job_of(here: Site, job_id: int) -> Job:
    with here.database.reading() as rows:
        return rows.get_one(Job, job_id)


def words(page: str) -> str:
    """What a page says, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def add(here: Site, state: str, **columns: Any) -> int:
    with here.database.writing() as rows:
        given = {"why": factories.why(state), **columns}
        return factories.add_job(rows, "Documents", state, now=clock.utcnow(), **given).id


# What it says


def test_a_silent_job_says_what_was_expected_and_what_to_do(here: Site) -> None:
    now = clock.utcnow()
    late = {"expected_at": now - 5 * HOUR, "until_at": now - 5 * HOUR, "state_since_at": now - 4 * HOUR}
    said = words(here.viewer().get(f"/jobs/{add(here, 'overdue', **late)}").text)
    assert (
        "Expected Sun 22 Nov, 22:00 Europe/Paris, from Duplicati's own schedule; tolerance 1 h, so overdue "
        "since Sun 22 Nov 2026, 23:00; last good backup Fri 20 Nov 2026, 21:58; no report since."
    ) in said
    assert "What to do now See whether nas-attic is switched on" in said
    assert "Was expected" in said
    assert "a script before it may have stopped it silently" in said


def test_a_failed_job_leads_to_the_report_of_the_run(here: Site) -> None:
    facts = factories.why("failed", outcome="Fatal", error="The destination is full")
    number = add(here, "failed", why=facts, last_run_good=False, last_outcome="Fatal", last_report_id=5)
    page = here.viewer().get(f"/jobs/{number}").text
    assert f'href="/jobs/{number}/reports/5"' in page
    assert "next run expected Sun 22 Nov, 22:00 Europe/Paris." in words(page)
    assert "mend its cause on nas-attic" in words(page)
    with here.database.writing() as rows:
        rows.get_one(Job, number).last_outcome = "Interrupted"
    assert "stopped the run on nas-attic before its end" in here.viewer().get(f"/jobs/{number}").text


@pytest.mark.parametrize(
    ("state", "advice"),
    [("ok", None), ("paused", None), ("late", "it may be running still"), ("new", "its first good report")],
)
def test_there_is_advice_where_something_can_be_done(here: Site, state: str, advice: str | None) -> None:
    last = {"last_ended_at": None, "last_good_at": None} if state == "new" else {}
    page = here.viewer().get(f"/jobs/{add(here, state, **last)}").text
    assert ("What to do now" in page) == (advice is not None)
    assert advice is None or advice in page


def test_the_timeline_says_in_words_what_it_draws(here: Site, job_id: int) -> None:
    page = here.viewer().get(f"/jobs/{job_id}").text
    assert page.count('role="img" aria-labelledby="timeline-') == 2
    assert re.search(
        r'<desc id="timeline-wide-told">Now: .*Next run expected: .*Overdue from: .*</desc>', page
    )
    assert len(re.findall(r' id="([^"]+)"', page)) == len(set(re.findall(r' id="([^"]+)"', page)))


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({}, "Every day, on Monday, Tuesday, Wednesday, Thursday, Friday at 10:00, Europe/Paris"),
        ({"repeat": "2W", "days": ""}, "Every 2 weeks, on Monday at 10:00, Europe/Paris"),
        (
            {"repeat": "1D12h", "days": "mon,tue,wed,thu,fri,sat,sun"},
            "Every 1D12h, counted from 10:00, Europe/Paris",
        ),
        (
            {"source": "collected", "repeat": "6h", "days": ""},
            "Every 6 hours, counted from 10:00, Europe/Paris",
        ),
    ],
)
def test_the_schedule_in_force_is_told_with_its_source(
    here: Site, schedule: dict[str, Any], told: str
) -> None:
    with here.database.writing() as rows:
        source = schedule.get("source", "typed")
        job = factories.add_job(rows, now=clock.utcnow(), expected_source=source)
        factories.add_schedule(rows, job, **schedule)
        number = job.id
    said = words(here.viewer().get(f"/jobs/{number}").text)
    assert told in said
    assert ("The schedule was entered here." in said) == (source == "typed")
    assert ("The schedule was read from the Duplicati server." in said) == (source == "collected")


def test_a_schedule_that_is_not_in_force_is_told_as_such(here: Site, job_id: int) -> None:
    with here.database.writing() as rows:
        factories.add_schedule(rows, rows.get_one(Job, job_id), repeat="1W", days="")
    said = words(here.viewer().get(f"/jobs/{job_id}").text)
    assert "Duplicati itself says with each report when the next run is due." in said
    assert "Also entered here, but not in force now: Every week, on Monday at 10:00, Europe/Paris" in said


def test_figures_say_where_they_went(here: Site, job_id: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        for day in range(80):
            grown = {"stored_bytes": 1_200_000_000 - day * 500_000, "examined_bytes": None, "versions": 14}
            factories.add_report(rows, job, ended_at=now - day * DAY, **grown)
    page = here.viewer().get(f"/jobs/{job_id}").text
    said = words(page)
    assert "Stored 1.2 GB, up 3.4% in 90 days." in said
    assert "14, unchanged in 90 days." in said
    assert "Usually 14 min 5 s" in said
    assert "Usually 91.4 MB a run; 7.3 GB in 90 days." in said
    assert f'data-series="/jobs/{job_id}/series?days=90"' in page
    assert 'data-zone="Europe/Paris"' in page
    assert page.count('class="plot"') == 5
    # The table stands for the pictures where there is no JavaScript.
    assert "Figures by month" in said
    assert "data-no-pictures" in page


def test_the_year_shows_its_days_and_leads_to_the_bad_ones(here: Site, job_id: int) -> None:
    now = clock.utcnow().replace(hour=12)
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        for days, values in ((1, {}), (2, {"good": False, "outcome": "Error"}), (3, {"outcome": "Warning"})):
            factories.add_report(rows, job, ended_at=now - days * DAY, **values)
    viewer = here.viewer()
    page = viewer.get(f"/jobs/{job_id}").text
    assert "In the last year: 1 good day, 1 with warnings, 1 failed, 362 without a run." in page
    assert page.count('<use href="#day-failed"') == 2  # the day and the legend
    assert "1 failed</title>" in page
    leading = re.search(r'<li><a href="([^"]+#runs)">[^<]+: 1 failed</a>', page)
    assert leading is not None
    older = viewer.get(html.unescape(leading.group(1))).text
    first = re.search(
        r'class="state state-(\w+)">.*?</svg>Error', older[older.index('id="runs"') :], re.DOTALL
    )
    assert first is not None
    assert first.group(1) == "failed"


def test_each_attempt_to_tell_somebody_is_shown_with_its_answer(here: Site, job_id: int) -> None:
    with here.database.writing() as rows:
        alert = factories.add_alert(rows, rows.get_one(Job, job_id))
        delivery = factories.add_delivery(rows, alert, factories.add_channel(rows), attempts=14)
        common = {"delivery_id": delivery.id, "started_at": factories.NOW, "duration_seconds": 0.5}
        answers = [{**common, "delivered": False, "detail": f"answer {number} <b>"} for number in range(13)]
        rows.execute(insert(DeliveryAttempt), [*answers, {**common, "delivered": True, "detail": "200 OK"}])
    page = here.viewer().get(f"/jobs/{job_id}").text
    assert page.count("not delivered") == 9
    assert "answer 12 &lt;b&gt;" in page
    assert "answer 3" not in page
    assert "Only the newest attempts are shown." in page


# Reports


def test_log_lines_carry_their_level_and_go_on_over_several_lines(here: Site, job_id: int) -> None:
    lines = [
        "2026-11-22 22:00:01 +01 - [Information-Main-Start]: begun",
        "2026-11-22 22:00:02 +01 - [Warning-Files-Locked]: can't read <a>",
        "of two lines",
        "2026-11-22 22:00:03 +01 - [Error-Main-Failed]: it is full",
    ]
    told = report_words.entries(lines)
    assert [(each.level, each.text.count("\n")) for each in told] == [("", 0), ("warning", 1), ("error", 0)]
    content = json.loads((SAMPLES / "054-live-2.0.7.1-backup-first.json").read_text())
    content["LogLines"] = lines
    with here.database.writing() as rows:
        report = factories.add_report(rows, rows.get_one(Job, job_id), json.dumps(content).encode())
        path = f"/jobs/{job_id}/reports/{report.id}"
    page = here.viewer().get(path).text
    assert len(re.findall(r'class="entry entry-error".*?</svg>Error</span>', page, re.DOTALL)) == 1
    assert len(re.findall(r'class="entry entry-warning".*?</svg>Warning</span>', page, re.DOTALL)) == 1
    assert '/body"' not in page
    assert here.viewer().get(f"{path}/body").status_code == 403


def body_page(here: Site, job_id: int, body: bytes, content_type: str = "application/json") -> str:
    with here.database.writing() as rows:
        report = factories.add_report(rows, rows.get_one(Job, job_id), body)
        rows.get_one(ReportBody, report.id).content_type = content_type
        path = f"/jobs/{job_id}/reports/{report.id}/body"
    answer = here.administrator().get(path)
    assert answer.status_code == 200
    found = re.search(r"<pre[^>]*>(.*)</pre>", answer.text, re.DOTALL)
    assert found is not None
    return html.unescape(found.group(1)) + ("" if "has all of it" not in answer.text else "…")


def test_a_body_is_made_readable_whatever_it_is(here: Site, job_id: int) -> None:
    assert body_page(here, job_id, b'{"a": [1, "<b>"]}') == '{\n  "a": [\n    1,\n    "<b>"\n  ]\n}'
    assert body_page(here, job_id, b"{broken <b>") == "{broken <b>"
    form = f"message={quote_plus('Duplicati: é' + chr(10) + 'two')}&x=".encode()
    shown = body_page(here, job_id, form, "application/x-www-form-urlencoded; charset=utf-8")
    assert shown == "message=\nDuplicati: é\ntwo\n\nx=\n"
    assert "\ufffd" in body_page(here, job_id, b"\xff\xfe")
    assert body_page(here, job_id, b'["half a letter: \\ud800"]') == '[\n  "half a letter: ?"\n]'


def test_indenting_a_body_costs_no_more_than_what_is_shown_of_it(here: Site, job_id: int) -> None:
    # Half a million numbers, each 900 levels deep, would be a gigabyte of spaces.
    body = b"[" * 900 + b"1," * 490_000 + b"1" + b"]" * 900
    assert len(body) < report_words.LONGEST_PRETTY_BYTES
    tracemalloc.start()
    try:
        shown = report_words.readable(
            ReportBody(content_type="application/json", size_bytes=len(body), compressed=zlib.compress(body))
        )
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(shown.text), shown.is_whole) == (report_words.LONGEST_SHOWN, False)
    assert peak_bytes < 100_000_000


def test_of_a_very_long_body_the_beginning_is_shown(here: Site, job_id: int) -> None:
    for size in (report_words.LONGEST_SHOWN + 1, 5_000_000):
        shown = body_page(here, job_id, b"x" * size)
        assert shown == "x" * report_words.LONGEST_SHOWN + "…"
    deep = b"[" * 100_000
    assert body_page(here, job_id, deep) == deep.decode()


# Settings


def test_notes_keep_their_lines_are_shown_and_audited(here: Site, job_id: int) -> None:
    admin = here.administrator()
    typed = "In the attic.\r\n  Call <Zoë> first.\0\r\n\r\n"
    assert admin.post(f"/jobs/{job_id}/notes", data={"notes": typed}).status_code == 302
    assert job_of(here, job_id).notes == "In the attic.\n  Call <Zoë> first."
    page = here.viewer().get(f"/jobs/{job_id}").text
    assert '<p class="notes">In the attic.\n  Call &lt;Zoë&gt; first.</p>' in page
    admin.post(f"/jobs/{job_id}/notes", data={"notes": "  \r\n"})
    assert job_of(here, job_id).notes is None
    told = [(each.before, each.after) for each in here.audit("notes changed")]
    assert told == [
        (None, "In the attic.\n  Call <Zoë> first."),
        ("In the attic.\n  Call <Zoë> first.", None),
    ]


def test_notes_of_4000_characters_fit_and_one_more_is_refused_and_kept(here: Site, job_id: int) -> None:
    admin = here.administrator()
    longest = "é\r\n" * 2000
    assert admin.post(f"/jobs/{job_id}/notes", data={"notes": longest}).status_code == 302
    answer = admin.post(f"/jobs/{job_id}/notes", data={"notes": longest + "typed"})
    assert answer.status_code == 400
    assert 'id="notes-wrong"' in answer.text
    assert "é\ntyped</textarea>" in answer.text
    assert re.search(r'<details class="card job-settings" id="settings" open>', answer.text)
    # Asking for this address anew would be refused, so the page does not.
    assert "data-refresh-seconds" not in answer.text


def test_a_job_is_published_under_a_name_of_its_own_and_taken_back(here: Site, job_id: int) -> None:
    admin, path = here.administrator(), f"/jobs/{job_id}/publish"
    answer = admin.post(path, data={"is_published": "y", "public_name": "  "})
    assert answer.status_code == 400
    assert "Enter the name that strangers may read." in answer.text
    assert re.search(r'<input checked[^>]* name="is_published"', answer.text)
    admin.post(path, data={"is_published": "y", "public_name": " Our files\r\n\0"})
    job = job_of(here, job_id)
    assert (job.is_published, job.public_name) == (True, "Our files")
    page = admin.get(f"/jobs/{job_id}").text
    assert 'value="Our files"' in page
    admin.post(path, data={"public_name": "Our files"})
    assert job_of(here, job_id).is_published is False
    assert admin.post(path, data={"is_published": "y", "public_name": "x" * 121}).status_code == 400
    told = [(each.before, each.after) for each in here.audit("publishing changed")]
    assert told == [("not shown", "shown as Our files"), ("shown as Our files", "not shown")]


@pytest.mark.parametrize(
    ("action", "typed"),
    [("notes", {"notes": "Call Zoë first."}), ("publish", {"is_published": "y", "public_name": "Files"})],
)
def test_what_has_no_say_in_the_state_puts_no_reminder_off(
    here: Site, action: str, typed: dict[str, str]
) -> None:
    soon_at = clock.utcnow() + timedelta(hours=1)
    long_ago_at = clock.utcnow() - timedelta(days=2)
    job_id = add(
        here,
        "overdue",
        told="overdue",
        expected_at=long_ago_at,
        until_at=long_ago_at,
        reminder_at=soon_at,
        attention_at=soon_at,
    )
    assert here.administrator().post(f"/jobs/{job_id}/{action}", data=typed).status_code == 302
    job = job_of(here, job_id)
    assert (job.state, job.reminder_at, job.attention_at) == ("overdue", soon_at, soon_at)


@pytest.mark.parametrize(("action", "state"), [("pause", "ok"), ("acknowledge", "overdue")])
def test_an_end_that_no_zone_can_show_is_refused_and_one_that_is_stored_breaks_no_page(
    here: Site, action: str, state: str
) -> None:
    admin, job_id = here.administrator(), add(here, state)
    answer = admin.post(f"/jobs/{job_id}/{action}", data={"until": "9999-12-31T20:00"})
    assert answer.status_code == 400
    assert "Expected: a date between the years 1980 and 2199." in answer.text
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        job.acknowledged_at = clock.utcnow()
        job.acknowledged_until_at = datetime(9999, 12, 31, 20, tzinfo=UTC)
    admin.post("/account/preferences", data={"language": "", "timezone": "Pacific/Auckland"})
    assert [admin.get(path).status_code for path in ("/", f"/jobs/{job_id}")] == [200, 200]


@pytest.mark.parametrize(
    ("action", "typed", "kept"),
    [
        ("tolerance", {"minutes": "a while"}, 'value="a while"'),
        ("pause", {"until": "2020-01-01T08:00"}, 'value="2020-01-01T08:00"'),
        ("publish", {"is_published": "y", "public_name": "x" * 121}, f'value="{"x" * 121}"'),
    ],
)
def test_what_was_refused_is_still_there_in_the_open_form(
    here: Site, job_id: int, action: str, typed: dict[str, str], kept: str
) -> None:
    answer = here.administrator().post(f"/jobs/{job_id}/{action}", data=typed)
    assert answer.status_code == 400
    assert kept in answer.text
    assert 'id="settings" open' in answer.text


def test_a_refused_acknowledgement_opens_its_own_form(here: Site) -> None:
    number = add(here, "overdue")
    answer = here.administrator().post(f"/jobs/{number}/acknowledge", data={"until": "2020-01-01T08:00"})
    assert answer.status_code == 400
    assert 'id="know" data-keep-open open' in answer.text
    assert 'id="settings" open' not in answer.text


def test_a_viewer_is_shown_no_form(here: Site, job_id: int) -> None:
    page = here.viewer().get(f"/jobs/{job_id}").text
    forms = set(re.findall(r'action="([^"]+)"', page))
    assert forms == {"/logout"}
    assert 'id="plan"' in page


# What it costs


def queries(here: Site, path: str, **headers: str) -> list[str]:
    viewer, ran = here.administrator(), []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        ran.append(statement)

    event.listen(here.database.engine, "before_cursor_execute", note)
    answer = viewer.get(path, headers=headers)
    event.remove(here.database.engine, "before_cursor_execute", note)
    assert answer.status_code == 200
    return [each for each in ran if each.startswith("SELECT")]


def fill(here: Site, job_id: int, reports: int, alerts: int, windows: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        times = [now - number * 4 * HOUR for number in range(reports)]
        rows.execute(insert(Report), rows_of(job, times, versions=reports))
        channels = list(rows.query(Channel)) or [factories.add_channel(rows, name) for name in ("a", "b")]
        for _number in range(alerts):
            alert = factories.add_alert(rows, job)
            for channel in channels:
                delivery = factories.add_delivery(rows, alert, channel)
                common = {"delivery_id": delivery.id, "started_at": now, "duration_seconds": 0.1}
                rows.execute(insert(DeliveryAttempt), [{**common, "delivered": True, "detail": "200"}])
        for _number in range(windows):
            maintenance.add(rows, "Rack", Window(starts_at=now, ends_at=now + HOUR, job_id=job_id), now)


def test_the_page_takes_the_same_few_queries_whatever_there_is(here: Site, job_id: int) -> None:
    fill(here, job_id, 10, 1, 1)
    path = f"/jobs/{job_id}"
    before = queries(here, path), queries(here, path, **{"X-Refresh": "1"}), queries(here, f"{path}/series")
    fill(here, job_id, 1990, 30, 20)
    after = queries(here, path), queries(here, path, **{"X-Refresh": "1"}), queries(here, f"{path}/series")
    assert [len(each) for each in after] == [len(each) for each in before]
    assert [len(each) for each in after] == [10, 8, 3]


def test_the_page_stays_small_whatever_there_is(here: Site, job_id: int) -> None:
    fill(here, job_id, 2000, 30, 20)
    page = here.viewer().get(f"/jobs/{job_id}").data
    assert len(page) < 150_000
    refreshed = here.viewer().get(f"/jobs/{job_id}", headers={"X-Refresh": "1"}).text
    assert 'id="state"' in refreshed
    assert 'id="runs"' in refreshed
    assert 'id="calendar"' not in refreshed


def test_a_damaged_window_is_left_out_and_the_others_count(here: Site, job_id: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        over = Window(starts_at=now + 12 * HOUR, ends_at=now + 15 * HOUR, job_id=job_id)
        maintenance.add(rows, "Rack", over, now)
        odd = Window(weekdays=frozenset({"sat"}), start_time="22:00", duration_minutes=60)
        number = maintenance.add(rows, "Odd", odd, now).id
        rows.flush()
        rows.execute(text(f"UPDATE maintenance_window SET zone = 'Mars/Olympus' WHERE id = {number}"))
        rows.expire_all()
        assert len(maintenance.concerning(rows, job.server_id, job_id)) == 1
        rows.execute(text(f"DELETE FROM maintenance_window WHERE id = {number}"))
        assert maintenance.concerning(rows, job.server_id, job_id) == [over]
        assert maintenance.concerning(rows, job.server_id + 1, job_id + 1) == []
    assert 'class="band band-maintenance"' in here.viewer().get(f"/jobs/{job_id}").text


def test_windows_of_others_are_not_drawn(here: Site, job_id: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        other = factories.add_job(rows, "Other")
        once = {"starts_at": now + 12 * HOUR, "ends_at": now + 15 * HOUR, "zone": "UTC", "created_at": now}
        rows.add(MaintenanceWindow(name="Rack", job_id=other.id, **once))
        rows.add(MaintenanceWindow(name="Rack", server_id=other.server_id, **once))
    assert 'class="band band-maintenance"' not in here.viewer().get(f"/jobs/{job_id}").text


def test_a_page_of_older_runs_keeps_the_range_and_the_newest_timeline(here: Site, job_id: int) -> None:
    fill(here, job_id, 60, 0, 0)
    viewer = here.viewer()
    page = viewer.get(f"/jobs/{job_id}?days=365").text
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following is not None
    older = viewer.get(html.unescape(following.group(1))).text
    assert "days=365" in older
    marks = [re.findall(r"<title>(Good [^<]+)</title></svg>", each) for each in (page, older)]
    assert marks[0] == marks[1] != []


@pytest.mark.parametrize(
    "position", ["yesterday_1", "2026-01-01T00:00:00Z_x", "2026-01-01T00:00:00Z_" + "9" * 30]
)
def test_a_made_up_position_is_not_found(here: Site, job_id: int, position: str) -> None:
    assert here.viewer().get(f"/jobs/{job_id}?before={position}").status_code == 404


def test_a_year_is_the_year_of_the_viewers_zone(here: Site, job_id: int) -> None:
    """A run shortly before midnight in UTC is one of the next day in Paris."""
    today = clock.utcnow().date()
    with here.database.writing() as rows:
        ended_at = datetime.combine(today - 9 * DAY, datetime.min.time(), clock.utcnow().tzinfo) - HOUR / 2
        factories.add_report(rows, rows.get_one(Job, job_id), ended_at=ended_at)
    page = here.viewer().get(f"/jobs/{job_id}").text
    day = today - 9 * DAY
    assert f"{day:%a} {day.day} {day:%b} {day.year}: 1 good</title>" in page
