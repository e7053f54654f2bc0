"""Commands that root types beside services of another user leave nothing that these can't use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import ownership
from tests.processes import Veilleur

AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
# A careful administrator's umask, under which what root makes is closed to all others.
AS_ROOT = ("bash", "-c", 'umask 077; exec "$@"', "bash")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")


@pytest.fixture
def here() -> Iterator[Veilleur]:
    folder = Path(tempfile.mkdtemp(prefix="veilleur-owner-"))
    found = Veilleur(folder)
    found.instance.mkdir(mode=0o700)
    shutil.chown(folder, "nobody", "nogroup")
    shutil.chown(found.instance, "nobody", "nogroup")
    yield found
    shutil.rmtree(folder)


def typed(here: Veilleur, prefix: tuple[str, ...], *words: str) -> str:
    here.prefix = prefix
    done = here.finish("flask", *words)
    if prefix == AS_NOBODY and "No module named" in done.stderr:
        pytest.skip(f"another user can't read the program: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_whatever_root_types_first_the_services_can_go_on(here: Veilleur) -> None:
    typed(here, AS_ROOT, "interval", "30min")
    typed(here, AS_ROOT, "backup", "create")
    (archive,) = (here.instance / "backups").iterdir()
    typed(here, AS_ROOT, "backup", "restore", "--yes", str(archive))
    assert {each.owner() for each in here.instance.rglob("*")} == {"nobody"}
    typed(here, AS_NOBODY, "interval", "1hour")
    typed(here, AS_NOBODY, "backup", "create", str(here.folder / "another.tar.gz"))


def test_a_folder_of_archives_elsewhere_belongs_to_the_services_too(here: Veilleur, tmp_path: Path) -> None:
    here.settings["VEILLEUR_BACKUP_PATH"] = str(tmp_path / "archives")
    typed(here, AS_ROOT, "backup", "create")
    folder = tmp_path / "archives"
    assert {each.owner() for each in (folder, *folder.iterdir())} == {"nobody"}


def test_root_follows_no_link_and_gives_away_no_file_with_another_name(tmp_path: Path) -> None:
    shutil.chown(tmp_path, "nobody", "nogroup")
    secret = tmp_path / "secret"
    secret.touch()
    (tmp_path / "linked.lock").symlink_to(secret)
    (tmp_path / "named.lock").hardlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        ownership.open_lock(tmp_path / "linked.lock")
    os.close(ownership.open_lock(tmp_path / "named.lock"))
    assert secret.owner() == "root"
