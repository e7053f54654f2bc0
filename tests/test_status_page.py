"""The public status page: what strangers may see, what they never see, and badges that tell the truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import delete, event, select, update
from werkzeug.test import TestResponse

from app import badge, interval, publication
from app.clock import utcnow
from app.models import Job
from tests import factories
from tests.test_injection import EVERY_WORD, Structure
from tests.web import LoggedIn, Site, site

EDIT = "/settings/status-page"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def switch_on(here: Site, **given: str) -> None:
    answer = here.administrator().post(EDIT, data={"enabled": "y", **given})
    assert answer.status_code == 302


def publish(here: Site, name: str = "Documents", state: str = "ok", **columns: Any) -> int:
    with here.database.writing() as rows:
        server = factories.add_server(rows, "secret-host")
        job = factories.add_job(rows, name, state, server, utcnow(), is_published=True, **columns)
        job.why = factories.why(state, error="/home/anna/secret is missing")
        return job.id


def checked(here: Site, ago: timedelta = timedelta()) -> None:
    with here.database.writing() as rows:
        factories.add_check(rows, utcnow() - ago)


def drawn(svg: bytes | str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314  (made by ourselves)


def text_of(answer: TestResponse) -> str:
    return " ".join(re.sub(r"<title>[^<]*</title>|<[^>]+>", " ", answer.text).split())


# On and off


def test_it_is_off_until_somebody_switches_it_on(here: Site) -> None:
    job_id = publish(here)
    paths = ("/status", "/status/badge.svg", f"/status/jobs/{job_id}/badge.svg")
    for path in paths:
        off, absent = here.stranger().get(path), here.stranger().get("/nothing-here")
        assert off.status_code == 404
        assert off.headers["Cache-Control"] == "no-store"
        assert off.data == absent.data, "off looks like a page that does not exist"
    switch_on(here)
    for path in paths:
        assert here.stranger().get(path).status_code == 200
    here.administrator().post(EDIT, data={})
    for path in paths:
        assert here.stranger().get(path).status_code == 404
    assert [each.after for each in here.audit("status page changed")] == [
        "on, without servers, title ''",
        "off, without servers, title ''",
    ]


def test_strangers_get_no_cookie_and_caches_may_keep_it_for_a_moment(here: Site) -> None:
    job_id = publish(here)
    switch_on(here)
    for path in ("/status", "/status/badge.svg", f"/status/jobs/{job_id}/badge.svg"):
        answer = here.stranger().get(path)
        assert answer.headers["Cache-Control"] == "public, max-age=30"
        assert "Set-Cookie" not in answer.headers
        assert "Cookie" not in answer.headers["Vary"]
        assert "Accept-Language" in answer.headers["Vary"]


# What is told


def test_nothing_is_told_but_the_public_name_and_the_state(here: Site) -> None:
    publish(here, "internal name", "overdue", public_name="Customer files")
    with here.database.writing() as rows:
        factories.add_job(rows, "not published", "failed", now=utcnow())
    checked(here)
    switch_on(here)
    page = here.stranger().get("/status").text
    assert "Customer files" in page
    for hidden in ("internal name", "secret-host", "not published", "/home/anna", "tolerance", "machine-"):
        assert hidden not in page
    switch_on(here, shows_servers="y")
    assert "secret-host" in here.stranger().get("/status").text


def test_the_verdict_is_the_truth_about_the_worst(here: Site) -> None:
    switch_on(here, title="Our backups", introduction="Ask Anna.\n<b>Really</b>")
    checked(here)
    page = here.stranger().get("/status")
    assert "No backup is shown here yet." in page.text
    assert "Our backups" in page.text
    assert "&lt;b&gt;Really&lt;/b&gt;" in page.text
    publish(here, "a")
    assert "The backup is good." in here.stranger().get("/status").text
    publish(here, "b")
    assert "All 2 backups are good." in here.stranger().get("/status").text
    publish(here, "c", "late")
    assert "1 backup is late." in here.stranger().get("/status").text
    publish(here, "d", "overdue")
    publish(here, "e", "failed")
    page = here.stranger().get("/status")
    assert "2 of 5 backups need attention." in page.text
    assert 'class="verdict verdict-overdue"' in page.text
    assert text_of(page).index(" d ") < text_of(page).index(" a ")


def test_it_says_when_veilleur_itself_has_not_checked(here: Site) -> None:
    job_id = publish(here)
    switch_on(here)
    assert "has not made a check yet" in here.stranger().get("/status").text
    checked(here, timedelta(hours=9))
    interval_at = "2020-01-01T00:00:00Z"
    here.interval_file.write_text(f'{{"interval": "20min", "updatedAt": "{interval_at}", "updatedBy": "x"}}')
    page = here.stranger().get("/status").text
    assert "Veilleur itself has not checked since" in page
    assert "verdict-unknown" in page
    for path in ("/status/badge.svg", f"/status/jobs/{job_id}/badge.svg"):
        assert "unknown" in here.stranger().get(path).text
        assert "good" not in here.stranger().get(path).text
    interval.save(here.interval_file, "disabled", updated_by="x", now=utcnow())
    assert "Checks are switched off at present" in here.stranger().get("/status").text


def test_each_day_shows_what_it_brought(here: Site) -> None:
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    job_id, other = publish(here), publish(here, "other")
    days = {1: [True], 2: [False], 3: [True, False], 5: [False, False, True]}
    with here.database.writing() as rows:
        for back, runs in days.items():
            for hour, good in enumerate(runs):
                ended_at = now.replace(hour=hour) - timedelta(days=back)
                factories.add_report(rows, rows.get_one(Job, job_id), ended_at=ended_at, good=good)
        dry = now - timedelta(days=7)
        factories.add_report(rows, rows.get_one(Job, job_id), ended_at=dry, dry_run=True)
        factories.add_report(rows, rows.get_one(Job, job_id), ended_at=now - timedelta(days=40))
    starts = publication.day_starts(now, "Europe/Paris")
    assert len(starts) == publication.DAYS + 1
    assert starts[-2] <= now < starts[-1]
    with here.database.reading() as rows:
        found = publication.strips(rows, [job_id, other], starts)
    assert found[other] == ["none"] * 30
    shown = {29 - place: what for place, what in enumerate(found[job_id]) if what != "none"}
    assert shown == {1: "good", 2: "bad", 3: "good", 5: "good"}


def test_a_day_is_as_long_as_the_clocks_make_it() -> None:
    starts = publication.day_starts(datetime(2026, 11, 1, 12, tzinfo=UTC), "Europe/Paris")
    lengths = {
        (after.astimezone(UTC) - before.astimezone(UTC)).total_seconds() / 3600
        for before, after in pairwise(starts)
    }
    assert lengths == {24.0, 25.0}


def test_many_jobs_are_turned_page_by_page_at_the_same_cost(here: Site) -> None:
    switch_on(here)
    checked(here)

    def queries(path: str) -> tuple[int, TestResponse]:
        seen: list[str] = []

        def note(*given: Any) -> None:
            seen.append(given[2])

        event.listen(here.database.engine, "before_cursor_execute", note)
        answer = here.stranger().get(path)
        event.remove(here.database.engine, "before_cursor_execute", note)
        return len([each for each in seen if not each.startswith("PRAGMA")]), answer

    publish(here, "first")
    few, _page = queries("/status")
    with here.database.writing() as rows:
        server = factories.add_server(rows)
        for number in range(120):
            factories.add_job(rows, f"job {number:03}", "ok", server, utcnow(), is_published=True)
    names: list[str] = []
    path = "/status"
    for _turn in range(5):
        number, page = queries(path)
        assert number <= few + 1 <= 7
        names += re.findall(r"<strong>([^<]+)</strong>", page.text)
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        if not following:
            break
        path = following[1]
        assert re.fullmatch(r"/status\?after=\d+", path), "what a job is called inside is told nobody"
    assert len(names) == len(set(names)) == 121
    assert here.stranger().get("/status?after=999999").status_code == 404
    assert here.stranger().get("/status?after=-1").status_code == 404


@pytest.mark.sqlite("asks for SQLite's plan")
def test_the_public_queries_take_the_index_of_published_jobs(here: Site) -> None:
    statements: list[tuple[str, Any]] = []
    job_id = publish(here)

    def note(*given: Any) -> None:
        statements.append(given[2:4])

    with here.database.writing() as rows:
        factories.add_report(rows, rows.get_one(Job, job_id))
    with here.database.writing() as rows:
        server = factories.add_server(rows)
        for number in range(50):
            factories.add_job(rows, f"job {number}", "ok", server, utcnow())
    event.listen(here.database.engine, "before_cursor_execute", note)
    with here.database.reading() as rows:
        publication.page(rows, None)
        publication.counts(rows)
        publication.strips(rows, [job_id], publication.day_starts(utcnow(), "UTC"))
    event.remove(here.database.engine, "before_cursor_execute", note)
    plans = []
    with here.database.reading() as rows:
        for statement, values in statements:
            if "SELECT" not in statement:
                continue
            plan = rows.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            plans.append(" ".join(str(row[-1]) for row in plan))
    assert "ix_job_published" in plans[0]
    assert "ix_job_published" in plans[1]
    assert "ix_report_job_ended (job_id=? AND ended_at>? AND ended_at<?)" in plans[2]
    assert not [plan for plan in plans if "SCAN report" in plan]


# Badges


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("ok", "good"),
        ("late", "late"),
        ("overdue", "overdue"),
        ("failed", "failed"),
        ("new", "none yet"),
        ("paused", "paused"),
    ],
)
def test_the_badge_of_a_job_tells_its_state(here: Site, state: str, words: str) -> None:
    job_id = publish(here, "internal", state, public_name="Customer files")
    checked(here)
    switch_on(here)
    answer = here.stranger().get(f"/status/jobs/{job_id}/badge.svg")
    assert answer.content_type == "image/svg+xml"
    picture = drawn(answer.data)
    assert picture.find(f"{SVG}title").text == f"Customer files: {words}"  # type: ignore[union-attr]
    assert picture.get("role") == "img"
    assert [each.text for each in picture.iter(f"{SVG}text")] == ["Customer files", words]


def test_the_badge_of_all_names_the_worst(here: Site) -> None:
    checked(here)
    switch_on(here)
    for state, words in (("", "unknown"), ("ok", "all good"), ("late", "1 late"), ("failed", "1 failed")):
        if state:
            publish(here, state, state)
        assert f"Backups: {words}" in here.stranger().get("/status/badge.svg").text
    publish(here, "overdue", "overdue")
    publish(here, "overdue too", "overdue")
    assert "Backups: 2 overdue" in here.stranger().get("/status/badge.svg").text


def test_a_job_that_is_not_published_has_no_badge_like_one_that_does_not_exist(here: Site) -> None:
    job_id = publish(here)
    switch_on(here)
    with here.database.writing() as rows:
        rows.execute(update(Job).values(is_published=False))
    hidden = here.stranger().get(f"/status/jobs/{job_id}/badge.svg")
    absent = here.stranger().get("/status/jobs/99999/badge.svg")
    assert (hidden.status_code, hidden.data) == (404, absent.data)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, LoggedIn]]:
    with site(tmp_path_factory.mktemp("words")) as made:
        checked(made)
        yield made, made.administrator()


@pytest.fixture
def cleared(shared: tuple[Site, LoggedIn]) -> tuple[Site, LoggedIn]:
    """Without a job that a test before has left."""
    with shared[0].database.writing() as rows:
        rows.execute(delete(Job))
    return shared


@EVERY_WORD
def test_names_stay_names_in_badges_and_pages(cleared: tuple[Site, LoggedIn], words: str) -> None:
    here, admin = cleared
    job_id = publish(here, words, "ok", public_name=words)
    plain_id = publish(here, "documents", "ok", public_name="documents")
    admin.post(EDIT, data={"enabled": "y", "title": words[:80], "introduction": "documents"})
    for path in ("/status/badge.svg", f"/status/jobs/{job_id}/badge.svg"):
        svg = here.stranger().get(path).data
        plain = here.stranger().get(f"/status/jobs/{plain_id}/badge.svg").data
        picture = drawn(svg)
        assert [each.tag for each in picture.iter()] == [each.tag for each in drawn(plain).iter()]
        assert [sorted(each.attrib) for each in picture.iter()] == [
            sorted(each.attrib) for each in drawn(plain).iter()
        ]
    page, edit = here.stranger().get("/status").text, admin.get(EDIT).text
    with here.database.writing() as rows:
        rows.execute(update(Job).values(name="documents", public_name="documents"))
    admin.post(EDIT, data={"enabled": "y", "title": "documents", "introduction": "documents"})
    assert Structure(page).elements == Structure(here.stranger().get("/status").text).elements
    plain_edit = admin.get(EDIT).text
    assert Structure(edit).elements == Structure(plain_edit).elements
    for link in Structure(page).links + Structure(edit).links:
        assert re.match(r"(/(?![/\\])|#)", link), link


@EVERY_WORD
def test_the_code_to_paste_holds_one_picture_and_one_link_whatever_a_job_is_called(
    cleared: tuple[Site, LoggedIn], words: str
) -> None:
    here, admin = cleared
    publish(here, words)
    page = admin.get(EDIT).text
    codes = re.findall(r'<pre id="code-\d+-(Markdown|HTML)">([^<]*)</pre>', page)
    assert [kind for kind, _code in codes] == ["Markdown", "HTML"]
    unescaped = {kind: unescape(code) for kind, code in codes}
    pasted = Structure(unescaped["HTML"])
    assert pasted.elements == [("a", ("href",)), ("img", ("src", "alt"))]
    assert re.fullmatch(
        r"\[!\[[^][()<>`\\|!*_]*\]\(http://localhost/status/jobs/\d+/badge\.svg\)\]\(http://localhost/status\)",
        unescaped["Markdown"],
    )


def test_a_badge_is_as_wide_as_its_words() -> None:
    narrow, wide = badge.width("illi"), badge.width("MWMW")
    assert narrow < 20 < 40 < wide
    long = badge.render("x" * 500, "ok", "ok")
    assert len(long) < 2000
    assert "…" in long
    assert badge.tidy("a\x00b\u202ec\ud800d") == "a b c d"
    picture = drawn(badge.render("日本語", "good", "ok"))
    assert int(picture.get("width", "0")) > 3 * 11


@pytest.mark.parametrize("colour", badge.COLOURS.values())
def test_white_can_be_read_on_every_colour(colour: str) -> None:
    def luminance(code: str) -> float:
        parts = [int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


# Setting it up


def test_a_job_is_found_by_the_beginning_of_its_name_or_server_and_published(here: Site) -> None:
    admin = here.administrator()
    with here.database.writing() as rows:
        attic = factories.add_server(rows, "Attic")
        ids = [
            factories.add_job(rows, name, "ok", attic, utcnow()).id
            for name in ("Photos", "photo raw", "Mail")
        ]
        factories.add_job(rows, "Xylophone", now=utcnow())
    for words, expected in (
        ("phot", ["Photos", "photo raw"]),
        ("PHOTOS", ["Photos"]),
        ("atti", ["Photos", "photo raw", "Mail"]),
        ("nothing", []),
        ("%", []),
        ("\x00", ["Mail", "Photos", "photo raw", "Xylophone"]),
    ):
        page = admin.get(EDIT, query_string={"q": words}).text
        found = re.findall(r"<li><span><strong>([^<]+)</strong>", page)
        assert sorted(found) == sorted(expected), words
    answer = admin.post(f"{EDIT}/jobs/{ids[0]}", data={"public_name": "  Holiday\tpictures "})
    assert answer.status_code == 302
    with here.database.reading() as rows:
        job = rows.get_one(Job, ids[0])
        assert (job.is_published, job.public_name) == (True, "Holiday pictures")
    page = admin.get(EDIT).text
    assert 'value="Holiday pictures"' in page
    assert "<li><span><strong>Photos" not in page
    assert [each.after for each in here.audit("job published")] == ["Holiday pictures"]
    assert admin.post(f"{EDIT}/jobs/{ids[0]}/remove").status_code == 302
    assert admin.post(f"{EDIT}/jobs/{ids[0]}/remove").status_code == 302
    assert len(here.audit("job withdrawn from the status page")) == 1
    assert admin.post(f"{EDIT}/jobs/99999").status_code == 404
    with here.database.reading() as rows:
        assert not rows.scalars(select(Job.id).where(Job.is_published)).all()


def test_a_job_without_a_public_name_goes_by_its_own(here: Site) -> None:
    job_id = publish(here, "Documents")
    switch_on(here)
    here.administrator().post(f"{EDIT}/jobs/{job_id}", data={"public_name": " "})
    assert "Documents" in here.stranger().get("/status").text


def test_what_is_too_long_is_refused_and_kept(here: Site) -> None:
    admin = here.administrator()
    refused = admin.post(EDIT, data={"enabled": "y", "title": "t" * 81, "introduction": "kept words"})
    assert refused.status_code == 400
    assert 'id="title-wrong"' in refused.text
    assert "kept words" in refused.text
    assert here.stranger().get("/status").status_code == 404
    job_id = publish(here)
    refused = admin.post(f"{EDIT}/jobs/{job_id}", data={"public_name": "n" * 121})
    assert refused.status_code == 400
    assert f'id="name-{job_id}-wrong"' in refused.text
    assert "n" * 121 in refused.text


def test_the_code_names_the_address_at_which_people_reach_veilleur(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_PUBLIC_URL="https://backups.example/veilleur") as here:
        page = here.administrator().get(EDIT).text
        assert "https://backups.example/veilleur/status/badge.svg" in page
