"""Work done in a process of its own, which takes with it what the work has loaded."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def done_apart(work: Callable[[], T], problems: tuple[type[Exception], ...]) -> T:
    """What `work` returns, or the one of these problems that it raises. To be called before
    there are threads.

    Anything else that goes wrong is told by the other process, and ends this one.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(_outcome(work, problems), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if not told:
        code = os.waitstatus_to_exitcode(status)
        # Of a signal, as for want of memory, nobody else tells.
        sys.exit(f"veilleur: the start was ended by signal {-code}" if code < 0 else 1)
    outcome, problem = pickle.loads(told)  # noqa: S301  (from our own process)
    if problem is not None:
        raise problem
    result: T = outcome
    return result


def _outcome(work: Callable[[], Any], problems: tuple[type[Exception], ...]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except problems as problem:
        return None, problem
