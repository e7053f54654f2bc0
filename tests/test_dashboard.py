"""The first page: what it says, how jobs are found and ordered, and what a view of it costs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import event, select, update
from werkzeug.test import TestResponse

from app import clock, history, interval, maintenance, overview
from app.db import Database
from app.maintenance import Window
from app.models import Channel, Job, MaintenanceWindow, Server, User
from app.overview import PAGE_SIZE, SORTS, Query
from tests import factories, fleet
from tests.conftest import CHECKOUT
from tests.web import LoggedIn, Site, site

MORNING = datetime(2026, 11, 23, 10, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def viewer(here: Site) -> LoggedIn:
    return here.viewer()


def words(answer: TestResponse) -> str:
    """What stands on the page, without its markup."""
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def heading(answer: TestResponse) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text)
    assert found
    return found[1]


def sign(answer: TestResponse) -> str:
    found = re.search(r'class="headline sign-(\w+)"', answer.text)
    assert found
    return found[1]


def shown(answer: TestResponse) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [int(each) for each in re.findall(r'main-link" href="/jobs/(\d+)"', answer.text)]


def names(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [html.unescape(each) for each in re.findall(r'main-link" href="[^"]+">(.*?)</a>', answer.text)]


def following(answer: TestResponse) -> str:
    found = re.search(r'rel="next" href="([^"]+)"', answer.text)
    return html.unescape(found[1]) if found else ""


def every_page(viewer: LoggedIn, path: str) -> list[list[int]]:
    pages = []
    while path:
        answer = viewer.get(path)
        pages.append(shown(answer))
        path = following(answer)
    return pages


def joined(pages: list[list[int]]) -> list[int]:
    return [each for page in pages for each in page]


# The line on top


@pytest.mark.parametrize(
    ("states", "said", "shape"),
    [
        ("ok ok", "All 2 backups are good", "ok"),
        ("ok", "Your backup is good", "ok"),
        ("ok overdue failed", "1 overdue, 1 failing, 1 good", "overdue"),
        ("ok failed late", "1 failing, 1 late, 1 good", "failed"),
        ("ok late", "1 late, 1 good", "late"),
        ("ok paused", "1 paused, 1 good", "paused"),
        ("new", "1 new, none good", "new"),
        ("", "No backup has reported yet", "new"),
    ],
)
def test_one_line_and_its_sign_say_the_truth(
    here: Site, viewer: LoggedIn, states: str, said: str, shape: str
) -> None:
    with here.database.writing() as rows:
        factories.add_check(rows)
        for state in states.split():
            factories.add_job(rows, state, state)
    answer = viewer.get("/")
    assert (heading(answer), sign(answer)) == (said, shape)
    assert f"<title>{said} – Veilleur</title>" in answer.text


def test_it_says_how_old_the_answer_is_and_when_the_next_one_comes(here: Site) -> None:
    with time_machine.travel(MORNING, tick=False):
        viewer = here.viewer()
        with here.database.writing() as rows:
            factories.add_job(rows)
            factories.add_check(rows, MORNING - timedelta(minutes=3))
        assert "Last check 3 minutes ago, next at 10:20." in words(viewer.get("/"))
        interval.save(here.interval_file, "2hours", updated_by="admin", now=MORNING)
        assert "Last check 3 minutes ago, next at 12:00." in words(viewer.get("/"))


@pytest.mark.parametrize("trouble", ["disabled", "damaged", "stale", "never"])
def test_no_backup_is_called_good_for_certain_while_nobody_checks(here: Site, trouble: str) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        factories.add_job(rows)
        factories.add_job(rows, "Mail")
        if trouble != "never":
            factories.add_check(rows, now - HOUR if trouble == "stale" else now)
    if trouble == "disabled":
        interval.save(here.interval_file, "disabled", updated_by="admin", now=now)
    if trouble == "damaged":
        here.interval_file.write_text("{")
    answer = here.viewer().get("/")
    assert heading(answer) == "All 2 backups were good by their last reports"
    assert sign(answer) == "warning"
    assert "next at" not in words(answer)
    with here.database.writing() as rows:
        factories.add_job(rows, "Bad", "failed")
    assert sign(here.viewer().get("/")) == "failed"


# A job


def test_a_job_that_is_not_good_says_since_when_why_and_what_to_do(here: Site, viewer: LoggedIn) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        factories.add_job(rows, "A", "overdue", now=now, state_since_at=now - 10 * HOUR)
        factories.add_job(rows, "B", "failed", now=now, state_since_at=now - 72 * HOUR, last_report_id=7)
        factories.add_job(rows, "C", "late", now=now, state_since_at=now - HOUR / 2)
        factories.add_job(rows, "D", "ok", now=now)
    answer = viewer.get("/")
    page = words(answer)
    assert "Overdue for 10 hours. Expected Sun 22 Nov, 21:00 " in page
    assert "Check that the machine is on and that Duplicati runs there" in page
    assert "Failing for 3 days. The last run was not a good backup" in page
    assert 'href="/jobs/2/reports/7" aria-label="Read the report of B"' in answer.text
    assert "Late for 30 minutes." in page
    assert "it counts as overdue from Sun 22 Nov 2026, 22:00." in page
    assert answer.text.count('class="why"') == 3


def test_what_somebody_knows_already_is_marked(here: Site, viewer: LoggedIn) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        known = {"acknowledged_at": now, "acknowledged_by": "<i>eve</i>"}
        factories.add_job(rows, "A", "overdue", **known)
        until = {"acknowledged_until_at": now + HOUR, "acknowledged_by": "eve", "acknowledged_at": now}
        factories.add_job(rows, "B", "overdue", **until)
        over = {"acknowledged_until_at": now - HOUR, "acknowledged_by": "olaf", "acknowledged_at": now}
        factories.add_job(rows, "C", "overdue", **over)
    page = viewer.get("/").text
    assert "Acknowledged by &lt;i&gt;eve&lt;/i&gt;<" in page
    assert "Acknowledged by eve until " in page
    assert "olaf" not in page


def test_maintenance_that_is_under_way_is_shown_where_it_holds(here: Site, viewer: LoggedIn) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        attic, cellar = factories.add_server(rows, "attic"), factories.add_server(rows, "cellar")
        factories.add_job(rows, "A", server=attic)
        factories.add_job(rows, "B", server=cellar)
        once = {"starts_at": now - HOUR, "ends_at": now + HOUR}
        maintenance.add(rows, "mine", Window(server_id=attic.id, **once), now)
        maintenance.add(rows, "over", Window(server_id=cellar.id, starts_at=now - 2 * HOUR, ends_at=now), now)
        ahead = Window(server_id=cellar.id, starts_at=now + HOUR, ends_at=now + 2 * HOUR)
        maintenance.add(rows, "ahead", ahead, now)
    page = words(viewer.get("/"))
    assert page.count("Maintenance until ") == 1
    assert page.index("Maintenance until ") < page.index("cellar", page.index("Maintenance until "))
    assert "Maintenance of everything" not in page
    with here.database.writing() as rows:
        days = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
        weekly = Window(weekdays=days, start_time="00:00", duration_minutes=1440, zone="UTC")
        maintenance.add(rows, "all", weekly, now)
    page = words(viewer.get("/"))
    assert page.count("Maintenance until ") == 1
    assert page.count("Maintenance of everything until ") == 1


def test_a_damaged_window_hides_neither_the_page_nor_the_others(here: Site, viewer: LoggedIn) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = factories.add_job(rows)
        maintenance.add(rows, "fine", Window(job_id=job.id, starts_at=now - HOUR, ends_at=now + HOUR), now)
        weekly = {"weekdays": "mon", "start_time": "00:00", "duration_minutes": 5, "zone": "Nowhere/At_all"}
        rows.add(MaintenanceWindow(name="damaged", created_at=now, **weekly))
    assert "Maintenance until " in words(viewer.get("/"))


def test_the_last_runs_are_a_strip_of_shapes_with_words(here: Site, viewer: LoggedIn) -> None:
    ended = datetime(2026, 11, 22, 21, tzinfo=UTC)
    kinds: list[dict[str, Any]] = [
        {},
        {"outcome": "Warning"},
        {"outcome": "Fatal", "good": False},
        {"outcome": "Success", "good": False, "interrupted": True},
        {"outcome": "Success", "good": False, "partial": True},
        {"outcome": "Success", "good": False, "dry_run": True},
    ]
    with here.database.writing() as rows:
        job = factories.add_job(rows)
        factories.add_job(rows, "Without a run", "new")
        for day in range(20):
            columns = kinds[day] if day < len(kinds) else {}
            factories.add_report(rows, job, ended_at=ended - timedelta(days=day), **columns)
    page = viewer.get("/").text
    strips = re.findall(r'<svg class="runs".*?</svg>', page)
    assert len(strips) == 1
    assert (
        'aria-label="Last 14 runs: 9 good, 1 with warnings, 1 failed, 2 cut short, 1 trial run"' in strips[0]
    )
    marks = re.findall(r'<use href="#(\w+)" x="(\d+)"><title>(.*?)</title></use>', strips[0])
    assert [shape for shape, _x, _title in marks] == ["rg"] * 8 + ["rt", "rc", "rc", "rf", "rw", "rg"]
    assert [int(x) for _shape, x, _title in marks] == list(range(0, 140, 10))
    assert marks[-1][2] == "Sun 22 Nov, 21:00: good"
    assert marks[-3][2] == "Fri 20 Nov, 21:00: failed"
    for shape in {shape for shape, _x, _title in marks}:
        assert f'id="{shape}"' in page


def test_one_run_is_told_as_one(here: Site, viewer: LoggedIn) -> None:
    with here.database.writing() as rows:
        factories.add_report(rows, factories.add_job(rows), outcome="Warning")
    assert 'aria-label="Last run: 1 with warnings"' in viewer.get("/").text


def test_the_size_is_drawn_over_the_good_runs(here: Site, viewer: LoggedIn) -> None:
    with here.database.writing() as rows:
        job = factories.add_job(rows)
        for day, size in enumerate((3_000_000, 0, 2_000_000, 1_000_000)):
            ended_at = factories.NOW - timedelta(days=day)
            factories.add_report(rows, job, ended_at=ended_at, stored_bytes=size, good=size > 0)
        other = factories.add_job(rows, "Tells nothing of its destination")
        for day in range(2):
            ended_at = factories.NOW - timedelta(days=day)
            factories.add_report(rows, other, ended_at=ended_at, stored_bytes=None, examined_bytes=5_000)
    lines = re.findall(r'<svg class="spark".*?aria-label="(.*?)"><path d="(.*?)"/>', viewer.get("/").text)
    assert lines == [
        ("Size over the last runs: from 1 MB to 3 MB", "M2 20L42 11L82 2"),
        ("Size over the last runs: from 5 kB to 5 kB", "M2 11L82 11"),
    ]


# Finding and ordering


def _mixed(here: Site) -> None:
    """Jobs with equal names and times, and some without any, so that the id has to decide."""
    states = ("overdue", "failed", "late", "new", "paused", "ok")
    with here.database.writing() as rows:
        servers = [factories.add_server(rows, name) for name in ("b", "a", "c & d", "a")]
        for number in range(2 * PAGE_SIZE + 20):
            at = clock.utcnow() - timedelta(days=number // 7)
            times = {
                "last_good_at": None if number % 5 == 0 else at,
                "expected_at": None if number % 2 else at + HOUR,
            }
            name = f'{number // 12}. "a&b/ç"'
            factories.add_job(rows, name, states[number % 6], servers[number % 4], **times)


def _expected(here: Site, sort: str) -> list[int]:
    key = {
        "worst": lambda job: (job.state_rank, job.name, job.id),
        "name": lambda job: (job.name, job.id),
        "server": lambda job: (job.server.name, job.server.id, job.state_rank, job.name, job.id),
        "good": lambda job: (job.last_good_at is not None, job.last_good_at, job.id),
        "expected": lambda job: (job.expected_at is not None, job.expected_at, job.id),
    }[sort.removeprefix("-")]
    with here.database.reading() as rows:
        jobs = sorted(rows.scalars(select(Job)), key=key, reverse=sort.startswith("-"))
        return [job.id for job in jobs]


@pytest.mark.parametrize("sort", [each for name in SORTS for each in (name, f"-{name}")])
def test_each_order_goes_on_from_page_to_page_without_gap_or_repeat(
    here: Site, viewer: LoggedIn, sort: str
) -> None:
    _mixed(here)
    pages = every_page(viewer, f"/?sort={sort}")
    assert [len(page) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 20]
    assert joined(pages) == _expected(here, sort)


def test_a_job_that_changes_its_place_in_between_leaves_the_others_in_theirs(
    here: Site, viewer: LoggedIn
) -> None:
    _mixed(here)
    first = viewer.get("/?sort=name")
    with here.database.writing() as rows:
        rows.execute(update(Job).where(Job.id == shown(first)[-1]).values(name="zzz"))
    rest = joined(every_page(viewer, following(first)))
    # It comes again where it is now; nobody else does, and nobody is left out.
    assert rest[-1] == shown(first)[-1]
    assert shown(first)[:-1] + rest == _expected(here, "name")


def test_the_column_that_orders_says_so_and_turns_round(here: Site, viewer: LoggedIn) -> None:
    _mixed(here)
    page = viewer.get("/").text
    assert page.count("aria-sort") == 1
    assert 'aria-sort="ascending"><a href="/?sort=-worst">State' in page
    page = viewer.get("/?sort=name&state=ok").text
    assert 'aria-sort="ascending"><a href="/?state=ok&amp;sort=-name">Backup' in page
    page = viewer.get("/?sort=-name&state=ok").text
    assert 'aria-sort="descending"><a href="/?state=ok&amp;sort=name">Backup' in page
    assert '<option value="-name" selected>' in page


@pytest.fixture
def named(here: Site) -> None:
    with here.database.writing() as rows:
        attic, cellar = factories.add_server(rows, "nas_Attic"), factories.add_server(rows, "cellar 50%")
        for name, server, state in (
            ("Photos", attic, "ok"),
            ("photos of 100% of us", cellar, "ok"),
            ("Mail_box", attic, "failed"),
            ("Mailbox", cellar, "late"),
            ("back\\slash", cellar, "ok"),
        ):
            factories.add_job(rows, name, state, server)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=PHOTOS", {"Photos", "photos of 100% of us"}),
        ("q=attic", {"Photos", "Mail_box"}),
        ("q=photos+attic", {"Photos"}),
        ("q=l_b", {"Mail_box"}),
        ("q=100%25", {"photos of 100% of us"}),
        ("q=%25", {"photos of 100% of us", "Mailbox", "back\\slash"}),
        ("q=%5C", {"back\\slash"}),
        ("q=mail&state=late", {"Mailbox"}),
        ("q=mail&server=1", {"Mail_box"}),
        ("server=2&state=ok", {"photos of 100% of us", "back\\slash"}),
        ("state=attention", {"Mail_box", "Mailbox"}),
        ("state=attention&server=2&sort=good", {"Mailbox"}),
        ("q=++", {"Photos", "photos of 100% of us", "Mail_box", "Mailbox", "back\\slash"}),
    ],
)
def test_jobs_are_found_by_words_state_and_server(viewer: LoggedIn, query: str, found: set[str]) -> None:
    for layout in overview.LAYOUTS:
        assert viewer.post("/layout", data={"layout": layout}).status_code == 302
        answer = viewer.get(f"/?{query}")
        assert set(names(answer)) == found
        assert query != "q=attic" or "Backups that match “attic”." in words(answer)


@pytest.mark.usefixtures("named")
def test_the_search_is_kept_by_every_link_and_leads_back(viewer: LoggedIn) -> None:
    page = viewer.get("/?q=mail&server=1&sort=name").text
    assert 'value="mail"' in page
    assert '<option value="1" selected>nas_Attic' in page
    assert 'href="/?q=mail&amp;state=failed&amp;server=1&amp;sort=name"' in page
    assert '<a href="/?sort=name">Show all backups</a>' in page
    answer = viewer.get("/?q=nothing+like+it")
    assert names(answer) == []
    assert "No backup matches what you searched for. Show all jobs" in words(answer)
    assert "No backup is in this state. Show all jobs" in words(viewer.get("/?state=paused"))


@pytest.mark.parametrize(
    "query",
    [
        "state=nonsense",
        "sort=nonsense",
        "sort=--name",
        "sort=-",
        "server=99",
        "server=x",
        "server=-1",
        "server=²",
        "server=" + "9" * 19,
        "server=" + "9" * 5000,
        "q=" + "x" * 101,
        "q=a%00b",
        "after=1",
        "after=[]",
        'after=[0,"x"]',
        'after=["x","x",1]',
        'after=[0,"x",1.5]',
        'after=[0,"x",true]',
        'after=[0,"x",-1]',
        'after=[0,"x",9223372036854775808]',
        'after=[2147483648,"x",1]',
        'after=[0,"a%00b",1]',
        'after=[0,"\\u0000",1]',
        'after=[0,"\\ud800",1]',
        "after=[0,null,1]",
        "after=" + "[" * 3000,
        "after=" + "9" * 5000,
        'sort=good&after=["yesterday",1]',
        'sort=good&after=["2026-11-23T07:00:00",1]',
        'sort=good&after=["0001-01-01T00:00:00%2B14:00",1]',
        "sort=good&after=[5,1]",
        'sort=name&after=[0,"x",1]',
    ],
)
def test_a_made_up_address_is_not_found(viewer: LoggedIn, query: str) -> None:
    answer = viewer.get(f"/?{query}")
    assert answer.status_code == 404
    assert "does not exist" in answer.text


def test_a_choice_of_servers_is_offered_as_long_as_it_is_short(here: Site, viewer: LoggedIn) -> None:
    with here.database.writing() as rows:
        for number in range(overview.SERVERS_OFFERED):
            factories.add_job(rows, server=factories.add_server(rows, f"s{number}"))
    assert viewer.get("/").text.count("<option value=") - 10 == overview.SERVERS_OFFERED + 1
    with here.database.writing() as rows:
        factories.add_job(rows, server=factories.add_server(rows, "one more"))
    page = viewer.get("/?server=3").text
    assert '<select id="server"' not in page
    assert '<input type="hidden" name="server" value="3">' in page
    assert "Backups on s2." in page


# Grouped by server


def test_the_layout_is_remembered_for_the_user(here: Site, viewer: LoggedIn) -> None:
    with here.database.writing() as rows:
        factories.add_job(rows)
    assert 'id="server-1"' not in viewer.get("/").text
    answer = viewer.post("/layout", data={"layout": "servers", "q": "ü&", "state": "ok", "after": "x"})
    assert answer.location == "/?q=%C3%BC%26&state=ok"
    assert 'id="server-1"' in viewer.get("/").text
    assert 'id="server-1"' in here.viewer().get("/").text
    assert 'id="server-1"' not in here.administrator().get("/").text
    assert viewer.post("/layout", data={"layout": "table"}).status_code == 302
    assert 'id="server-1"' not in viewer.get("/").text


@pytest.mark.parametrize("layout", ["", "nonsense", "a\0"])
def test_an_unknown_layout_is_refused(here: Site, viewer: LoggedIn, layout: str) -> None:
    answer = viewer.post("/layout", data={"layout": layout})
    assert answer.status_code == 400
    assert "Choose one of the layouts" in answer.text
    with here.database.reading() as rows:
        assert rows.scalars(select(User.layout)).all() == [None, None]


def grouped(here: Site) -> LoggedIn:
    viewer = here.viewer()
    assert viewer.post("/layout", data={"layout": "servers"}).status_code == 302
    return viewer


def test_grouped_by_server_what_needs_attention_stands_first(here: Site) -> None:
    with here.database.writing() as rows:
        server = factories.add_server(rows, "attic")
        for state in ("ok", "paused", "late", "new", "overdue", "failed"):
            factories.add_job(rows, state, state, server)
    viewer = grouped(here)
    page = viewer.get("/")
    expected = ["overdue", "failed", "late", "overdue", "failed", "late", "new", "paused", "ok"]
    assert names(page) == expected
    assert re.findall(r"<h2[^>]*>(?:<a[^>]*>)?([^<]*)", page.text) == ["Needs attention", "attic"]
    # Why is said once.
    assert page.text.count("Overdue for") == 1
    assert "Show all 3" not in page.text
    assert names(viewer.get("/?state=ok")) == ["ok"]


def test_what_needs_attention_is_bounded_and_leads_to_all(here: Site) -> None:
    with here.database.writing() as rows:
        for number in range(overview.ATTENTION_SHOWN + 3):
            factories.add_job(rows, f"job {number:02}", "late")
    page = grouped(here).get("/").text
    urgent = page.partition('id="urgent"')[2].partition("</section>")[0]
    assert urgent.count("main-link") == overview.ATTENTION_SHOWN
    assert '<a href="/?state=attention">Show all 13 that need attention</a>' in urgent


def test_grouped_by_server_pages_follow_the_names_of_the_servers(here: Site) -> None:
    _mixed(here)
    with here.database.writing() as rows:
        rows.execute(update(Job).values(state="ok", state_rank=5))
    viewer = grouped(here)
    assert joined(every_page(viewer, "/")) == _expected(here, "server")
    first = viewer.get("/").text
    assert re.findall(r'id="server-(\d+)"', first) == ["2", "4"]
    assert 'aria-sort="' not in first


def test_a_refresh_leaves_the_messages_for_the_page_they_are_meant_for(here: Site) -> None:
    with here.database.writing() as rows:
        factories.add_job(rows)
    admin = here.administrator()
    assert admin.post("/jobs/1/resume").status_code == 302
    assert "Resumed" not in admin.get("/", headers={"X-Refresh": "1"}).text
    assert "Resumed" in admin.get("/").text


# First steps


def test_the_first_steps_are_led_through_until_all_are_done(here: Site) -> None:
    admin = here.administrator()
    with here.database.writing() as rows:
        rows.execute(update(User).values(password_is_initial=True))
    page = words(admin.get("/"))
    assert "First steps 0 of 4 done" in page
    assert page.count("(still to do)") == 4
    assert "Connect your first backup" in page
    with here.database.writing() as rows:
        factories.add_job(rows)
        factories.add_channel(rows)
    page = words(admin.get("/"))
    assert "First steps 2 of 4 done" in page
    assert "Connect your first backup" not in page
    assert "Connect the first Duplicati (done)" in page
    with here.database.writing() as rows:
        rows.execute(update(User).values(password_is_initial=False))
        rows.execute(update(Channel).values(enabled=False, tested_at=clock.utcnow()))
    assert "First steps 2 of 4 done" in words(admin.get("/"))
    with here.database.writing() as rows:
        rows.execute(update(Channel).values(enabled=True))
    assert "First steps" not in words(admin.get("/"))


def test_a_viewer_is_not_sent_where_only_administrators_may_go(here: Site, viewer: LoggedIn) -> None:
    page = viewer.get("/")
    assert "First steps" not in words(page)
    assert "--send-http-json-urls=http://localhost/api/upload?api_key=YOUR_UPLOAD_KEY" in page.text


def test_the_failing_channel_leads_to_the_channels(here: Site, viewer: LoggedIn) -> None:
    with here.database.writing() as rows:
        factories.add_channel(rows, failing_since_at=clock.utcnow(), last_error="refused")
    page = viewer.get("/").text
    target = re.search(r'<a href="([^"]+)">Show the channels</a>', page)
    assert target
    has_page = "channels.index" in here.app.view_functions
    assert target[1] == ("/settings/channels" if has_page else "/settings/monitoring#channels")


# What it costs


def statements(here: Site, user: LoggedIn, path: str = "/") -> list[str]:
    ran: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        ran.append(statement)

    event.listen(here.database.engine, "before_cursor_execute", note)
    assert user.get(path).status_code == 200
    event.remove(here.database.engine, "before_cursor_execute", note)
    return [each for each in ran if each.startswith("SELECT")]


@pytest.mark.parametrize("layout", overview.LAYOUTS)
def test_a_view_takes_as_many_queries_for_one_job_as_for_five_hundred(here: Site, layout: str) -> None:
    user = here.administrator()
    user.post("/layout", data={"layout": layout})
    numbers = []
    for servers, jobs, runs in ((1, 1, 1), (5, 10, 30), (50, 9, 2)):
        with here.database.writing() as rows:
            rows.query(Job).delete()
            rows.query(Server).delete()
        fleet.add(here.database, clock.utcnow(), servers=servers, jobs=jobs, runs=runs)
        numbers.append(len(statements(here, user)))
    assert numbers[0] == numbers[1] == numbers[2] <= (11 if layout == "table" else 12)


def steps_of(database: Database, job_ids: list[int]) -> int:
    """How many steps SQLite's machine takes to read the last runs, in tens."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with database.reading() as rows:
        connection = rows.connection().connection.driver_connection
        assert connection is not None
        connection.set_progress_handler(count, 10)
        found = history.last_runs(rows, job_ids)
        connection.set_progress_handler(None, 10)
    assert {len(each) for each in found.values()} == {history.RUNS_SHOWN}
    return steps


