"""The page Monitoring: settings for all jobs, the history of the checks, and what goes wrong said loudly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from app import lease, stored_settings, task_runs
from app.clock import utcnow
from app.models import Job, StoredSetting, TaskRun
from tests import factories
from tests.web import LoggedIn, Site, site

PAGE = "/settings/monitoring"
CHECK = "overdue-backup-check"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def stored(here: Site) -> dict[str, str]:
    with here.database.reading() as rows:
        return {row.name: row.value for row in rows.scalars(select(StoredSetting))}


# Settings for all jobs


def test_what_holds_for_all_jobs_is_saved_shown_and_audited(here: Site) -> None:
    admin = here.administrator()
    for path, given in (
        ("tolerance", {"minutes": "90"}),
        ("reminder", {"reminder": "every_week"}),
        ("grouping", {"limit": "0"}),
    ):
        answer = admin.post(f"{PAGE}/{path}", data=given)
        assert (answer.status_code, answer.location) == (302, PAGE)
    assert stored(here) == {"tolerance_seconds": "5400", "reminder": "every_week", "group_limit": "0"}
    page = admin.get(PAGE).text
    assert re.search(r'name="minutes"[^>]* value="90"', page)
    assert '<option selected value="every_week">' in page
    assert re.search(r'name="limit"[^>]* value="0"', page)
    (entry,) = here.audit("global tolerance changed")
    assert (entry.actor, entry.before, entry.after) == ("admin", "3600", "5400")
    assert [each.after for each in here.audit("global reminder changed")] == ["every_week"]
    assert [each.after for each in here.audit("grouping of messages changed")] == ["0"]


def test_the_page_of_a_job_shows_what_was_chosen_for_all(here: Site) -> None:
    admin = here.administrator()
    with here.database.writing() as rows:
        job_id = factories.add_job(rows, now=utcnow()).id
    admin.post(f"{PAGE}/tolerance", data={"minutes": "150"})
    admin.post(f"{PAGE}/reminder", data={"reminder": "every_month"})
    page = text_of(admin.get(f"/jobs/{job_id}").text)
    assert "2 h 30 min" in page
    assert "Every month" in page
    # A change at the job is judged by it as well.
    with here.database.writing() as rows:
        late = {"expected_at": utcnow() - timedelta(hours=2), "until_at": utcnow() - timedelta(hours=2)}
        rows.execute(update(Job).values(state="late", last_run_good=True, **late))
    admin.post(f"/jobs/{job_id}/tolerance", data={"minutes": ""})
    with here.database.reading() as rows:
        assert rows.get_one(Job, job_id).why["toleranceSeconds"] == 9000


@pytest.mark.parametrize(
    ("path", "field", "wrong", "told"),
    [
        ("tolerance", "minutes", "-1", "Expected: a whole number of minutes"),
        ("tolerance", "minutes", "44641", "Expected: a whole number of minutes"),
        ("tolerance", "minutes", "", "Expected: a whole number of minutes"),
        ("tolerance", "minutes", "soon", "Not a valid integer"),
        ("reminder", "reminder", "hourly", "Not a valid choice"),
        ("grouping", "limit", "10001", "Expected: a whole number from 0"),
    ],
)
def test_what_can_not_be_used_is_said_beside_its_field_and_kept(
    here: Site, path: str, field: str, wrong: str, told: str
) -> None:
    answer = here.administrator().post(f"{PAGE}/{path}", data={field: wrong})
    assert answer.status_code == 400
    assert told in answer.text
    assert f'id="{field}-wrong"' in answer.text
    if path != "reminder":
        assert f'value="{wrong}"' in answer.text
    assert stored(here) == {}


def test_saving_the_same_again_changes_nothing(here: Site) -> None:
    admin = here.administrator()
    admin.post(f"{PAGE}/tolerance", data={"minutes": "60"})
    assert "Nothing has changed." in admin.get(PAGE).text
    assert here.audit("global tolerance changed") == []


def test_what_a_variable_has_set_is_shown_locked_and_can_not_be_changed(tmp_path: Path) -> None:
    with site(tmp_path, VEILLEUR_TOLERANCE_SECONDS="7200", VEILLEUR_REMINDER="onetime") as here:
        admin = here.administrator()
        with here.database.writing() as rows:
            stored_settings.store(rows, "tolerance_seconds", 60, by="x", now=utcnow())
        page = admin.get(PAGE).text
        assert "Set by VEILLEUR_TOLERANCE_SECONDS. It can be changed there only." in page
        assert "Set by VEILLEUR_REMINDER." in page
        assert re.search(r"<input[^>]* name=\"minutes\"[^>]* readonly [^>]*value=\"120\"", page)
        assert re.search(r"<select[^>]* disabled [^>]*name=\"reminder\"", page)
        assert "VEILLEUR_GROUP_LIMIT" not in page
        refused = admin.post(f"{PAGE}/tolerance", data={"minutes": "30"})
        assert refused.status_code == 400
        assert stored(here) == {"tolerance_seconds": "60"}


def test_a_viewer_sees_the_settings_and_can_not_change_them(here: Site) -> None:
    viewer = here.viewer()
    page = viewer.get(PAGE).text
    assert 'name="minutes"' in page
    assert ">Save<" not in page
    assert viewer.post(f"{PAGE}/tolerance", data={"minutes": "1"}).status_code == 403


# The history


def add_runs(here: Site, number: int, **columns: Any) -> None:
    with here.database.writing() as rows:
        for back in range(number, 0, -1):
            statistics = {"totalBackupConfigs": 5, "checkedBackups": 4, "overdueBackupsFound": 1}
            factories.add_check(
                rows,
                utcnow() - timedelta(minutes=20 * back),
                statistics={**statistics, "notificationsSent": 2},
                holder="nas:1:aa",
                **columns,
            )


def test_the_history_tells_when_why_how_long_and_what_came_of_it(here: Site) -> None:
    add_runs(here, 1, cause="manual")
    page = text_of(here.viewer().get(PAGE).text)
    assert "Check for overdue backups, started by hand" in page, page
    assert "4 jobs checked, 1 overdue, 2 messages sent" in page
    assert "1 s" in page
    assert "by nas:1:aa" in page
    assert "The last check: 1 done." in page


def test_a_failed_check_is_loud(here: Site) -> None:
    add_runs(here, 2)
    add_runs(here, 1, succeeded=False, message="OperationalError: disk I/O error")
    page = here.viewer().get(PAGE).text
    assert "The last check failed." in page
    assert page.count("disk I/O error") == 2
    assert 'class="run-failed"' in page
    assert "The last 3 checks: 2 done, 1 failed." in page
    assert page.count('class="check-failed"') == 1


def test_a_run_that_was_cut_off_is_told_from_the_one_under_way(here: Site) -> None:
    now = utcnow()
    with here.database.writing() as rows:
        for back in (2, 1):
            begun = {"task": CHECK, "cause": "schedule", "holder": "nas:1:aa"}
            rows.add(TaskRun(**begun, started_at=now - timedelta(seconds=back)))
            rows.flush()
        assert lease.acquire(rows, CHECK, "nas:1:aa", now)
    with here.database.reading() as rows:
        runs = task_runs.history(rows, now, None, None)
        assert [each.outcome for each in runs] == ["running", "cut-off"]
        assert [each.outcome for each in task_runs.history(rows, now + timedelta(minutes=5), None, None)] == [
            "cut-off",
            "cut-off",
        ]
    page = text_of(here.viewer().get(PAGE).text)
    assert "The last 2 checks: 1 cut off, 1 under way." in page


def test_the_history_is_turned_page_by_page_and_may_show_one_task_only(here: Site) -> None:
    add_runs(here, 25)
    with here.database.writing() as rows:
        factories.add_check(
            rows, task="retention-cleanup", statistics={"reports": 3, "alerts": 0, "sessions": 1}
        )
    viewer = here.viewer()
    first = viewer.get(PAGE).text
    assert first.count('<tr role="row"') == 1 + task_runs.PAGE_SIZE
    assert "Deleted: 3 reports, 1 expired login." in text_of(first)
    older = re.search(r'rel="next" href="([^"#]+)', first)
    assert older
    second = viewer.get(older[1].replace("&amp;", "&")).text
    assert second.count('<tr role="row"') == 1 + 6
    assert 'rel="next"' not in second
    only = viewer.get(f"{PAGE}?task=retention-cleanup").text
    assert only.count('<tr role="row"') == 2
    assert viewer.get(f"{PAGE}?task=nothing").status_code == 404
    assert viewer.get(f"{PAGE}?before=-5").status_code == 200
    assert viewer.get(f"{PAGE}?before=99999999999999999999999").status_code == 200


def test_the_page_costs_the_same_with_a_long_history(here: Site) -> None:
    viewer = here.viewer()

    def queries() -> int:
        seen: list[str] = []

        def note(*given: Any) -> None:
            seen.append(given[2])

        event.listen(here.database.engine, "before_cursor_execute", note)
        assert viewer.get(PAGE).status_code == 200
        event.remove(here.database.engine, "before_cursor_execute", note)
        return len([each for each in seen if not each.startswith(("PRAGMA", "BEGIN"))])

    add_runs(here, 2)
    few = queries()
    add_runs(here, 100)
    assert queries() == few <= 9
    with here.database.reading() as rows:
        strip = task_runs.strip(rows, utcnow(), CHECK)
    assert len(strip) == task_runs.STRIP_SIZE
    assert strip[0].row.id < strip[-1].row.id


# Who is told


def test_one_line_says_whether_somebody_is_told(here: Site) -> None:
    viewer: LoggedIn = here.viewer()
    assert "Nobody is told anything" in viewer.get(PAGE).text
    with here.database.writing() as rows:
        factories.add_channel(rows)
        factories.add_channel(rows, "mail", "email", failing_since_at=utcnow(), last_error="refused")
    page = text_of(viewer.get(PAGE).text)
    assert "2 channels, 1 failing" in page.replace(" ,", ","), page
