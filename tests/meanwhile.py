"""What goes on beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def again_and_again(step: Callable[[], object], pause_seconds: float = 0) -> Iterator[None]:
    """Do it in a thread of its own, with a pause after each time, until the block ends."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            step()
            over.wait(pause_seconds)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
