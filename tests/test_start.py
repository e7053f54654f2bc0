"""Starting and stopping: both processes, the words of the first start, wrong settings, the Procfile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from app import welcome
from app.installation import FirstStart
from app.settings import load
from app.welcome import listening_at, reached_at
from tests.conftest import CHECKOUT
from tests.processes import PASSWORD, Process, Veilleur, is_listening, started, until


@pytest.fixture
def veilleur(tmp_path: Path) -> Veilleur:
    return Veilleur(tmp_path)


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=30)


# --- both processes


def test_web_and_cron_start_together_on_an_empty_folder_and_find_each_other(veilleur: Veilleur) -> None:
    with veilleur.run("gunicorn", "wsgi:app", name="web") as web, veilleur.cron() as cron:
        until(lambda: is_listening(veilleur.port), "the web application")
        assert get(f"{veilleur.url}/api/ping").status_code == 200
        assert get(f"{veilleur.url}/api/cron/health").json()["isRunning"] is True
        until(lambda: "Veilleur listens on" in web.output, "the line that says where")
        assert f"Veilleur listens on http://127.0.0.1:{veilleur.port}\n" in web.output
        assert (web.output + cron.output).count("--send-http-json-urls=") == 1
    assert stat.S_IMODE(veilleur.instance.stat().st_mode) == 0o700
    assert stat.S_IMODE((veilleur.instance / "secrets.json").stat().st_mode) == 0o600


def test_the_printed_key_is_taken_and_the_password_works(veilleur: Veilleur) -> None:
    with veilleur.web():
        upload = f"{veilleur.url}/api/upload?api_key={veilleur.upload_key()}"
        assert requests.post(upload, data=b"{}", timeout=30).status_code == 400
        assert requests.post(upload + "x", data=b"{}", timeout=30).status_code == 401
        login = requests.post(
            f"{veilleur.url}/api/auth/login", json={"username": "admin", "password": PASSWORD}, timeout=30
        )
        assert login.status_code == 200


def test_a_second_start_says_nothing_of_keys_and_passwords(veilleur: Veilleur) -> None:
    veilleur.settings["VEILLEUR_ADMIN_PASSWORD"] = ""
    first = veilleur.finish("flask", "interval")
    second = veilleur.finish("flask", "interval")
    assert "(shown only now)" in first.stdout
    assert "api_key=" in first.stdout
    assert "shown only" not in second.stdout
    assert "api_key" not in second.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("which", ["web", "cron"])
def test_a_process_told_to_stop_ends_well_and_leaves_nothing(
    veilleur: Veilleur, which: str, number: int
) -> None:
    with getattr(veilleur, which)() as process:
        assert process.stop(number) == 0
        until(process.group_is_gone, "the whole group to end")
        assert "Traceback" not in process.output


def test_gunicorn_opens_no_socket_in_the_home_folder(veilleur: Veilleur) -> None:
    told = veilleur.finish("gunicorn", "--print-config", "wsgi:app").stdout
    config = dict(line.split("=", 1) for line in told.splitlines() if " = " in line)
    told_of_it = {key.strip(): value.strip() for key, value in config.items()}
    assert told_of_it["control_socket_disable"] == "True"


def test_workers_have_connections_of_their_own_after_the_fork(veilleur: Veilleur) -> None:
    veilleur.settings["VEILLEUR_WEB_WORKERS"] = "2"
    with veilleur.web():
        for _ in range(20):
            assert get(f"{veilleur.url}/api/auth/me").status_code == 401
    database = veilleur.database()
    if database.is_sqlite:
        with database.reading() as rows:
            assert rows.scalar(text("PRAGMA integrity_check")) == "ok"
    database.dispose()


def test_a_forwarded_scheme_is_not_believed_without_a_trusted_proxy(veilleur: Veilleur) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-For": "203.0.113.9"}
    with veilleur.web():
        answer = requests.get(f"{veilleur.url}/api/csrf", headers=told, timeout=30)
    assert "session" in answer.headers["Set-Cookie"]
    assert "Secure" not in answer.headers["Set-Cookie"]


# --- what is wrong is said in one line


WRONG = [
    ("PORT", "abc"),
    ("VEILLEUR_TIMEZONE", "Mars/Olympus"),
    ("VEILLEUR_WEB_WORKERS", "0"),
    ("VEILLEUR_PUBLIC_READS", "False"),
    ("VEILLEUR_DATABASE_URL", "mysql://x"),
    ("VEILLEUR_INSTANCE_PATH", "/proc/nowhere"),
]


@pytest.mark.one_database("refused before any database is looked for")
@pytest.mark.parametrize(("variable", "value"), WRONG)
@pytest.mark.parametrize("command", [("gunicorn", "wsgi:app"), ("flask", "cron-start")])
def test_a_wrong_setting_stops_the_process_with_one_line_that_names_it(
    veilleur: Veilleur, command: tuple[str, ...], variable: str, value: str
) -> None:
    veilleur.settings[variable] = value
    done = veilleur.finish(*command)
    assert done.returncode == 1
    assert done.stderr.startswith(f"veilleur: {variable}: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_secret_that_is_too_short_is_not_repeated(veilleur: Veilleur) -> None:
    veilleur.settings["VEILLEUR_SECRET_KEY"] = "hush-hush"
    done = veilleur.finish("gunicorn", "wsgi:app")
    assert done.returncode == 1
    assert "VEILLEUR_SECRET_KEY" in done.stderr
    assert "hush-hush" not in done.stderr


def test_a_database_that_is_not_there_is_said_in_one_line(veilleur: Veilleur, free_port: int) -> None:
    veilleur.settings["VEILLEUR_DATABASE_URL"] = f"postgresql+psycopg://v@127.0.0.1:{free_port}/v"
    done = veilleur.finish("flask", "cron-start")
    assert done.returncode == 1
    assert done.stderr.startswith("veilleur: VEILLEUR_DATABASE_URL: ")
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_ends_the_second_web_application(veilleur: Veilleur, tmp_path: Path) -> None:
    second = Veilleur(tmp_path / "second", port=veilleur.port)
    second.folder.mkdir()
    with veilleur.web():
        done = second.finish("gunicorn", "wsgi:app")
        assert done.returncode != 0
        assert "in use" in done.stderr
        assert get(f"{veilleur.url}/api/ping").status_code == 200


SLOW_BIRTH = """
exec(open("gunicorn.conf.py").read())
_theirs = post_fork
def post_fork(server, worker):
    _theirs(server, worker)
    open({mark!r}, "a").close()
    __import__("time").sleep(1)
