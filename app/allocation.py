"""Has the C library give memory back: its defaults suit programs of many threads that allocate at once."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 256 * 1024


def be_frugal() -> None:
    """To be called before there are threads. Elsewhere than with the GNU C library nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        # Two arenas for all threads, which the interpreter lets run by turns anyway: each keeps what it had
        # at its fullest.
        set_option(_M_ARENA_MAX, 2)
        # After a large report both limits would rise with it, and as much stay in use for ever.
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        set_option(_M_TRIM_THRESHOLD, _LARGE_BYTES)
