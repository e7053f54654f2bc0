"""The outermost layer of an archive file: proves every byte, and encrypts when there is a passphrase."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from app.archive.problems import ArchiveDamaged, MayGoOn, WrongPassphrase, always, go_on

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"Veilleur archive, encrypted, 1\n"
CHUNK = 64 * 1024
_BLOCK = 1 << 20
_SALT, _CHECK, _TAG = 16, 32, 16
_HEADER = len(MAGIC) + _SALT + _CHECK
_GZIP = b"\x1f\x8b\x08"

# 32 MB of memory and about a quarter of a second: bearable on a small NAS, costly for who guesses.
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20, "dklen": 64}

# The last bytes are an empty gzip member whose comment is the checksum of all before it, so that `tar`
# still reads a plain archive.
_TRAILER_HEAD = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff" + b"sha256="
_TRAILER_TAIL = b"\0" + b"\x03\0" + b"\0" * 8
_TRAILER = len(_TRAILER_HEAD) + 64 + len(_TRAILER_TAIL)


def is_encrypted(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def sealed(file: BinaryIO, passphrase: str | None) -> Iterator[BinaryIO]:
    """What is written to the stream inside arrives in the file, sealed when the block ends."""
    target: _Encrypting | BinaryIO = _Encrypting(file, passphrase) if passphrase else file
    stream = _Digesting(target)
    yield cast(BinaryIO, stream)
    target.write(_trailer(stream.digest))
    if isinstance(target, _Encrypting):
        target.finish()


@contextmanager
def opened(path: Path, passphrase: str | None, may_go_on: MayGoOn = always) -> Iterator[BinaryIO]:
    """The content of an archive, after all of it was proved to be what `sealed` wrote.

    Raises ArchiveDamaged or WrongPassphrase before anything can be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
        if head.startswith(MAGIC):
            cipher, start = _unlock(head, passphrase), len(head)
        elif head.startswith(_GZIP):
            cipher, start = None, 0
        else:
            raise ArchiveDamaged("it is no archive of Veilleur, or its beginning was changed")

        def content() -> BinaryIO:
            file.seek(start)
            return io.BufferedReader(_Decrypting(file, cipher, head), CHUNK) if cipher else file

        _prove(content(), may_go_on)
        yield content()


def _prove(stream: BinaryIO, may_go_on: MayGoOn) -> None:
    digest, held = hashlib.sha256(), b""
    while block := stream.read(_BLOCK):
        go_on(may_go_on)
        held += block
        digest.update(held[:-_TRAILER])
        held = held[-_TRAILER:]
    if not (held.startswith(_TRAILER_HEAD) and held.endswith(_TRAILER_TAIL)):
        raise ArchiveDamaged("it is cut off, or its end was changed")
    if held != _trailer(digest.hexdigest()):
        raise ArchiveDamaged("its content was changed: the checksum is another")


def _trailer(digest: str) -> bytes:
    return _TRAILER_HEAD + digest.encode() + _TRAILER_TAIL


def _keys(passphrase: str, salt: bytes) -> tuple[bytes, bytes]:
    """The key of the cipher, and what tells a wrong passphrase from a damaged archive."""
    derived = hashlib.scrypt(passphrase.encode(), salt=salt, **_SCRYPT)
    return derived[:32], hmac.digest(derived[32:], MAGIC + salt, "sha256")


def _cipher(key: bytes) -> ChaCha20Poly1305:
    # Only who encrypts pays for it: 11 MB of memory.
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def _unlock(head: bytes, passphrase: str | None) -> ChaCha20Poly1305:
    if len(head) < _HEADER:
        raise ArchiveDamaged("it is cut off")
    if not passphrase:
        raise WrongPassphrase("it is encrypted; a passphrase is needed")
    key, check = _keys(passphrase, head[len(MAGIC) : len(MAGIC) + _SALT])
    if not hmac.compare_digest(check, head[-_CHECK:]):
        raise WrongPassphrase("the passphrase is wrong, or the beginning of the archive was changed")
    return _cipher(key)


def _nonce(number: int, is_last: bool) -> bytes:
    # The key is used for one archive only; number and mark make every order but the written one fail.
    return number.to_bytes(11, "big") + bytes([is_last])


class _Digesting(io.RawIOBase):
    def __init__(self, target: io.RawIOBase | BinaryIO) -> None:
        self._target = target
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._target.write(data)
        return len(data)


class _Encrypting(io.RawIOBase):
    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        salt = os.urandom(_SALT)
        key, check = _keys(passphrase, salt)
        self._cipher = _cipher(key)
        self._file = file
        self._header = MAGIC + salt + check
        self._held = bytearray()
        self._number = 0
        file.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        while len(self._held) > CHUNK:  # never all of it: the last chunk is marked as such
            self._seal(CHUNK, is_last=False)
        return len(data)

    def finish(self) -> None:
        self._seal(CHUNK, is_last=True)

    def _seal(self, size: int, *, is_last: bool) -> None:
        chunk = bytes(self._held[:size])
        del self._held[:size]
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last), chunk, self._header))
        self._number += 1


class _Decrypting(io.RawIOBase):
    def __init__(self, file: BinaryIO, cipher: ChaCha20Poly1305, header: bytes) -> None:
        self._file = file
        self._cipher = cipher
        self._header = header
        self._next = file.read(CHUNK + _TAG)
        self._held = b""
        self._number = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held and (self._next or self._number == 0):
            self._held = self._open()
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size

    def _open(self) -> bytes:
        chunk, self._next = self._next, self._file.read(CHUNK + _TAG)
        is_last = not self._next
        nonce = _nonce(self._number, is_last)
        self._number += 1
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(nonce, chunk, self._header)
        except InvalidTag:
            why = "it is cut off, or its end was changed" if is_last else "its content was changed"
            raise ArchiveDamaged(why) from None
