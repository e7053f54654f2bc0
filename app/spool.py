"""Keeps reports in files while the database can't be written, and takes them in when it can again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app import accounts, quarantine, record
from app.checks import Policy
from app.db import Database, is_out_of_reach, reason
from app.durable_file import sync_folder
from app.reports import UnusableReport, parse
from app.upload import Body, Sender

FOLDER = "spool"
DAMAGED = "damaged"
UNCHECKED = "unchecked key"
OPEN_NETWORK = "open network"

_SUFFIX = ".report"
_UNFINISHED = ".unfinished"
_STALE_SECONDS = 3600
_COUNTED_SECONDS = 1.0  # for so long a count is believed that others may have changed
_RECENT_SECONDS = 5.0
_FAMILIAR_KEYS = 1000
# Whatever a file that we did not write, or wrote with a fault, can make our own code raise.
_UNTAKABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)
_NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

log = logging.getLogger(__name__)


class SpoolFull(Exception):
    """There is no room for another report, or there is to be no spool at all."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report as it came. `key_hash` is that of a key which could not be checked, else None; without a valid
    one the report counts all the same where `is_open`."""

    body: Body
    sender: Sender
    received_at: datetime
    key_hash: str | None = None
    is_open: bool = False


class Spool:
    """A folder of files, one a report, named so that their order is that of arrival; for all threads."""

    def __init__(self, instance_path: Path, max_bytes: int) -> None:
        self._folder = instance_path / FOLDER
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._counted_at = -_COUNTED_SECONDS
        self._count = 0
        self._used_bytes = 0
        self._added_at = -_RECENT_SECONDS
        self._familiar: dict[str, None] = {}

    def count(self) -> int:
        """How many reports wait; what other processes did in the last second may be missing."""
        with self._lock:
            self._recount()
            return self._count

    def size_bytes(self) -> int:
        """How much they take; as old as `count`."""
        with self._lock:
            self._recount()
            return self._used_bytes

    def is_empty(self) -> bool:
        """As the folder says at this moment."""
        return not self._names()

    def was_used_just_now(self) -> bool:
        """Whether a report had to be kept here some seconds ago: then the next need not wait long."""
        return time.monotonic() - self._added_at < _RECENT_SECONDS

    def recognize(self, key_hash: str) -> None:
        """Remember a key that was good when it could be checked."""
        with self._lock:
            self._familiar.pop(key_hash, None)
            self._familiar[key_hash] = None
            while len(self._familiar) > _FAMILIAR_KEYS:
                del self._familiar[next(iter(self._familiar))]

    def add(self, arrival: Arrival) -> None:
        """Keep a report so that it survives a power cut. Raises SpoolFull and OSError.

        Keys that nobody has seen may fill one half only: made-up ones must not shut out the good ones.
        """
        content = _encoded(arrival)
        with self._lock:
            self._recount()
            is_familiar = arrival.key_hash is None or arrival.key_hash in self._familiar
            limit = self._max_bytes if is_familiar else self._max_bytes // 2
            if self._used_bytes + len(content) > limit:
                raise SpoolFull(
                    f"the spool may take {limit} bytes{'' if is_familiar else ' of unknown keys'}"
                )
            self._count += 1
            self._used_bytes += len(content)
        with contextlib.ExitStack() as unless_kept:
            unless_kept.callback(self._give_room_back, len(content))
            self._write(arrival.received_at, content)
            unless_kept.pop_all()
        self._added_at = time.monotonic()

    def _give_room_back(self, size_bytes: int) -> None:
        with self._lock:
            self._count -= 1
            self._used_bytes -= size_bytes

    def _recount(self) -> None:
        if time.monotonic() - self._counted_at < _COUNTED_SECONDS:
            return
        try:
            names = self._names()
        except OSError:
            names = []  # whoever writes or takes in will tell
        self._count = len(names)
        self._used_bytes = sum(map(_size_in, names))
        self._counted_at = time.monotonic()

    def _write(self, received_at: datetime, content: bytes) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder.parent)
        name = f"{received_at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}-{len(content)}{_SUFFIX}"
        temporary = self._folder / f"{name}{_UNFINISHED}"
        with contextlib.ExitStack() as unless_kept:
            unless_kept.callback(_remove_quietly, temporary)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._folder / name)
            sync_folder(self._folder)
            unless_kept.pop_all()

    def take_in(
        self, database: Database, policy: Policy, may_go_on: Callable[[], bool] = lambda: True
    ) -> int:
        """Store what waits, oldest first, as if it came when it came; how many still wait.

        Raises SQLAlchemyError while the database can't be written, and OSError where nothing can be read just
        now; what waits then stays. A file goes only after the commit, so a crash in between takes it in
        twice, which the fingerprint of the report finds.
        """
        if not self._names():
            return 0
        with self._alone():
            names = self._names()
            done = 0
            for name in names:
                if not may_go_on():
                    break
                self._take_one(self._folder / name, database, policy)
                done += 1
            self._remove_unfinished()
        with self._lock:
            self._counted_at = -_COUNTED_SECONDS
        log.info("%s reports were taken in from the spool, %s still wait", done, len(names) - done)
        return len(names) - done

    def _take_one(self, path: Path, database: Database, policy: Policy) -> None:
        try:
            _store(_decoded(path.read_bytes()), database, policy)
        except FileNotFoundError:
            return  # another process was faster
        except SQLAlchemyError as problem:
            if is_out_of_reach(problem):
                raise
            self._put_aside(path, problem)
        except OSError as problem:
            if problem.errno in _NOT_OF_THE_FILE:
                raise
            self._put_aside(path, problem)
        except _UNTAKABLE as problem:
            self._put_aside(path, problem)
        else:
            _remove(path)

    def _put_aside(self, path: Path, problem: Exception) -> None:
        target = self._folder / DAMAGED
        try:
            target.mkdir(mode=0o700, exist_ok=True)
            path.rename(target / path.name)
        except FileNotFoundError:
            return
        except OSError as obstacle:
            log.error("%s can't be taken in (%s), nor moved: %s", path.name, reason(problem), obstacle)
            return
        log.error("%s can't be taken in and was moved to %s: %s", path.name, target, reason(problem))

    def _names(self) -> list[str]:
        try:
            return sorted(each.name for each in self._folder.iterdir() if each.name.endswith(_SUFFIX))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time, of all threads and processes, so that nothing overtakes what came before it."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _remove_unfinished(self) -> None:
        """What a crash left half written: nobody was answered 200 for it."""
        for path in self._folder.glob(f"*{_UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def _store(arrival: Arrival, database: Database, policy: Policy) -> None:
    sender = _checked_sender(arrival, database)
    if sender is None:
        refusal = UnusableReport("Its upload key could not be checked when it came, and is not valid.", [])
        log.warning("a report from %s had no valid key; it was quarantined", arrival.sender.address)
        quarantine.keep(database, arrival.body, refusal, arrival.sender, now=arrival.received_at)
        return
    report = parse(arrival.body.raw(), arrival.body.content_type)
    record.take(database, report, arrival.body, sender, policy=policy, now=arrival.received_at)


def _checked_sender(arrival: Arrival, database: Database) -> Sender | None:
    if arrival.key_hash is None:
        return arrival.sender
    with database.asking() as rows:
        found = accounts.find_key_by_hash(rows, arrival.key_hash, accounts.UPLOAD, arrival.received_at)
        if found:
            address = arrival.sender.address
            return Sender(found.id, found.label, address, found.used_at, found.origin_id)
    return Sender(None, OPEN_NETWORK, arrival.sender.address) if arrival.is_open else None


def _encoded(arrival: Arrival) -> bytes:
    sender = arrival.sender
    known = {
        "receivedAt": arrival.received_at.isoformat(),
        "contentType": arrival.body.content_type,
        "address": sender.address,
        "keyId": sender.key_id,
        "keyLabel": sender.key_label,
        "keyUsedAt": sender.key_used_at.isoformat() if sender.key_used_at else None,
        "keyOriginId": sender.key_origin_id,
        "keyHash": arrival.key_hash,
        "isOpen": arrival.is_open,
    }
    content = json.dumps(known).encode() + b"\n" + arrival.body.compressed
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _decoded(raw: bytes) -> Arrival:
    """Raises one of _UNTAKABLE for anything that `_encoded` did not write."""
    digest, _newline, content = raw.partition(b"\n")
    if digest.decode() != hashlib.sha256(content).hexdigest():
        raise ValueError("its content is damaged")
    head, _newline, compressed = content.partition(b"\n")
    known = json.loads(head)
    used_at = known["keyUsedAt"]
    sender = Sender(
        known["keyId"],
        known["keyLabel"],
        known["address"],
        datetime.fromisoformat(used_at) if used_at else None,
        known.get("keyOriginId"),  # unknown to older versions
    )
    body = Body(zlib.decompress(compressed), known["contentType"])
    received_at = datetime.fromisoformat(known["receivedAt"])
    return Arrival(body, sender, received_at, known["keyHash"], known["isOpen"])


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        log.error("%s was taken in and can't be deleted: %s", path.name, problem)


def _size_in(name: str) -> int:
    size = name.removesuffix(_SUFFIX).rpartition("-")[2]
    return int(size) if size.isdecimal() else 0
