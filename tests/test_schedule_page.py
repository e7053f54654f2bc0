"""The schedule editor: what it takes, what it foresees, and what it would have told of the past."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask_babel import force_locale
from sqlalchemy import event, select, update

from app import clock, forecast, schedule_forms, schedule_sentences
from app.guess import guess
from app.models import Job, JobSchedule, MaintenanceWindow, User
from app.recurrence import Schedule
from tests import factories
from tests.web import LoggedIn, Site, site

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PARIS = ZoneInfo("Europe/Paris")
SCHEDULE: dict[str, Any] = {
    "repeat": "1D",
    "days": ["mon", "fri"],
    "zone": "Europe/Paris",
    "first": "2026-11-20T22:00",
}
FRAGMENT = {"X-Preview": "1"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("schedules"), VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture(scope="module")
def admin(here: Site) -> LoggedIn:
    return here.administrator()


@pytest.fixture
def job_id(here: Site) -> int:
    with here.database.writing() as rows:
        return factories.add_job(rows, "Documents", now=clock.utcnow()).id


def with_runs(here: Site, job_id: int, count: int, every: timedelta = DAY, **columns: Any) -> None:
    """Runs that began every evening at 22:00 in Paris, the newest one yesterday."""
    evening = clock.utcnow().astimezone(PARIS).replace(hour=22, minute=0, second=20, microsecond=0)
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        for number in range(count):
            began_at = (evening.replace(tzinfo=None) - DAY - number * every).replace(tzinfo=PARIS)
            ended_at = began_at.astimezone(UTC) + 5 * MINUTE
            factories.add_report(rows, job, began_at=began_at.astimezone(UTC), ended_at=ended_at, **columns)


def typed(here: Site, job_id: int) -> JobSchedule | None:
    with here.database.reading() as rows:
        return rows.scalar(select(JobSchedule).where(JobSchedule.job_id == job_id))


def job_of(here: Site, job_id: int) -> Job:
    with here.database.reading() as rows:
        return rows.get_one(Job, job_id)


def fragment(admin: LoggedIn, job_id: int, **given: object) -> str:
    answer = admin.post(f"/jobs/{job_id}/schedule/preview", data={**SCHEDULE, **given}, headers=FRAGMENT)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    return answer.text


# Saving


def test_a_saved_schedule_is_in_force_at_once_and_in_the_audit_log(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    answer = admin.post(f"/jobs/{job_id}/schedule", data=SCHEDULE)
    assert (answer.status_code, answer.location) == (302, f"/jobs/{job_id}")
    assert "Schedule saved. It is in force." in admin.get(answer.location).text
    row = typed(here, job_id)
    assert row is not None
    assert (row.source, row.repeat, row.days, row.zone) == ("typed", "1D", "mon,fri", "Europe/Paris")
    assert row.anchor_at == datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
    assert job_of(here, job_id).expected_source == "typed"
    admin.post(f"/jobs/{job_id}/schedule", data={**SCHEDULE, "repeat": "1W", "days": []})
    told = here.audit("schedule changed")[-1]
    assert told.before == "1D mon,fri Europe/Paris from 2026-11-20T21:00:00Z"
    assert told.after == "1W all days Europe/Paris from 2026-11-20T21:00:00Z"


def test_the_tolerance_is_saved_along_and_stays_where_it_is_not_sent(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    admin.post(f"/jobs/{job_id}/schedule", data={**SCHEDULE, "tolerance": "90"})
    assert job_of(here, job_id).tolerance_seconds == 5400
    told = here.audit("tolerance changed")[-1]
    assert (told.before, told.after) == ("global", "5400 s")
    admin.post(f"/jobs/{job_id}/schedule", data=SCHEDULE)
    assert job_of(here, job_id).tolerance_seconds == 5400
    assert len(here.audit("tolerance changed")) == 1
    admin.post(f"/jobs/{job_id}/schedule", data={**SCHEDULE, "tolerance": ""})
    assert job_of(here, job_id).tolerance_seconds is None


def test_seconds_that_minutes_can_not_show_survive(here: Site, admin: LoggedIn, job_id: int) -> None:
    with here.database.writing() as rows:
        rows.execute(update(Job).where(Job.id == job_id).values(tolerance_seconds=5430))
    assert 'name="tolerance" type="number" value="90"' in admin.get(f"/jobs/{job_id}/schedule/edit").text
    admin.post(f"/jobs/{job_id}/schedule", data={**SCHEDULE, "tolerance": "90"})
    assert job_of(here, job_id).tolerance_seconds == 5430


@pytest.mark.parametrize(
    ("every", "unit", "repeat"),
    [(1, "D", "1D"), (12, "h", "12h"), (2, "W", "2W"), (30, "m", "30m"), (3, "M", "3M"), (1, "Y", "1Y")],
)
def test_both_ways_of_saying_the_repeat_mean_the_same(
    here: Site, admin: LoggedIn, job_id: int, every: int, unit: str, repeat: str
) -> None:
    simple = {**SCHEDULE, "manner": "simple", "every": str(every), "unit": unit, "repeat": "nonsense"}
    assert admin.post(f"/jobs/{job_id}/schedule", data=simple).status_code == 302
    row = typed(here, job_id)
    assert row is not None
    assert row.repeat == repeat
    page = admin.get(f"/jobs/{job_id}/schedule/edit").text
    assert re.search(rf'name="every"[^>]* value="{every}"', page)
    assert f'<option selected value="{unit}">' in page
    assert re.search(r'checked[^>]* value="simple"', page)


def test_a_repeat_that_only_duplicati_can_say_is_shown_as_its_text(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    text = {**SCHEDULE, "manner": "text", "every": "no number", "repeat": "1D2h"}
    assert admin.post(f"/jobs/{job_id}/schedule", data=text).status_code == 302
    page = admin.get(f"/jobs/{job_id}/schedule/edit").text
    assert re.search(r'checked[^>]* value="text"', page)
    assert 'name="repeat" spellcheck="false" type="text" value="1D2h"' in page


WRONG = [
    ("repeat", {"repeat": "1d"}, "repeat-wrong"),
    ("repeat", {"repeat": ""}, "repeat-wrong"),
    ("repeat", {"repeat": "0D"}, "repeat-wrong"),
    ("number", {"manner": "simple", "every": "0", "unit": "D"}, "every-wrong"),
    ("number", {"manner": "simple", "every": "", "unit": "D"}, "every-wrong"),
    ("number", {"manner": "simple", "every": "two", "unit": "D"}, "every-wrong"),
    ("unit", {"manner": "simple", "every": "2", "unit": "fortnights"}, "unit-wrong"),
    ("weekdays", {"days": ["noday"]}, "days-wrong"),
    ("time zone", {"zone": "Mars/Olympus"}, "zone-wrong"),
    ("time zone", {"zone": "../../etc/passwd"}, "zone-wrong"),
    ("time zone", {"zone": ""}, "zone-wrong"),
    ("first run", {"first": "tomorrow"}, "first-wrong"),
    ("first run", {"first": ""}, "first-wrong"),
    ("first run", {"first": "0001-01-01T00:00"}, "first-wrong"),
    ("first run", {"first": "9999-12-31T23:59", "zone": "America/New_York"}, "wrong"),
    ("tolerance", {"tolerance": "-1"}, "tolerance-wrong"),
    ("tolerance", {"tolerance": "soon"}, "tolerance-wrong"),
    ("tolerance", {"tolerance": "999999"}, "tolerance-wrong"),
]


@pytest.mark.parametrize(("named", "given", "complaint"), WRONG)
def test_what_is_wrong_is_said_beside_its_field_and_in_the_preview(
    here: Site, admin: LoggedIn, job_id: int, named: str, given: dict[str, Any], complaint: str
) -> None:
    entered = {**SCHEDULE, "zone": "America/New_York", **given}
    for path in ("schedule", "schedule/preview"):
        answer = admin.post(f"/jobs/{job_id}/{path}", data=entered)
        assert answer.status_code == 400
        assert f'{complaint}"' in answer.text
        kept = given.get("zone", "America/New_York")
        assert f'value="{kept}"' in answer.text
    shown = fragment(admin, job_id, **{"zone": "America/New_York", **given})
    assert "this is no schedule yet" in shown
    assert named in shown.lower()
    assert typed(here, job_id) is None


# Removing


def test_removing_asks_first_and_says_what_takes_over(here: Site, admin: LoggedIn, job_id: int) -> None:
    admin.post(f"/jobs/{job_id}/schedule", data=SCHEDULE)
    assert f"/jobs/{job_id}/schedule/remove" in admin.get(f"/jobs/{job_id}/schedule/edit").text
    page = admin.get(f"/jobs/{job_id}/schedule/remove").text
    assert "Every day, on Monday, Friday at 22:00" in page
    assert "Then the rhythm is assumed from the reports" in page
    assert typed(here, job_id) is not None
    answer = admin.post(f"/jobs/{job_id}/schedule/remove")
    assert (answer.status_code, answer.location) == (302, f"/jobs/{job_id}")
    assert typed(here, job_id) is None
    assert job_of(here, job_id).expected_source == "default"
    told = here.audit("schedule removed")[-1]
    assert (told.before, told.after) == ("1D mon,fri Europe/Paris from 2026-11-20T21:00:00Z", None)


def test_removing_names_the_word_of_duplicati_where_that_is_in_force(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        job.declared_next_at = clock.utcnow() + 9 * HOUR
        factories.add_schedule(rows, job)
    assert "nothing changes for now" in admin.get(f"/jobs/{job_id}/schedule/remove").text


# What is foreseen


def test_the_next_ten_runs_stand_in_the_zone_of_the_job_and_of_the_viewer(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    same = fragment(admin, job_id, repeat="1D", days=[])
    assert len(re.findall(r'<td role="cell"><span class="when">', same.partition("<h3>When")[0])) == 10
    assert "By your clock" not in same
    assert same.count(", 22:00</time>") >= 10
    assert same.count(", 23:00</time>") >= 10  # overdue from, with the global tolerance of an hour
    other = fragment(admin, job_id, repeat="1D", days=[], zone="America/New_York", tolerance="30")
    assert "Expected, America/New_York" in other
    assert "By your clock, Europe/Paris" in other
    assert other.count(", 22:00</time>") >= 10
    assert other.count(", 22:30</time>") >= 10
    assert len(re.findall(r", 0[345]:00</time>", other)) >= 10


def test_whoever_has_a_zone_of_their_own_sees_it(here: Site, admin: LoggedIn, job_id: int) -> None:
    with here.database.writing() as rows:
        rows.execute(update(User).where(User.username == "admin").values(timezone="Asia/Tokyo"))
    try:
        assert "By your clock, Asia/Tokyo" in fragment(admin, job_id)
    finally:
        with here.database.writing() as rows:
            rows.execute(update(User).values(timezone=None))


def schedule(repeat: str, zone: str, first: str, *days: str) -> Schedule:
    local = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone))
    return Schedule(repeat=repeat, days=frozenset(days), zone=zone, anchor_at=local.astimezone(UTC))


def notes(here: Site, entered: Schedule, after: str, count: int, viewer: str = "UTC") -> list[list[str]]:
    """What is said of each run, with a tolerance of half an hour."""
    found = forecast.windows(
        entered, datetime.fromisoformat(after).replace(tzinfo=UTC), count, 1800, lambda _at, _until: None
    )
    zone = ZoneInfo(viewer)
    with here.app.test_request_context("/"), force_locale("en"):
        return [
            schedule_sentences.notes(
                each,
                entered,
                zone,
                forecast.change_between(zone, each.previous_at, each.expected_at)
                if each.previous_at
                else None,
            )
            for each in found
        ]


def test_a_time_that_happens_twice_is_said_with_the_run_after(here: Site) -> None:
    daily = schedule("1D", "Europe/Paris", "2026-10-20T02:30")
    told = notes(here, daily, "2026-10-24T12:00", 3)
    assert told[0] == [
        "02:30 happens twice on Sun 25 Oct 2026; the first one is meant, and by the second the backup is "
        "overdue."
    ]
    assert told[1] == [
        "The clocks in Europe/Paris go back by 1 h on Sun 25 Oct 2026.",
        "For this run, a begin at 01:30 counts as well as one at 02:30.",
    ]
    assert told[2] == []


def test_a_time_that_is_skipped_moves_the_run_for_good(here: Site) -> None:
    daily = schedule("1D", "Europe/Paris", "2026-03-20T02:30")
    told = notes(here, daily, "2026-03-28T12:00", 3)
    assert told[0] == [
        "The clocks in Europe/Paris go forward by 1 h on Sun 29 Mar 2026.",
        "As Duplicati counts, the run moves from 02:30 to 01:30 and stays there.",
        "For this run, a begin at 01:30 counts as well as one at 03:30.",
    ]
    assert told[1] == [
        "The clocks in Europe/Paris go forward by 1 h on Sun 29 Mar 2026.",
        "For this run, a begin at 01:30 counts as well as one at 02:30.",
    ]
    assert told[2] == []


def test_an_hourly_rule_has_no_time_of_day_to_keep(here: Site) -> None:
    hourly = schedule("1h", "Europe/Paris", "2026-10-20T00:10")
    told = notes(here, hourly, "2026-10-24T23:00", 4)
    assert [line for each in told for line in each if "begin at" in line or "stays there" in line] == []
    assert ["The clocks in Europe/Paris go back by 1 h on Sun 25 Oct 2026." in each for each in told].count(
        True
    ) == 1


def test_a_change_of_the_viewers_clock_is_said_too(here: Site) -> None:
    daily = schedule("1D", "America/New_York", "2026-10-20T20:00")
    told = notes(here, daily, "2026-10-23T12:00", 12, "Europe/Paris")
    assert told[2] == [
        "The clocks in Europe/Paris go back by 1 h on Sun 25 Oct 2026.",
        "From here on the same run comes at another time by your clock.",
    ]
    assert told[9][0] == "The clocks in America/New_York go back by 1 h on Sun 1 Nov 2026."
    assert [bool(each) for each in told].count(True) == 2


def test_what_the_sentences_say_of_a_night_is_what_counts() -> None:
    """The window is the one by which a report is judged: see the order of belief."""
    daily = schedule("1D", "Europe/Paris", "2026-10-20T02:30")
    after_at = datetime(2026, 10, 25, 12, tzinfo=UTC)
    (window,) = forecast.windows(daily, after_at, 1, 1800, lambda _at, _until: None)
    assert window.earliest_at == datetime(2026, 10, 26, 0, 30, tzinfo=UTC)
    assert window.until_at == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert window.overdue_at == datetime(2026, 10, 26, 2, 0, tzinfo=UTC)
    assert window.change == forecast.ClockChange(datetime(2026, 10, 25, 1, tzinfo=UTC), -HOUR)


def test_maintenance_moves_the_deadlines_that_are_foreseen(here: Site, admin: LoggedIn, job_id: int) -> None:
    with here.database.writing() as rows:
        rows.add(
            MaintenanceWindow(
                name="Rack",
                job_id=job_id,
                zone="Europe/Paris",
                created_at=clock.utcnow(),
                weekdays="mon,tue,wed,thu,fri,sat,sun",
                start_time="22:30",
                duration_minutes=60,
            )
        )
    shown = fragment(admin, job_id, repeat="1D", days=[])
    assert "Maintenance or a downtime moves its deadline." in shown
    assert len(re.findall(r", 00:00</time>", shown)) >= 10


def test_a_schedule_that_makes_a_backup_overdue_at_once_says_so(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    assert "counts as overdue" in fragment(admin, job_id, repeat="1h", days=[])
    tomorrow = (clock.utcnow() + DAY).strftime("%Y-%m-%dT22:00")
    assert "counts as overdue" not in fragment(admin, job_id, repeat="1W", days=[], first=tomorrow)


def test_where_duplicati_announces_its_times_the_schedule_changes_nothing(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        job.declared_next_at = clock.utcnow() + 9 * HOUR
    shown = fragment(admin, job_id)
    assert "Duplicati announces its own times, so this schedule changes nothing at present." in shown
    page = admin.get(f"/jobs/{job_id}/schedule/edit").text
    assert "Duplicati announces its next run itself; what you enter here serves where it does not." in page


# The past


def test_the_past_is_told_under_this_setting_and_under_the_one_in_force(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    with_runs(here, job_id, 40, 2 * DAY)
    every_day = fragment(admin, job_id, repeat="1D", days=[], first="2026-08-01T22:00")
    assert re.search(
        r"you would have had (?:39|40) alerts about a missing backup in the last \d\d days", every_day
    )
    assert re.search("The newest 10 of (39|40)", every_day)
    first = (clock.utcnow().astimezone(PARIS) - DAY).strftime("%Y-%m-%dT22:00")
    other = fragment(admin, job_id, repeat="2D", days=[], first=first)
    assert "no alert about a missing backup" in other
    assert re.search(r"Setting in force now: \d\d; with this one: 0\.", other)
    assert "<svg" in other
    assert "40 runs, never overdue" in other


def test_failed_runs_are_told_apart(here: Site, admin: LoggedIn, job_id: int) -> None:
    with_runs(here, job_id, 5, good=False)
    shown = fragment(admin, job_id)
    assert "Besides, 5 runs were no good backups; each is told at once" in shown
    assert "5 of them no good backups" in shown


def test_dry_runs_are_no_past(here: Site, admin: LoggedIn, job_id: int) -> None:
    with_runs(here, job_id, 5, dry_run=True)
    assert "there is nothing to try it on" in fragment(admin, job_id)


def test_what_runs_declared_went_before_a_typed_schedule(here: Site, admin: LoggedIn, job_id: int) -> None:
    now = clock.utcnow()
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        for day in range(20):
            ended_at = now - day * 3 * DAY
            factories.add_report(
                rows, job, ended_at=ended_at, next_scheduled_at=ended_at + 3 * DAY - 30 * MINUTE
            )
    shown = fragment(admin, job_id, repeat="1h", days=[])
    assert "no alert about a missing backup" in shown
    assert "a more trusted source told the next one" in shown


# What the reports look like


def test_the_suggestion_is_filled_in_and_saved_only_by_hand(here: Site, admin: LoggedIn, job_id: int) -> None:
    with_runs(here, job_id, 33)
    page = admin.get(f"/jobs/{job_id}/schedule/edit").text
    assert "Looks like every day about 22:00; 30 of 30 runs fit." in page
    taken = admin.get(f"/jobs/{job_id}/schedule/edit?suggestion=1").text
    assert "Filled in from the reports; nothing is saved yet." in taken
    assert 'T22:00"' in taken
    assert typed(here, job_id) is None


def test_too_few_or_wild_reports_suggest_nothing(here: Site, admin: LoggedIn, job_id: int) -> None:
    assert "Too few reports so far" in admin.get(f"/jobs/{job_id}/schedule/edit").text
    with here.database.writing() as rows:
        job = rows.get_one(Job, job_id)
        for number in range(20):
            wild_at = clock.utcnow() - timedelta(hours=number**2.3 * 1.7 + number % 5 * 3.1)
            factories.add_report(rows, job, ended_at=wild_at)
    assert "show no regular rhythm" in admin.get(f"/jobs/{job_id}/schedule/edit").text


@pytest.mark.parametrize(
    ("repeat", "days"),
    [
        ("1D", ()),
        ("1D", ("mon", "tue", "wed", "thu", "fri")),
        ("1D", ("mon", "wed", "fri")),
        ("2D", ()),
        ("1W", ()),
        ("2W", ()),
        ("1M", ()),
        ("1h", ()),
        ("6h", ()),
        ("12h", ()),
        ("30m", ()),
        ("3D", ()),
    ],
)
@pytest.mark.parametrize("noise", [0, 3])
def test_a_rhythm_is_found_in_runs_that_kept_it(repeat: str, days: tuple[str, ...], noise: int) -> None:
    real = schedule(repeat, "Europe/Paris", "2026-06-01T22:00", *days)
    due = [each.expected_at for each in forecast.windows(real, real.anchor_at, 30, 0, lambda _a, _b: None)]
    began = [at + timedelta(seconds=7 * number % 50) for number, at in enumerate(due)]
    for number in range(noise):
        began[number * 9 + 4] += real.rule.span * 0.37  # started by hand
    found = guess(began, "Europe/Paris")
    assert found is not None
    assert (found.schedule.repeat, found.schedule.days) == (repeat, frozenset(days))
    assert found.fits >= 30 - noise
    nearest = [
        each.expected_at for each in forecast.windows(found.schedule, began[-1], 3, 0, lambda _a, _b: None)
    ]
    following = forecast.windows(real, began[-1], 3, 0, lambda _a, _b: None)
    assert all(
        abs(one - other.expected_at) <= 5 * MINUTE for one, other in zip(nearest, following, strict=True)
    )


# The page


def test_the_editor_takes_a_bounded_number_of_queries(here: Site, admin: LoggedIn, job_id: int) -> None:
    def queries() -> int:
        ran: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            ran.append(statement)

        event.listen(here.database.engine, "before_cursor_execute", note)
        assert admin.get(f"/jobs/{job_id}/schedule/edit").status_code == 200
        event.remove(here.database.engine, "before_cursor_execute", note)
        return sum(each.startswith("SELECT") for each in ran)

    before = queries()
    with_runs(here, job_id, 100)
    with here.database.writing() as rows:
        for number in range(5):
            once = {"starts_at": clock.utcnow(), "ends_at": clock.utcnow() + HOUR}
            rows.add(MaintenanceWindow(name=f"{number}", zone="UTC", created_at=clock.utcnow(), **once))
    assert queries() == before <= 10


def test_a_schedule_that_this_machine_can_not_read_does_not_break_the_page(
    here: Site, admin: LoggedIn, job_id: int
) -> None:
    with here.database.writing() as rows:
        factories.add_schedule(rows, rows.get_one(Job, job_id), zone="Mars/Olympus")
    assert admin.get(f"/jobs/{job_id}/schedule/edit").status_code == 200
    assert "What was entered is lost." in admin.get(f"/jobs/{job_id}/schedule/remove").text


def test_a_job_that_never_reported_can_be_planned(here: Site, admin: LoggedIn) -> None:
    with here.database.writing() as rows:
        job = factories.add_job(
            rows,
            "planned",
            "new",
            expected_at=None,
            until_at=None,
            expected_source=None,
            last_began_at=None,
            last_ended_at=None,
            last_good_at=None,
            last_run_good=None,
        )
        number = job.id
    assert "nothing is expected" in admin.get(f"/jobs/{number}/schedule/edit").text
    assert admin.post(f"/jobs/{number}/schedule", data=SCHEDULE).status_code == 302
    assert job_of(here, number).expected_source == "typed"


def test_the_pages_hold_no_inline_script_or_style(admin: LoggedIn, here: Site, job_id: int) -> None:
    with_runs(here, job_id, 20, 2 * DAY)
    admin.post(f"/jobs/{job_id}/schedule", data=SCHEDULE)
    for path in ("edit", "remove"):
        page = admin.get(f"/jobs/{job_id}/schedule/{path}").text
        assert "<style" not in page
        assert " style=" not in page
        assert not re.search(r"<script(?![^>]* src=)", page)


def test_a_start_is_offered_where_nothing_is_known() -> None:
    start = schedule_forms.start("Europe/Paris", datetime(2026, 7, 1, 23, 30, tzinfo=UTC))
    assert (start.repeat, start.anchor_at) == ("1D", datetime(2026, 7, 2, 20, 0, tzinfo=UTC))
