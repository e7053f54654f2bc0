"""The pages of the settings on PostgreSQL: the same words from the same questions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from app import checks, publication, stored_settings
from app.clock import utcnow
from app.models import Job
from tests import factories
from tests.databases import Postgres
from tests.web import PASSWORD, Site, site


@pytest.fixture(scope="module")
def here(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("pages"), VEILLEUR_DATABASE_URL=postgres.url()) as made:
        yield made


def test_every_page_of_the_settings_can_be_read(here: Site) -> None:
    with here.database.writing() as rows:
        job = factories.add_job(rows, "Documents", now=utcnow(), is_published=True)
        for days, good in ((1, True), (2, False)):
            factories.add_report(rows, job, ended_at=utcnow() - timedelta(days=days), good=good)
        factories.add_check(rows)
        body_id = factories.add_quarantined(rows).id
    admin = here.administrator()
    assert admin.post("/settings/status-page", data={"enabled": "y", "title": "Ours"}).status_code == 302
    for path, words in (
        ("/settings/monitoring", "The last check: 1 done."),
        ("/settings/retention", "Size of the database"),
        ("/settings/retention/confirm?report_days=1&audit_days=365", "Keep less?"),
        ("/settings/about", "PostgreSQL 1"),
        ("/settings/status-page?q=docu", "Documents"),
        (f"/quarantine/{body_id}", "message=what%3F"),
        ("/status", "1 day with a good backup, 1 with a failed one only, 28 without any"),
        ("/status/badge.svg", "Ours: all good"),
        (f"/status/jobs/{job.id}/badge.svg", "Documents: good"),
    ):
        answer = admin.get(path)
        assert (answer.status_code, words in answer.text) == (200, True), path
        assert PASSWORD not in answer.text
    with here.database.reading() as rows:
        assert [each.id for each in publication.search(rows, "DOCU")] == [job.id]


def test_a_tolerance_that_is_chosen_is_judged_by_the_next_check(here: Site) -> None:
    now = utcnow()
    with here.database.writing() as rows:
        late = {"expected_at": now - timedelta(minutes=30), "until_at": now - timedelta(minutes=30)}
        job_id = factories.add_job(rows, "late", "late", now=now, **late).id
    for minutes, state in (("10", "overdue"), ("60", "late")):
        admin = here.administrator()
        assert admin.post("/settings/monitoring/tolerance", data={"minutes": minutes}).status_code == 302
        admin.post("/settings/monitoring/reminder", data={"reminder": "every_week"})
        stored_settings.settle(here.database, utcnow())
        checks.run(here.database, stored_settings.policy(here.database, here.settings), utcnow())
        with here.database.reading() as rows:
            assert rows.get_one(Job, job_id).state == state
