"""`flask backup`: archives of this installation, which a user's backup jobs have nothing to do with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from app import clock
from app.archive import keeping, making, reading, restoring, sealing
from app.archive.problems import ArchiveError, WrongPassphrase
from app.archive.reading import Proved
from app.archive.restoring import Restore
from app.commands.trace import settings, who
from app.installation import InstallationInUse
from app.version import VERSION

MINIMUM_PASSPHRASE = 16

backup = AppGroup("backup", help="Archives of this installation: database, interval and secrets.")

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


def _passphrase_options(command: Callable[..., Any]) -> Callable[..., Any]:
    from_file = click.option(
        "--passphrase-file",
        type=_EXISTING,
        help="Read the passphrase from this file; else VEILLEUR_BACKUP_PASSPHRASE holds it.",
    )
    asked = click.option("--ask-passphrase", is_flag=True, help="Type the passphrase.")
    return from_file(asked(command))


def _passphrase(from_file: Path | None, ask: bool, *, confirm: bool = False) -> str | None:
    if from_file:
        try:
            return from_file.read_text().strip()
        except UnicodeDecodeError:
            raise ArchiveError(f"{from_file} holds no text in UTF-8") from None
    if ask:
        typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)
        return typed.strip()
    return settings().backup_passphrase or None


def _passphrase_to_open(path: Path, from_file: Path | None, ask: bool) -> str | None:
    given = _passphrase(from_file, ask)
    if given is None and sys.stdin.isatty() and sealing.is_encrypted(path):
        return _passphrase(None, True)
    return given


@contextlib.contextmanager
def _plain_words(what: str) -> Iterator[None]:
    try:
        yield
    except WrongPassphrase as problem:
        raise click.ClickException(
            f"{what}: {problem} (VEILLEUR_BACKUP_PASSPHRASE, --passphrase-file or --ask-passphrase)"
        ) from None
    except (ArchiveError, InstallationInUse) as problem:
        raise click.ClickException(f"{what}: {problem}") from None
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        raise click.ClickException(f"{what}: {where}{problem.strerror or problem}") from None


@backup.command(
    "create", help="Make an archive now, while everything runs; by default beside the daily ones."
)
@click.argument("file", type=_FILE, required=False)
@_passphrase_options
def create(file: Path | None, passphrase_file: Path | None, ask_passphrase: bool) -> None:
    now = clock.utcnow()
    with _plain_words("No archive was made"):
        passphrase = _passphrase(passphrase_file, ask_passphrase, confirm=True)
        if passphrase is not None and len(passphrase) < MINIMUM_PASSPHRASE:
            raise ArchiveError(
                f"the passphrase is too short; expected at least {MINIMUM_PASSPHRASE} characters"
            )
        name = keeping.name_for(now, encrypted=bool(passphrase))
        target = file.absolute() if file else keeping.folder_of(settings()) / name
        made = making.create(settings(), target, passphrase=passphrase, version=VERSION, now=now)
    click.echo(
        f"{made.path}: {_size(made.size_bytes)}, {made.content.jobs} jobs, {made.content.reports} reports, "
        f"{'encrypted' if passphrase else 'not encrypted; it holds password hashes and channel secrets'}."
    )


@backup.command("list", help="Show the archives in VEILLEUR_BACKUP_PATH, the newest first.")
def list_archives() -> None:
    folder = keeping.folder_of(settings())
    with _plain_words("The archives can't be listed"):
        found = keeping.kept(folder)
    if not found:
        click.echo(f"There is no archive in {folder}.")
    for each in found:
        click.echo(f"{each.path}\t{_size(each.size_bytes)}\t{'encrypted' if each.is_encrypted else 'plain'}")


@backup.command("verify", help="Read an archive to its end and prove that it would restore.")
@click.argument("file", type=_EXISTING)
@_passphrase_options
def verify(file: Path, passphrase_file: Path | None, ask_passphrase: bool) -> None:
    with _plain_words(f"{file} can't be restored"):
        proved = reading.verify(file, _passphrase_to_open(file, passphrase_file, ask_passphrase))
        encrypted = "yes" if sealing.is_encrypted(file) else "no"
    _show(proved, encrypted)


def _show(proved: Proved, encrypted: str) -> None:
    manifest, content = proved.manifest, proved.content
    rows = {
        "made at": manifest.created_at,
        "Veilleur": manifest.version,
        "encrypted": encrypted,
        "database": f"{manifest.database}, sound",
        "schema": f"{content.schema_revision}, known",
        "jobs": content.jobs,
        "reports": content.reports,
        "newest report": content.newest_report_at or "none",
        **{each.name: f"{_size(each.size_bytes)}, checksum right" for each in manifest.files},
    }
    for name, value in rows.items():
        click.echo(f"{name:<14} {value}")


@backup.command("restore", help="Put an archive in the place of this installation; stop web and cron first.")
@click.argument("file", type=_EXISTING)
@_passphrase_options
@click.option("--yes", is_flag=True, help="Do not ask, for scripts.")
def restore(file: Path, passphrase_file: Path | None, ask_passphrase: bool, yes: bool) -> None:
    with _plain_words(f"{file} was not restored"):
        passphrase = _passphrase_to_open(file, passphrase_file, ask_passphrase)
        now = clock.utcnow()
        with restoring.prepared(settings(), file, passphrase, actor=who(), now=now) as ready:
            _tell_what_is_lost(ready)
            if ready.overwrites and not yes:
                click.confirm("Go on?", abort=True)
            done = ready.carry_out()
    content = ready.archived
    click.echo(
        f"Restored: {content.jobs} jobs, {content.reports} reports. "
        "Start the web application and the cron service."
    )
    click.echo(
        "Everybody has to log in anew. Passwords and keys are those of the archive: "
        "revoke again what was revoked since."
    )
    if done.aside:
        click.echo(f"What was there before is in {done.aside}; delete it when you are content.")
    if done.aside_schema:
        click.echo(
            f"The tables from before are in schema {done.aside_schema}; DROP SCHEMA … CASCADE deletes them."
        )


def _tell_what_is_lost(ready: Restore) -> None:
    click.echo(
        f"The archive of {ready.manifest.created_at} holds "
        f"{ready.archived.jobs} jobs, {ready.archived.reports} reports."
    )
    if not ready.overwrites:
        click.echo("Nothing is there yet.")
        return
    current = ready.current
    if current is None:
        click.echo("What the database holds now can't be told.")
    else:
        newest = f", the newest of {current.newest_report_at}" if current.newest_report_at else ""
        click.echo(f"There are now {current.jobs} jobs, {current.reports} reports{newest}.")
    click.echo(
        f"All that happened since {ready.manifest.created_at} will be missing: "
        "reports, settings, users, the interval. "
        f"Kept aside: {', '.join(ready.overwrites)}."
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"