@pytest.mark.sqlite("counts its steps")
def test_the_last_runs_cost_the_same_however_many_are_stored(database: Database) -> None:
    fleet.add(database, clock.utcnow(), servers=2, jobs=5, runs=15)
    few = steps_of(database, list(range(1, 11)))
    with database.writing() as rows:
        rows.query(Job).delete()
        rows.query(Server).delete()
    fleet.add(database, clock.utcnow(), servers=2, jobs=5, runs=600)
    assert steps_of(database, list(range(1, 11))) == pytest.approx(few, rel=0.02)


def test_more_jobs_than_one_statement_takes_are_read_in_several(database: Database) -> None:
    fleet.add(database, clock.utcnow(), servers=1, jobs=150, runs=2)
    with database.reading() as rows:
        found = history.last_runs(rows, range(1, 151))
        assert history.last_runs(rows, []) == {}
    assert {len(each) for each in found.values()} == {2}
    assert all(older.ended_at < newer.ended_at for older, newer in found.values())


LATELY = '["2026-11-23T07:00:00+00:00",1]'


def plan(database: Database, query: Query, part: int = -1) -> str:
    """That of the last statement unless told otherwise."""
    statement = overview._parts(query)[part].limit(PAGE_SIZE + 1)
    with database.reading() as rows:
        compiled = statement.compile(rows.get_bind(), compile_kwargs={"render_postcompile": True})
        values = tuple(compiled.params[each] for each in compiled.positiontup or ())
        told = rows.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
        return "\n".join(str(row[3]) for row in told)