"""


def test_connections_that_bring_nothing_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    here = Veilleur(tmp_path)
    with here.web() as web, contextlib.ExitStack() as idle:
        for _number in range(4):
            idle.enter_context(socket.create_connection(("127.0.0.1", here.port)))
        # When this one is answered, those before it were put aside to where they cost no thread.
        assert requests.get(f"{here.url}/api/ping", timeout=30).ok
        os.kill(web.child.pid, signal.SIGTERM)
        until(lambda: web.child.poll() is not None, "the end", seconds=25)
        assert web.child.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_that_is_just_being_born_hears_the_stop_signal(
    veilleur: Veilleur, tmp_path: Path, number: int
) -> None:
    mark, config = tmp_path / "born", tmp_path / "slow.conf.py"
    config.write_text(SLOW_BIRTH.format(mark=str(mark)))
    with veilleur.run("gunicorn", "-c", str(config), "wsgi:app", name="web") as web:
        until(mark.exists, "the first worker")
        os.killpg(web.child.pid, number)
        # The one that hears nothing is killed after its whole grace time, which honcho does not wait for.
        assert web.child.wait(25) == 0


# --- the Procfile, as `make run` starts it


# A busy machine may take longer than the 5 s after which honcho kills what it has told to stop.
PATIENT_HONCHO = """
from honcho import command, manager
manager.KILL_WAIT = 40
command.main()
"""


def procfile(veilleur: Veilleur, *arguments: str) -> list[str]:
    return [sys.executable, "-c", PATIENT_HONCHO, "start", "--no-colour", *arguments]


@pytest.fixture
def on_path(veilleur: Veilleur) -> Veilleur:
    """The Procfile names its programs; the ones beside this Python are meant."""
    veilleur.settings |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CRON_PORT": "",
        "PORT": "",
    }
    return veilleur


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_procfile_keeps_the_port_and_one_interrupt_ends_both(
    on_path: Veilleur, number: int, status: int
) -> None:
    port = on_path.port
    command = procfile(on_path, "-p", str(port))
    environ = {key: value for key, value in on_path.environ.items() if value}
    with started(command, on_path.folder / "honcho.log", environ) as both:
        until(lambda: is_listening(port) and is_listening(port + 1), "both processes")
        until(lambda: get(f"http://127.0.0.1:{port}/api/cron/health").status_code == 200, "the cron service")
        assert both.stop(number) == status
        assert not is_listening(port)
        assert not is_listening(port + 1)
        assert _stopped(both) == {"web.1 stopped (rc=0)", "cron.1 stopped (rc=0)"}


def _stopped(both: Process) -> set[str]:
    return {line.split("| ", 1)[1] for line in both.output.splitlines() if " stopped (rc=" in line}


def test_make_run_starts_at_the_documented_port() -> None:
    # The tests may themselves be run by make, which would talk to this one through the environment.
    theirs = ("PORT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environ = {key: value for key, value in os.environ.items() if key not in theirs}
    plan = subprocess.run(
        ["make", "--dry-run", "run"], cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=True
    )
    assert plan.stdout.splitlines()[-1].endswith("honcho start -p 9666")
    assert load({}).port == 9666


# --- the words of the first start


def test_the_first_start_tells_address_password_and_options() -> None:
    settings = load({"VEILLEUR_PUBLIC_URL": "https://example.org/veilleur/"})
    told = welcome.text(settings, FirstStart("s3cret", "vk_abc"))
    assert "https://example.org/veilleur  as admin" in told
    assert "s3cret" in told
    assert "    --send-http-json-urls=https://example.org/veilleur/api/upload?api_key=vk_abc\n" in told
    assert "    --send-http-url=https://example.org/veilleur/api/upload?api_key=vk_abc\n" in told
    assert "    --send-http-result-output-format=Json\n" in told


def test_a_password_from_the_environment_is_not_shown() -> None:
    told = welcome.text(load({"VEILLEUR_ADMIN_PASSWORD": "s3cret-s3cret"}), FirstStart(None, "vk_abc"))
    assert "s3cret" not in told
    assert "VEILLEUR_ADMIN_PASSWORD" in told


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "http://127.0.0.1:9666"), ("::1", "http://[::1]:9666")]
)
def test_an_address_is_written_as_a_browser_takes_it(host: str, address: str) -> None:
    settings = load({"HOST": host})
    assert listening_at(settings) == address
    assert reached_at(settings) == address


def test_every_address_is_not_given_to_people() -> None:
    assert "0.0.0.0" not in reached_at(load({"HOST": "0.0.0.0"}))


def test_a_command_line_in_another_encoding_is_refused_in_one_line(veilleur: Veilleur) -> None:
    done = veilleur.finish("flask", "key", "add", "caf\udce9")
    assert done.returncode == 1
    assert done.stderr == "veilleur: the command line is no text in UTF-8\n"
