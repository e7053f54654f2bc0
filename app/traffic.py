"""Which deliveries are under way, and how many more each channel may have: fair, whoever hangs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

# A channel that has not just proved to work may occupy one thread only, so that others have theirs.
_UNPROVEN_LIMIT = 1


class Traffic:
    """Counted by one dispatcher and by the threads that deliver; safe to share."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._in_flight: dict[int, int] = {}
        self._under_way: set[int] = set()
        self._proven: set[int] = set()
        self._failing: set[int] = set()
        self._sent_count = 0
        self._turns = itertools.count(1)
        self._last_turn: dict[int, int] = {}

    @property
    def sent_count(self) -> int:
        return self._sent_count

    def is_sending(self) -> bool:
        with self._lock:
            return bool(self._under_way)

    def under_way(self) -> set[int]:
        """The deliveries that were taken on and whose outcome is not written yet."""
        with self._lock:
            return set(self._under_way)

    def room(self, channels: Iterable[int]) -> tuple[dict[int, int], int]:
        """How many more each channel may have under way, whose turn it is first, and how many fit in all."""
        with self._lock:
            free = self._threads - sum(self._in_flight.values())
            room, failing_room = {}, self._failing_room()
            for channel in sorted(channels, key=self._order):
                more = self._limit(channel) - self._count(channel)
                if channel in self._failing:
                    more = min(more, failing_room)
                    failing_room -= max(more, 0)
                if more > 0:
                    room[channel] = more
        return room, free

    def _order(self, channel: int) -> tuple[bool, int, int]:
        # Last the failing ones, and of equals the one that has waited longest for its turn.
        return channel in self._failing, self._count(channel), self._last_turn.get(channel, 0)

    def _limit(self, channel: int) -> int:
        # Should even a proven channel begin to hang, the others still have threads.
        proven_limit = max(_UNPROVEN_LIMIT, self._threads - self._threads // 4)
        return proven_limit if channel in self._proven else _UNPROVEN_LIMIT

    def _failing_room(self) -> int:
        # However many channels hang, they leave some threads to those that may work.
        share = max(1, self._threads - max(1, self._threads // 4))
        return share - sum(map(self._count, self._failing))

    def _count(self, channel: int) -> int:
        return self._in_flight.get(channel, 0)

    def begin(self, delivery_id: int, channel: int) -> None:
        with self._lock:
            self._in_flight[channel] = self._count(channel) + 1
            self._under_way.add(delivery_id)
            self._last_turn[channel] = next(self._turns)

    def end(self, delivery_id: int, channel: int, *, delivered: bool) -> None:
        with self._lock:
            self._in_flight[channel] -= 1
            self._under_way.discard(delivery_id)
            if delivered:
                self._proven.add(channel)
                self._failing.discard(channel)
                self._sent_count += 1
            else:
                self._proven.discard(channel)
                self._failing.add(channel)
