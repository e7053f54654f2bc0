"""The `flask` commands: what they do, what they refuse and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import Result
from sqlalchemy import func, select, update

from app import accounts, interval
from app.clock import iso, utcnow
from app.db import Base
from app.models import Channel, Delivery, User, UserSession
from tests.processes import Veilleur
from tests.receivers import HttpReceiver, SmtpReceiver, ok, refused_port, status
from tests.stage import backup_body, send
from tests.web import PASSWORD, Site, log_in, site

OURS = ("backup", "channel", "check", "cron-start", "db", "demo", "interval", "key", "maintenance", "user")
NEW_PASSWORD = "a new and longer one"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def run(here: Site, *arguments: str, typed: str | None = None) -> Result:
    return here.app.test_cli_runner().invoke(args=list(arguments), input=typed)


def done(here: Site, *arguments: str, typed: str | None = None) -> str:
    result = run(here, *arguments, typed=typed)
    assert result.exit_code == 0, result.output
    return result.output


def refused(here: Site, *arguments: str, typed: str | None = None) -> str:
    """What a command says that fails: one clear line, and no stack trace."""
    result = run(here, *arguments, typed=typed)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


def command_of(here: Site, name: str) -> click.Command:
    found = here.app.cli.get_command(click.Context(here.app.cli), name)
    assert found is not None, name
    return found


def every_command(here: Site) -> Iterator[list[str]]:
    for name in OURS:
        command = command_of(here, name)
        yield [name]
        if isinstance(command, click.Group):
            yield from ([name, each] for each in command.commands)


def test_every_command_has_help(here: Site) -> None:
    for path in every_command(here):
        help_text = done(here, *path, "--help")
        described = help_text.split("\n\n")[1].strip()
        assert len(described.split()) >= 2, path
        assert not described.startswith("Options:"), path


def test_every_option_of_every_command_says_what_it_is_for(here: Site) -> None:
    for path in every_command(here):
        command = command_of(here, path[0])
        if len(path) > 1:
            assert isinstance(command, click.Group)
            command = command.commands[path[1]]
        for each in command.params:
            if isinstance(each, click.Option) and each.name != "role" and each.name != "scope":
                assert each.help, (path, each.name)


def test_the_commands_are_listed_by_the_real_flask(tmp_path: Path) -> None:
    finished = Veilleur(tmp_path).finish("flask", "--help")
    assert finished.returncode == 0
    for name in OURS:
        assert re.search(rf"^  {name} +\S", finished.stdout, re.MULTILINE), name


def test_the_real_flask_sets_shows_and_refuses_intervals(tmp_path: Path) -> None:
    instance = Veilleur(tmp_path)
    assert instance.finish("flask", "interval", "5min").returncode == 0
    assert json.loads((instance.instance / "cron.json").read_text())["interval"] == "5min"
    shown = instance.finish("flask", "interval")
    assert "5min (*/5 * * * *)" in shown.stdout
    wrong = instance.finish("flask", "interval", "7min")
    assert wrong.returncode == 2
    assert "'7min' is none of disabled, 1min, 5min" in wrong.stderr
    assert "Traceback" not in wrong.stderr


# interval


def test_the_interval_of_a_fresh_install_is_shown(here: Site) -> None:
    assert "20min (*/20 * * * *)" in done(here, "interval")


@pytest.mark.parametrize("value", interval.CRON_EXPRESSIONS)
def test_every_interval_can_be_set(here: Site, value: str) -> None:
    assert f"Check interval: {value} (was 20min)" in done(here, "interval", value)
    assert interval.read(here.interval_file).interval == value
    [entry] = here.audit("interval changed")
    assert (entry.before, entry.after) == ("20min", value)
    assert "command line" in entry.actor


def test_the_running_cron_service_is_told(tmp_path: Path) -> None:
    with HttpReceiver(ok(b"{}")) as service, site(tmp_path, CRON_SERVICE_URL=service.url) as here:
        assert "In force now." in done(here, "interval", "5min")
        assert service.requests[0].path == "/reload-config"


def test_without_the_cron_service_that_is_said(here: Site) -> None:
    assert "not running" in done(here, "interval", "5min")


def test_a_damaged_interval_file_is_told_with_its_repair(here: Site) -> None:
    here.interval_file.write_bytes(b"{")
    assert "flask interval 20min" in refused(here, "interval")
    done(here, "interval", "10min")
    assert interval.read(here.interval_file).interval == "10min"


def test_an_interval_that_can_not_be_written_is_told_and_leaves_no_trace(here: Site) -> None:
    here.interval_file.mkdir()
    assert "cron.json can't be written" in refused(here, "interval", "5min")
    assert here.audit("interval changed") == []


# users


def test_a_user_is_added_and_may_log_in(here: Site) -> None:
    assert "vera may log in as viewer." in done(here, "user", "add", "vera", "--password", PASSWORD)
    assert log_in(here.stranger(), "vera", PASSWORD).status_code == 200
    assert "vera\tviewer\tsince 20" in done(here, "user", "list")
    assert [each.target for each in here.audit("user added")] == ["vera"]


def test_the_password_is_asked_for_and_not_shown(here: Site) -> None:
    typed = f"{PASSWORD}\n{PASSWORD}\n"
    assert PASSWORD not in done(here, "user", "add", "anna", "--role", "administrator", typed=typed)
    assert log_in(here.stranger(), "anna", PASSWORD).json["user"]["role"] == "administrator"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["add", "no spaces", "--password", PASSWORD], "username: 1 to 80"),
        (["add", "", "--password", PASSWORD], "username: 1 to 80"),
        (["add", "a" * 81, "--password", PASSWORD], "username: 1 to 80"),
        (["add", "admin", "--password", PASSWORD], "username: admin exists already"),
        (["add", "vera", "--password", "short"], "password: 8 to 1000"),
        (["add", "vera", "--role", "king", "--password", PASSWORD], "--role"),
        (["password", "nobody", "--password", PASSWORD], "username: there is no user nobody"),
        (["password", "admin", "--password", "short"], "password: 8 to 1000"),
        (["remove", "nobody"], "username: there is no user nobody"),
        (["remove", "admin"], "username: admin is the last administrator"),
    ],
)
def test_a_refusal_names_the_field_and_changes_nothing(here: Site, arguments: list[str], named: str) -> None:
    assert named in refused(here, "user", *arguments)
    with here.database.reading() as rows:
        assert set(rows.scalars(select(User.username))) == {"admin", "viewer"}
    assert here.audit("user added") == here.audit("user removed") == here.audit("password changed") == []


def test_a_new_password_ends_all_sessions_and_opens_a_locked_account(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.passwords.time.sleep", lambda _seconds: None)
    admin = here.administrator()
    for _attempt in range(6):
        answer = log_in(here.stranger(), "admin", "wrong password")
    assert answer.status_code == 429
    done(here, "user", "password", "admin", "--password", NEW_PASSWORD)
    assert admin.get("/api/auth/me").status_code == 401
    assert log_in(here.stranger(), "admin", PASSWORD).status_code == 401
    assert log_in(here.stranger(), "admin", NEW_PASSWORD).status_code == 200


def test_a_removed_user_is_gone_with_their_sessions(here: Site) -> None:
    here.viewer()
    assert "viewer is removed." in done(here, "user", "remove", "viewer")
    with here.database.reading() as rows:
        assert rows.scalar(select(func.count()).select_from(UserSession)) == 0


# keys


def test_a_key_is_shown_once_works_and_can_be_revoked(here: Site) -> None:
    key = done(here, "key", "add", "the nas").splitlines()[0]
    body = backup_body(utcnow())
    assert here.stranger().post(f"/api/upload?api_key={key}", data=body).status_code == 200
    listed = done(here, "key", "list")
    assert key not in listed
    assert key[:8] in listed
    number = next(line.split("\t")[0] for line in listed.splitlines() if "the nas" in line)
    assert f"Key {number} is revoked." in done(here, "key", "revoke", number)
    assert here.stranger().post(f"/api/upload?api_key={key}", data=body).status_code == 401
    assert "revoked 20" in done(here, "key", "list")
    for action in ("key added", "key revoked"):
        assert len(here.audit(action)) == 1
        assert key not in str(vars(here.audit(action)[0]))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["add", ""], "label: 1 to 120"),
        (["add", "x" * 121], "label: 1 to 120"),
        (["add", "x", "--scope", "all"], "--scope"),
        (["revoke", "99"], "key: there is no valid key number 99"),
        (["revoke", "first"], "'first' is not a valid integer"),
    ],
)
def test_a_refused_key_names_the_field(here: Site, arguments: list[str], named: str) -> None:
    assert named in refused(here, "key", *arguments)


def test_a_key_can_not_be_revoked_twice(here: Site) -> None:
    done(here, "key", "revoke", "1")
    assert "no valid key number 1" in refused(here, "key", "revoke", "1")


# channels

SECRET = "tk_verysecrettoken123"


def test_a_webhook_is_added_tested_listed_and_removed(here: Site) -> None:
    with HttpReceiver() as receiver:
        told = done(here, "channel", "add", "webhook", "ops", f"url={receiver.url}/hook/{SECRET}")
        assert "The test message arrived" in told
        listed = done(here, "channel", "list")
        assert "ops\twebhook\ton\t" in listed
        assert "arrived" in done(here, "channel", "test", "ops")
        assert len(receiver.requests) == 2
        assert receiver.requests[0].path == f"/hook/{SECRET}"
        assert receiver.requests[0].json()
    assert "Removed ops." in done(here, "channel", "remove", "ops")
    assert done(here, "channel", "list") == ""
    traces = [str(vars(each)) for action in ("added", "removed") for each in here.audit(f"channel {action}")]
    assert len(traces) == 2
    assert SECRET not in told + listed + "".join(traces)


def test_a_mail_channel_is_added_and_sends_a_real_mail(here: Site) -> None:
    with SmtpReceiver() as receiver:
        settings = [
            "host=127.0.0.1",
            f"port={receiver.port}",
            "security=none",
            "from=veilleur@example.org",
            "to=ops@example.org",
        ]
        told = done(here, "channel", "add", "email", "mail", *settings)
    assert "arrived" in told
    assert receiver.mails[0].recipients == ["ops@example.org"]


def test_the_secrets_of_ntfy_are_masked(here: Site) -> None:
    with HttpReceiver(ok(b'{"id": "x"}')) as receiver:
        arguments = [f"server={receiver.url}", "topic=backups", f"token={SECRET}"]
        told = done(here, "channel", "add", "ntfy", "phone", *arguments)
        assert SECRET not in told + done(here, "channel", "list") + done(here, "channel", "test", "phone")
        assert receiver.requests[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_a_test_that_fails_is_told_and_the_channel_stays(here: Site) -> None:
    with refused_port() as port:
        line = refused(here, "channel", "add", "webhook", "ops", f"url=http://127.0.0.1:{port}/{SECRET}")
    assert "The test message did not arrive" in line
    assert SECRET not in line
    with HttpReceiver(status(500, b"no")) as receiver:
        done(here, "channel", "add", "webhook", "two", f"url={receiver.url}", "--no-test")
        assert receiver.requests == []
        assert "500" in refused(here, "channel", "test", "two")
    assert len(done(here, "channel", "list").splitlines()) == 2


def test_a_test_that_arrives_is_remembered_and_audited(here: Site) -> None:
    with HttpReceiver() as receiver:
        done(here, "channel", "add", "webhook", "ops", f"url={receiver.url}/{SECRET}", "--no-test")
        with here.database.reading() as rows:
            assert rows.scalars(select(Channel.tested_at)).one() is None
        done(here, "channel", "test", "ops")
    with here.database.reading() as rows:
        assert rows.scalars(select(Channel.tested_at)).one() is not None
    refused(here, "channel", "test", "ops")
    told = [each.after for each in here.audit("channel tested")]
    assert told == ["arrived: 200 OK", "failed: refused the connection"]
    with here.database.reading() as rows:
        assert rows.scalars(select(Channel.failing_since_at)).one() is not None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["add", "pigeon", "x"], "'pigeon' is not one of 'email', 'ntfy', 'webhook', 'apprise'"),
        (["add", "webhook", "x"], "url: "),
        (["add", "webhook", "x", "url"], "url: expected name=value"),
        (["add", "webhook", "x", "url=ftp://example.org"], "url: "),
        (["add", "webhook", "x", "url=http://127.0.0.1/", "colour=red"], "colour: no such setting"),
        (["add", "webhook", "", "url=http://127.0.0.1/"], "name: 1 to 120"),
        (["add", "webhook", "x" * 121, "url=http://127.0.0.1/"], "name: 1 to 120"),
        (["add", "email", "x", "host=mail"], ": "),
        (["test", "nothing"], "name: there is no channel nothing"),
        (["remove", "nothing"], "name: there is no channel nothing"),
    ],
)
def test_a_refused_channel_names_the_field_and_is_not_stored(
    here: Site, arguments: list[str], named: str
) -> None:
    assert named in refused(here, "channel", *arguments)
    with here.database.reading() as rows:
        assert rows.scalars(select(Channel)).all() == []


def test_a_name_is_taken_once(here: Site) -> None:
    add = ["channel", "add", "webhook", "ops", "url=http://127.0.0.1:1/", "--no-test"]
    done(here, *add)
    assert "name: there is a channel ops already" in refused(here, *add)
    assert "name: there is a channel ops already" in refused(
        here, *[each.replace("ops", " ops ") for each in add]
    )


def test_a_language_that_is_none_is_refused(here: Site) -> None:
    line = refused(
        here,
        "channel",
        "add",
        "webhook",
        "x",
        "url=http://127.0.0.1:1/",
        "--no-test",
        "--language",
        "klingonese",
    )
    assert "--language" in line


def test_the_help_of_channel_add_names_every_setting(here: Site) -> None:
    help_text = done(here, "channel", "add", "--help")
    for word in ("email:", "ntfy:", "webhook:", "apprise:", "url=", "to=", "topic="):
        assert word in help_text


ADD = ("channel", "add", "webhook")
NOWHERE = ("url=http://127.0.0.1:1/", "--no-test")


def test_a_fallback_is_set_shown_and_taken_away(here: Site) -> None:
    done(here, *ADD, "mail", *NOWHERE)
    done(here, *ADD, "phone", *NOWHERE)
    assert "phone stands in for mail" in done(here, "channel", "fallback", "mail", "phone")
    mail, phone = done(here, "channel", "list").splitlines()
    assert mail.endswith("\tfallback: phone")
    assert "fallback" not in phone
    line = refused(here, "channel", "fallback", "phone", "mail")
    assert "a channel can't stand in for itself: phone → mail → phone" in line
    assert "there is no channel pigeon" in refused(here, "channel", "fallback", "mail", "pigeon")
    assert "mail has no fallback" in done(here, "channel", "fallback", "mail", "none")
    assert "fallback" not in done(here, "channel", "list")
    traces = [(each.target, each.before, each.after) for each in here.audit("channel fallback")]
    assert traces == [("mail", "none", "phone"), ("mail", "phone", "none")]


def test_the_list_shows_what_fails_and_a_retry_sends_it_again(here: Site) -> None:
    done(here, *ADD, "ops", *NOWHERE)
    send(here.database, backup_body(utcnow() - timedelta(days=3)), utcnow() - timedelta(days=3))
    done(here, "check")
    failed_at = datetime(2026, 12, 1, 12, tzinfo=UTC)
    with here.database.writing() as rows:
        rows.execute(update(Channel).values(failing_since_at=failed_at, last_error="answered 500"))
        rows.execute(
            update(Delivery).values(
                status="given_up", finished_at=utcnow(), next_attempt_at=None, attempts=12
            )
        )
    listed = done(here, "channel", "list")
    assert "\tfailing since 2026-12-01T12:00:00Z: answered 500\tgiven up in the last 7 days: 1" in listed
    assert "ops: 1 that were given up are sent again, 0 that waited" in done(here, "channel", "retry", "ops")
    assert "\twaiting: 1" in done(here, "channel", "list")
    assert "ops: 0 that were given up" in done(here, "channel", "retry", "ops", "--days", "30")
    assert [each.after for each in here.audit("channel retried")] == [
        "1 given up, 0 waiting",
        "0 given up, 0 waiting",
    ]


def test_a_channel_is_switched_off_and_on(here: Site) -> None:
    done(here, *ADD, "ops", *NOWHERE)
    assert "ops is off." in done(here, "channel", "disable", "ops")
    assert "ops\twebhook\toff\t" in done(here, "channel", "list")
    assert "ops is on." in done(here, "channel", "enable", "ops")
    assert len(here.audit("channel disabled")) == len(here.audit("channel enabled")) == 1


# check


def contents(here: Site) -> dict[str, int]:
    with here.database.reading() as rows:
        tables = Base.metadata.sorted_tables
        return {each.name: rows.scalar(select(func.count()).select_from(each)) or 0 for each in tables}


@pytest.fixture
def watched(here: Site) -> Site:
    """A job whose backup ended an hour ago, and a channel to tell about it."""
    done(here, "channel", "add", "webhook", "ops", "url=http://127.0.0.1:1/", "--no-test")
    send(here.database, backup_body(utcnow() - timedelta(hours=1)), utcnow())
    return here


def test_a_look_ahead_tells_what_would_be_overdue_and_stores_nothing(watched: Site) -> None:
    before = contents(watched)
    in_three_days = iso(utcnow() + timedelta(days=3)) or ""
    told = done(watched, "check", "--at", in_three_days, "--dry-run")
    assert f"At {in_three_days}, if no report came: 1 overdue." in told
    assert "Documents nightly on nas: expected 20" in told
    assert "last good backup 20" in told
    assert contents(watched) == before


def test_a_dry_run_for_now_finds_nothing_overdue(watched: Site) -> None:
    before = contents(watched)
    assert ": 0 overdue." in done(watched, "check", "--dry-run")
    assert contents(watched) == before


def test_a_check_tells_what_it_did(watched: Site) -> None:
    assert "Checked 1 of 1 jobs: 0 overdue, 0 alerts" in done(watched, "check")


def test_a_check_records_alerts_for_the_cron_service_to_deliver(here: Site) -> None:
    done(here, "channel", "add", "webhook", "ops", "url=http://127.0.0.1:1/", "--no-test")
    send(here.database, backup_body(utcnow() - timedelta(days=3)), utcnow() - timedelta(days=3))
    assert "1 overdue, 1 alerts recorded" in done(here, "check")
    assert contents(here)["delivery"] == 1


@pytest.mark.parametrize("moment", ["tomorrow", "2026-12-01", "2026-12-01T02:00", "2026-13-01T02:00Z", ""])
def test_a_moment_that_can_not_be_read_is_named(here: Site, moment: str) -> None:
    line = refused(here, "check", "--dry-run", "--at", moment)
    assert "--at" in line
    assert repr(moment) in line


def test_a_look_at_another_time_needs_the_dry_run(here: Site) -> None:
    assert "add --dry-run" in refused(here, "check", "--at", "2026-12-01T02:00Z")


def test_the_database_can_be_brought_up_to_date_again_and_again(here: Site) -> None:
    assert "newest schema" in done(here, "db", "upgrade")


def test_the_hashes_of_accounts_are_never_listed(here: Site) -> None:
    with here.database.reading() as rows:
        hashes = list(rows.scalars(select(User.password_hash)))
    assert not any(each in done(here, "user", "list") for each in hashes)
    assert accounts.digest(here.upload_key) not in done(here, "key", "list")


def test_numbers_too_large_for_a_database_are_refused_in_one_line(here: Site) -> None:
    huge = str(2**63)
    times = ("--from", "2026-12-01T20:00Z", "--until", "2026-12-02T06:00Z")
    for words in (
        ("key", "revoke", huge),
        ("maintenance", "remove", huge),
        ("maintenance", "once", "w", *times, "--job", huge),
    ):
        assert "is not in the range" in refused(here, *words)


def test_a_maintenance_window_needs_a_name(here: Site) -> None:
    times = ("--from", "2026-12-01T20:00Z", "--until", "2026-12-02T06:00Z")
    assert refused(here, "maintenance", "once", " \n", *times) == "Error: name: 1 to 120 characters"


def test_a_file_that_holds_no_passphrase_is_refused_in_one_line(here: Site, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff" * 32)
    told = refused(here, "backup", "create", "--passphrase-file", str(tmp_path / "key"))
    assert told == f"Error: No archive was made: {tmp_path / 'key'} holds no text in UTF-8"