@pytest.mark.sqlite("reads its plan")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(), "job USING INDEX ix_job_state_rank"),
        (Query(after='[5,"x",1]'), "SEARCH job USING INDEX ix_job_state_rank"),
        (Query(sort="-worst", after='[5,"x",1]'), "SEARCH job USING INDEX ix_job_state_rank"),
        (Query(state="ok", after='[5,"x",1]'), "SEARCH job USING INDEX ix_job_state_rank"),
        (Query(state="attention"), "SEARCH job USING INDEX ix_job_state_rank"),
        (Query(sort="name", after='["x",1]'), "SEARCH job USING INDEX ix_job_name"),
        (Query(sort="-name", after='["x",1]'), "SEARCH job USING INDEX ix_job_name"),
        (Query(sort="good", after="[null,1]"), "SEARCH job USING INDEX ix_job_last_good"),
        (Query(sort="-good", after=LATELY), "SEARCH job USING INDEX ix_job_last_good"),
        (Query(sort="expected", after=LATELY), "SEARCH job USING INDEX ix_job_expected"),
    ],
)
def test_a_page_is_a_walk_along_an_index(database: Database, query: Query, index: str) -> None:
    fleet.add(database, clock.utcnow(), servers=5, jobs=20, runs=0)
    told = plan(database, query)
    assert index in told
    assert "TEMP B-TREE" not in told


