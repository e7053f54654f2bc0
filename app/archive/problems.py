"""What can be wrong with an archive of the installation; every text is one clear line."""

from __future__ import annotations

from collections.abc import Callable

# Asked between the steps of anything long; an answer of False ends it.
MayGoOn = Callable[[], bool]


class ArchiveError(Exception):
    """An archive can't be made, read or restored; the text says why."""


class ArchiveDamaged(ArchiveError):
    """The file is not what was written: cut off, changed, or never an archive."""


class WrongPassphrase(ArchiveError):
    """The archive is encrypted with another passphrase, or no passphrase was given."""


class ArchiveBusy(ArchiveError):
    """Another process is at the same work."""


def always() -> bool:
    return True


def go_on(may_go_on: MayGoOn) -> None:
    if not may_go_on():
        raise ArchiveError("stopped before it was done")
