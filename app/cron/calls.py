"""What other threads ask of the loop, and how it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """The service can't do what was asked; the text says why."""


class Busy(Refused):
    """No answer in time, or no time for one: too many callers, or the service is stopping."""


class IntervalDisabled(Refused):
    """A task that follows the configured interval can't be started while that is `disabled`."""


class ConfigUnusable(Refused):
    """The interval file can't be read or is damaged; the schedule stays as it was."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something the loop is to do, and where it puts the answer."""

    obey: Callable[[], Any]
    answer: Future[Any]
    given_at: float = field(default_factory=time.monotonic)