@pytest.mark.sqlite("reads its plan")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(after='[5,"x",1]'), "ix_job_state_rank (state_rank=? AND name=? AND id>?)"),
        (Query(sort="-worst", after='[5,"x",1]'), "ix_job_state_rank (state_rank=? AND name=? AND id<?)"),
        (Query(sort="-name", after='["x",1]'), "ix_job_name (name=? AND id<?)"),
    ],
)
def test_of_jobs_that_are_called_alike_those_before_are_passed_over(
    database: Database, query: Query, index: str
) -> None:
    fleet.add(database, clock.utcnow(), servers=5, jobs=20, runs=0)
    assert index in plan(database, query, 0)


@pytest.mark.sqlite("reads its plan")
@pytest.mark.parametrize("query", [Query(sort="server"), Query(sort="-server", after='["x",1,5,"x",1]')])
def test_in_the_order_of_servers_one_server_after_the_other_is_read(database: Database, query: Query) -> None:
    fleet.add(database, clock.utcnow(), servers=5, jobs=20, runs=0)
    told = plan(database, query)
    assert "SEARCH server USING INDEX ix_server_name" in told
    assert "SEARCH job USING INDEX ix_job_server_ended (server_id=?)" in told
    assert "FOR RIGHT PART OF ORDER BY" in told


