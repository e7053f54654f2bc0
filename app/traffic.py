"""Which deliveries are taken on and which of them may begin now: fair between channels, whoever hangs."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Container, Iterable, Sequence

from app.outbox import Claim

# A channel that has not just proved to work may occupy one thread only, so that others have theirs.
_UNPROVEN_LIMIT = 1
# So many messages of a channel that works are taken on at once: what is asked of the database then costs each
# of them little. They wait here until they may begin, but never for so long that their claims run out.
AHEAD = 64
LONGEST_WAIT_SECONDS = 10.0
# What was sent and is not written down yet is sent once more if this process is killed: so many, whatever the
# disk does.
MOST_UNWRITTEN = 16


class Traffic:
    """Filled by one dispatcher and emptied by the threads that deliver; safe to share."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._queues: dict[int, deque[tuple[float, Claim]]] = {}
        self._in_flight: dict[int, int] = {}
        self._under_way: set[int] = set()
        self._back: list[Claim] = []
        self._proven: set[int] = set()
        self._failing: set[int] = set()
        self._sent_count = 0
        self._turns = itertools.count(1)
        self._last_turn: dict[int, int] = {}
        self._is_closed = False

    @property
    def sent_count(self) -> int:
        return self._sent_count

    def is_any_under_way(self) -> bool:
        """Whether anything was taken on whose end is not written down yet."""
        with self._lock:
            return bool(self._under_way)

    def room(self, channels: Iterable[int]) -> dict[int, int]:
        """How many more of each channel may be taken on, those whose turn it is first."""
        with self._lock:
            free = self._threads - sum(self._in_flight.values())
            room, failing_room = {}, self._failing_room()
            for channel in sorted(channels, key=self._order):
                if channel in self._proven:
                    more = self._room_ahead(channel)
                else:
                    more = min(_UNPROVEN_LIMIT - self._held(channel), free)
                    free -= max(more, 0)
                if channel in self._failing:
                    more = min(more, failing_room)
                    failing_room -= max(more, 0)
                if more > 0:
                    room[channel] = more
        return room

    def _room_ahead(self, channel: int) -> int:
        # Many at once, not one after the other.
        more = AHEAD - self._held(channel)
        return more if more >= AHEAD // 2 else 0

    def put(self, claims: Sequence[Claim]) -> None:
        """What has been taken on. One that still is from before, though its claim ran out, is left out: its
        end may be unwritten, and it is not sent once more for that."""
        with self._lock:
            for each in claims:
                if each.delivery_id not in self._under_way:
                    self._under_way.add(each.delivery_id)
                    self._queues.setdefault(each.channel_id, deque()).append((time.monotonic(), each))

    def begin(self) -> Claim | None:
        """The next one that may be sent now, if there is any."""
        with self._lock:
            in_flight = sum(self._in_flight.values())
            if self._is_closed or in_flight >= self._threads or self._unwritten(in_flight) >= MOST_UNWRITTEN:
                return None
            for channel in sorted(filter(self._queues.get, self._queues), key=self._order):
                if self._count(channel) < self._limit(channel) and not self._waits_too_long(channel):
                    self._in_flight[channel] = self._count(channel) + 1
                    self._last_turn[channel] = next(self._turns)
                    return self._queues[channel].popleft()[1]
        return None

    def _unwritten(self, in_flight: int) -> int:
        return len(self._under_way) - in_flight - sum(map(len, self._queues.values())) - len(self._back)

    def end(self, claim: Claim, *, delivered: bool) -> None:
        """It has been sent, or not. It stays under way until that is written down."""
        channel = claim.channel_id
        with self._lock:
            self._in_flight[channel] -= 1
            if delivered:
                self._proven.add(channel)
                self._failing.discard(channel)
                self._sent_count += 1
            else:
                self._proven.discard(channel)
                self._failing.add(channel)
                self._back += [each for _since, each in self._queues.pop(channel, ())]

    def waiting_channels(self) -> set[int]:
        """Those of which something was taken on that has not begun."""
        with self._lock:
            return {channel for channel, queue in self._queues.items() if queue}

    def take_back(self, gone: Container[int] = ()) -> list[Claim]:
        """What must not wait here any longer: its channel has begun to fail or is `gone`, or its claim would
        run out."""
        with self._lock:
            for channel, queue in self._queues.items():
                is_over = self._is_closed or channel in gone
                while queue and (is_over or self._waits_too_long(channel)):
                    self._back.append(queue.popleft()[1])
            back, self._back = self._back, []
        return back

    def _waits_too_long(self, channel: int) -> bool:
        return self._queues[channel][0][0] < time.monotonic() - LONGEST_WAIT_SECONDS

    def forget(self, claims: Iterable[Claim]) -> None:
        """Their ends are written down, or never will be."""
        with self._lock:
            self._under_way.difference_update(each.delivery_id for each in claims)

    def close(self) -> None:
        """Nothing begins any more."""
        with self._lock:
            self._is_closed = True

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
        return share - sum(map(self._held, self._failing))

    def _count(self, channel: int) -> int:
        return self._in_flight.get(channel, 0)

    def _held(self, channel: int) -> int:
        return self._count(channel) + len(self._queues.get(channel, ()))
