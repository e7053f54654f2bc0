"""The main job, whole: a report comes in, its job falls silent and is told once, then its return once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import update

from app.models import Heartbeat, Job
from tests import nginx, receivers
from tests.processes import PASSWORD, Process, Veilleur, until
from tests.stage import backup_body

DAY = timedelta(days=1)


@pytest.fixture
def veilleur(tmp_path: Path) -> Veilleur:
    return Veilleur(tmp_path, {"VEILLEUR_TRUSTED_PROXIES": "1"})


@contextlib.contextmanager
def _all_running(veilleur: Veilleur) -> Iterator[tuple[str, Process]]:
    with veilleur.web(), veilleur.cron() as cron, nginx.running(veilleur) as front:
        yield front.addresses["http"].rstrip("/"), cron


def _administrator(address: str) -> requests.Session:
    session = requests.Session()
    answer = session.post(
        f"{address}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    session.headers["X-CSRF-Token"] = answer.json()["csrfToken"]
    return session


def _upload(address: str, key: str, body: bytes) -> dict[str, object]:
    answer = requests.post(
        f"{address}/api/upload?api_key={key}",
        data=body,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


def _check(session: requests.Session, address: str) -> dict[str, int]:
    answer = session.post(f"{address}/api/cron/trigger/overdue-backup-check", timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    statistics: dict[str, int] = answer.json()["statistics"]
    return statistics


def _add_channels(veilleur: Veilleur, http: receivers.HttpReceiver, smtp: receivers.SmtpReceiver) -> None:
    pairs = ["host=127.0.0.1", f"port={smtp.port}", "security=none", "from=v@a.example", "to=ops@b.example"]
    for arguments in (
        ["webhook", "hook", f"url={http.url}"],
        ["email", "mail", *pairs],
    ):
        done = veilleur.finish("flask", "channel", "add", *arguments)
        assert done.returncode == 0, done.stderr
        assert "The test message arrived" in done.stdout


def test_a_silent_job_is_told_once_and_its_return_once(veilleur: Veilleur) -> None:
    with (
        _all_running(veilleur) as (address, cron),
        receivers.HttpReceiver() as http,
        receivers.SmtpReceiver() as smtp,
    ):
        _add_channels(veilleur, http, smtp)
        tests_sent = len(http.requests)
        assert (tests_sent, len(smtp.mails)) == (1, 1)
        admin, key = _administrator(address), veilleur.upload_key()
        # So that hardly ever a check of its own comes before the one that is counted.
        assert admin.post(f"{address}/api/cron-config", json={"interval": "2hours"}, timeout=30).ok
        now = datetime.now(UTC)

        silent = backup_body(now - 3 * DAY, machine=None)
        assert _upload(address, key, silent) == {"success": True}
        assert _upload(address, key, silent) == {"success": True, "duplicate": True}
        found = _check(admin, address)
        assert found == {
            "totalBackupConfigs": 1,
            "checkedBackups": 1,
            "overdueBackupsFound": 1,
            "notificationsSent": 2,
        }
        assert _check(admin, address)["notificationsSent"] == 0
        assert [each.json()["kind"] for each in http.requests[tests_sent:]] == ["overdue"]
        assert len(smtp.mails) == 2

        assert _upload(address, key, backup_body(now, machine=None)) == {"success": True}
        until(lambda: len(http.requests) == 3 and len(smtp.mails) == 3, "the recovery")
        assert _check(admin, address)["overdueBackupsFound"] == 0
        assert cron.stop() == 0
        kinds = [each.json()["kind"] for each in http.requests]
        assert kinds == ["test", "overdue", "recovered"]
        subjects = [str(each.message["Subject"]) for each in smtp.mails]
        assert subjects[1].startswith("Overdue: Documents nightly")
        assert subjects[2].startswith("Recovered: Documents nightly")


HOUR = timedelta(hours=1)


def test_after_a_night_without_power_one_digest_comes_first_and_then_the_alert(tmp_path: Path) -> None:
    """Expected two hours ago, while Veilleur was down for three: unverified, and overdue after the credit."""
    veilleur = Veilleur(tmp_path, {"VEILLEUR_DOWNTIME_CREDIT_SECONDS": "7200", "VEILLEUR_GROUP_LIMIT": "1"})
    now = datetime.now(UTC)
    with receivers.HttpReceiver() as http:
        with veilleur.web():
            key = veilleur.upload_key()
            for name in ("Photos", "Mail", "Documents"):
                body = backup_body(now - 26 * HOUR, name=name, next_at=now - 2 * HOUR)
                assert _upload(veilleur.url, key, body) == {"success": True}
            done = veilleur.finish(
                "flask", "channel", "add", "webhook", "hook", f"url={http.url}", "--no-test"
            )
            assert done.returncode == 0, done.stderr
        database = veilleur.database()
        with database.writing() as rows:
            rows.execute(update(Heartbeat).values(beat_at=now - 3 * HOUR))
        database.dispose()
        with veilleur.web(), veilleur.cron():
            admin = _administrator(veilleur.url)
            assert _check(admin, veilleur.url)["overdueBackupsFound"] == 0
            until(lambda: len(http.requests) == 1, "the digest")
            assert "unverified: Veilleur could not take reports from" in admin.get(f"{veilleur.url}/").text
            assert _upload(veilleur.url, key, backup_body(now, name="Mail")) == {"success": True}
        # As if the credit were used up by now.
        veilleur.settings["VEILLEUR_DOWNTIME_CREDIT_SECONDS"] = "0"
        with veilleur.web(), veilleur.cron():
            database = veilleur.database()
            with database.writing() as rows:
                rows.execute(update(Job).where(Job.state == "late").values(attention_at=now))
            database.dispose()
            admin = _administrator(veilleur.url)
            assert _check(admin, veilleur.url)["overdueBackupsFound"] == 2
            until(lambda: len(http.requests) == 2, "the alert")
    told = [each.json() for each in http.requests]
    assert [each["title"] for each in told] == [
        "Veilleur was away: 3 backups are unverified",
        "Overdue: 2 backups on nas",
    ]
    assert told[0]["body"].count("on nas; expected ") == 3
    assert "- Mail" not in told[1]["body"]


def test_a_saved_interval_is_in_force_in_the_running_service_at_once(veilleur: Veilleur) -> None:
    with _all_running(veilleur) as (address, _cron):
        admin = _administrator(address)
        for wanted in ("1min", "2hours", "disabled", "5min"):
            saved = admin.post(f"{address}/api/cron-config", json={"interval": wanted}, timeout=30)
            assert saved.json() == {"success": True}
            health = requests.get(f"{address}/api/cron/health", timeout=30).json()
            assert health["interval"] == wanted
            assert ("overdue-backup-check" in health["activeTasks"]) == (wanted != "disabled")
        done = veilleur.finish("flask", "interval", "10min")
        assert "In force now" in done.stdout
        assert requests.get(f"{address}/api/cron-config", timeout=30).json() == {
            "cronExpression": "*/10 * * * *",
            "enabled": True,
        }


def test_a_file_changed_by_hand_is_seen_without_a_restart(veilleur: Veilleur) -> None:
    with veilleur.web(), veilleur.cron():
        (veilleur.instance / "cron.json").write_text('{"interval": "30min"}')
        until(
            lambda: requests.get(f"{veilleur.url}/api/cron/health", timeout=30).json()["interval"] == "30min",
            "the service to see the file",
        )


def test_without_the_cron_service_the_proxy_says_how_to_start_it(veilleur: Veilleur) -> None:
    with veilleur.web():
        answer = requests.get(f"{veilleur.url}/api/cron/health", timeout=30)
    assert answer.status_code == 503
    assert answer.json() == {
        "error": "Cron service is not running",
        "message": "The cron service is not available. Please start it with: flask cron-start",
    }