@pytest.mark.sqlite("reads its plan")
def test_a_search_reads_names_from_indexes_alone(database: Database) -> None:
    fleet.add(database, clock.utcnow(), servers=5, jobs=20, runs=0)
    told = plan(database, Query(words="mail"))
    assert "USING COVERING INDEX ix_job_name" in told
    assert "USING COVERING INDEX ix_server_name" in told
    told = plan(database, Query(server_id=3, state="ok"))
    assert "SEARCH job USING INDEX ix_job_server_ended (server_id=?)" in told


@pytest.mark.parametrize("layout", overview.LAYOUTS)
def test_the_first_page_of_five_hundred_jobs_is_light(here: Site, layout: str) -> None:
    fleet.add(here.database, clock.utcnow(), servers=50, jobs=10, runs=14)
    user = here.administrator()
    user.post("/layout", data={"layout": layout})
    page = user.get("/")
    files = re.findall(r'(?:href|src)="/(static/[^"]+)"', page.text)
    assert {Path(each).suffix for each in files} == {".css", ".js", ".svg"}
    weight = len(page.data) + sum((CHECKOUT / "app" / each).stat().st_size for each in set(files))
    assert weight < 150_000, len(page.data)


def test_every_order_finds_each_job_once(database: Database) -> None:
    fleet.add(database, clock.utcnow(), servers=6, jobs=20, runs=16)
    with database.reading() as rows:
        everything = set(rows.scalars(select(Job.id)))
        for sort in [each for name in SORTS for each in (name, f"-{name}")]:
            assert sorted(_walk(database, Query(sort=sort))) == sorted(everything), sort
        assert len(_walk(database, Query(words="MAIL server-0002"))) == 3
        assert _walk(database, Query(words="%")) == []
        found = history.last_runs(rows, sorted(everything))
        assert {len(each) for each in found.values()} == {history.RUNS_SHOWN}
        assert all(each == sorted(each, key=lambda run: run.ended_at) for each in found.values())
        assert maintenance.under_way(rows, clock.utcnow()) == []


def _walk(database: Database, query: Query) -> list[int]:
    found: list[int] = []
    after = ""
    while True:
        with database.reading() as rows:
            turn = Query(query.state, query.server_id, query.words, query.sort, after)
            page = overview.page(rows, turn, 7)
            found += [job.id for job in page.jobs]
        after = page.following
        if not after:
            return found
