"""How much memory a process and its children took at most, as the kernel counts it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024 * 1024


@dataclass
class Growth:
    """By how many bytes the children grew together at their peaks; known when the block has ended."""

    peak_bytes: int = 0


@contextlib.contextmanager
def growth_of_children(process_id: int) -> Iterator[Growth]:
    children = _children(process_id)
    assert children
    before = {}
    for child in children:
        # Sets the peak back to what is in use now.
        Path(f"/proc/{child}/clear_refs").write_text("5")
        before[child] = _status_bytes(child, "VmRSS")
    growth = Growth()
    yield growth
    assert _children(process_id) == children, "a worker has died"
    growth.peak_bytes = sum(_status_bytes(child, "VmHWM") - before[child] for child in children)


def _children(process_id: int) -> list[int]:
    listed = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [int(each) for each in listed.split()]


def _status_bytes(process_id: int, name: str) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} in the status of {process_id}")
