"""First start and settings: made once, kept safe, and every wrong value named."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from app import installation
from app.clock import utcnow
from app.installation import FirstStart
from app.settings import SETTINGS, SettingError, Settings, load
from tests import databases


def _settings(folder: Path, **more: str) -> Settings:
    instance = folder / "instance"
    return load({"VEILLEUR_INSTANCE_PATH": str(instance), **databases.environ_of(instance), **more})


def test_the_first_start_makes_folder_secrets_password_and_key_once(tmp_path: Path) -> None:
    complete, first = installation.prepare(_settings(tmp_path), utcnow())
    assert first is not None
    assert first.password
    assert first.upload_key.startswith("vk_")
    folder = tmp_path / "instance"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600
    stored = json.loads((folder / "secrets.json").read_text())
    assert (complete.secret_key, complete.cron_token) == (stored["secretKey"], stored["cronToken"])
    again, second = installation.prepare(_settings(tmp_path), utcnow())
    assert second is None
    assert again == complete


def test_a_folder_that_a_checkout_brought_along_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    folder.mkdir(mode=0o755)
    installation.prepare(_settings(tmp_path), utcnow())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_from_the_environment_win(tmp_path: Path) -> None:
    given = {
        "VEILLEUR_SECRET_KEY": "s" * 32,
        "VEILLEUR_CRON_TOKEN": "t" * 32,
        "VEILLEUR_ADMIN_PASSWORD": "long enough",
    }
    complete, first = installation.prepare(_settings(tmp_path, **given), utcnow())
    assert (complete.secret_key, complete.cron_token) == ("s" * 32, "t" * 32)
    assert first is not None
    assert first.password is None


def _start(folder: str, told: multiprocessing.SimpleQueue[FirstStart | None]) -> None:
    told.put(installation.prepare(_settings(Path(folder)), utcnow())[1])


def test_of_two_processes_that_start_together_one_is_told_the_password(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    processes = [context.Process(target=_start, args=(str(tmp_path), told)) for _ in range(3)]
    for each in processes:
        each.start()
    answers = [told.get() for _ in processes]
    for each in processes:
        each.join(30)
    assert [each.exitcode for each in processes] == [0, 0, 0]
    assert sum(each is not None for each in answers) == 1


def test_damaged_secrets_are_named_and_not_replaced(tmp_path: Path) -> None:
    installation.prepare(_settings(tmp_path), utcnow())
    secrets = tmp_path / "instance" / "secrets.json"
    secrets.write_text('{"secretKey": ')
    with pytest.raises(SettingError, match=r"secrets\.json is damaged"):
        installation.prepare(_settings(tmp_path), utcnow())
    assert secrets.read_text() == '{"secretKey": '


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("")
    with pytest.raises(SettingError, match="VEILLEUR_INSTANCE_PATH"):
        installation.prepare(_settings(tmp_path), utcnow())


def test_defaults_are_as_promised() -> None:
    settings = load({})
    assert (settings.host, settings.port, settings.cron_port) == ("127.0.0.1", 9666, 9667)
    assert settings.cron_service_url == "http://127.0.0.1:9667"
    assert (settings.tolerance_seconds, settings.reminder) == (3600, "every_day")
    assert load({"PORT": "8000"}).cron_service_url == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "96x6"),
        ("PORT", "65535"),
        ("CRON_SERVICE_URL", "ftp://x"),
        ("VEILLEUR_CRON_PEERS", "http://127.0.0.1:9667 ftp://x"),
        ("VEILLEUR_PUBLIC_READS", "False"),
        ("VEILLEUR_REMINDER", "hourly"),
        ("VEILLEUR_TIMEZONE", "Mars/Base"),
        ("VEILLEUR_DATABASE_URL", "mysql://x"),
        ("VEILLEUR_SECRET_KEY", "short"),
        ("VEILLEUR_ADMIN_PASSWORD", "1234567"),
        ("VEILLEUR_TOLERANCE_SECONDS", "-1"),
        ("VEILLEUR_PUBLIC_URL", "backup.example.org"),
        ("VEILLEUR_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"^{variable}: "):
        load({variable: value})


def test_a_secret_is_never_repeated_in_an_error() -> None:
    with pytest.raises(SettingError) as problem:
        load({"VEILLEUR_ADMIN_PASSWORD": "hunter2"})
    assert "hunter2" not in str(problem.value)


def test_every_setting_is_listed_once() -> None:
    assert len({each.variable for each in SETTINGS}) == len(SETTINGS)
    assert {each.field for each in SETTINGS} | {"given"} == set(Settings.__dataclass_fields__)
