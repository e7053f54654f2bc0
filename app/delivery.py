"""Sends what is recorded: retries with growing pauses, one attempt row each, nothing ever lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import Exists, Select, exists, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from app import notify
from app.db import Database, reason
from app.models import Alert, Channel, Delivery, DeliveryAttempt
from app.notify import texts
from app.settings import Settings

log = logging.getLogger(__name__)

PENDING, SENT, GIVEN_UP = "pending", "sent", "given_up"

PAUSES_SECONDS = (10, 30, 120, 600, 1800, 7200, 21600, 43200, 86400, 86400, 86400)
_POLL_SECONDS = 0.5
# A claim outlives the attempt it covers; if this process dies, the next one takes over after it.
_CLAIM_GRACE_SECONDS = 30
_FINISH_SECONDS = 5.0  # well before the claim ends, so that nobody sends again what only could not be noted
# A channel that has not just proved to work may occupy one thread only, so that others have theirs.
_UNPROVEN_LIMIT = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery this process has taken on, with all it needs to send it."""

    delivery_id: int
    attempt: int
    channel_id: int
    channel_kind: str
    config: dict[str, object]
    language: str
    alert_kind: str
    facts: dict[str, object]
    message_id: str
    occurred_at: datetime
    job_id: int


@dataclass(frozen=True, slots=True)
class Outcome:
    delivered: bool
    detail: str
    retry_after_seconds: int | None = None


def claim(
    database: Database, channel_limits: dict[int, int], now: datetime, claim_seconds: int, most: int = 1000
) -> list[Claim]:
    """Take on what is due, at most so many of each channel and `most` in all, the first channels first;
    nobody else gets the same ones meanwhile."""
    claims: list[Claim] = []
    with database.writing() as session:
        for channel_id, limit in channel_limits.items():
            room = min(limit, most - len(claims))
            rows = session.execute(_due(channel_id, room, now)).all() if room > 0 else []
            claims += [Claim(*row) for row in rows]
        _extend(session, claims, now + timedelta(seconds=claim_seconds))
    return claims


def _waits_for_earlier() -> Exists:
    """Messages of one job stay in order on a channel: one still to be delivered holds back the next."""
    earlier = aliased(Delivery)
    return exists().where(
        earlier.job_id == Delivery.job_id,
        earlier.channel_id == Delivery.channel_id,
        earlier.id < Delivery.id,
        earlier.next_attempt_at.is_not(None),
    )


def _due(channel_id: int, limit: int, now: datetime) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Delivery.id,
            Delivery.attempts + 1,
            Channel.id,
            Channel.kind,
            Channel.config,
            Channel.language,
            Alert.kind,
            Alert.facts,
            Alert.message_id,
            Alert.created_at,
            Delivery.job_id,
        )
        .join(Alert, Alert.id == Delivery.alert_id)
        .join(Channel, Channel.id == Delivery.channel_id)
        .where(Delivery.channel_id == channel_id, Delivery.next_attempt_at <= now, ~_waits_for_earlier())
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )


def _extend(session: Session, claims: list[Claim], until_at: datetime) -> None:
    if claims:
        session.execute(
            update(Delivery),
            [
                {"id": each.delivery_id, "attempts": each.attempt, "next_attempt_at": until_at}
                for each in claims
            ],
        )


def due_channels(database: Database, now: datetime) -> list[int]:
    """Enabled channels with something that can go now; cheap when nothing is due."""
    with database.reading() as session:
        if session.scalar(select(Delivery.id).where(Delivery.next_attempt_at <= now).limit(1)) is None:
            return []
        can_go = exists().where(
            Delivery.channel_id == Channel.id, Delivery.next_attempt_at <= now, ~_waits_for_earlier()
        )
        return list(session.scalars(select(Channel.id).where(Channel.enabled, can_go).order_by(Channel.id)))


def finish(database: Database, taken: Claim, outcome: Outcome, started_at: datetime, seconds: float) -> None:
    """Write what one attempt came to, and when the next one is, if there is one."""
    finished_at = started_at + timedelta(seconds=seconds)
    values: dict[str, object] = {"detail": outcome.detail, "next_attempt_at": None}
    if outcome.delivered:
        values |= {"status": SENT, "finished_at": finished_at}
    elif taken.attempt > len(PAUSES_SECONDS):
        values |= {"status": GIVEN_UP, "finished_at": finished_at}
    else:
        pause_seconds = max(PAUSES_SECONDS[taken.attempt - 1], outcome.retry_after_seconds or 0)
        values["next_attempt_at"] = finished_at + timedelta(seconds=min(pause_seconds, PAUSES_SECONDS[-1]))
    with database.writing() as session:
        mine = update(Delivery).where(Delivery.id == taken.delivery_id)
        if not outcome.delivered:
            # An attempt that outlived its claim must not reopen what a later one has delivered.
            mine = mine.where(Delivery.attempts == taken.attempt, Delivery.status == PENDING)
        session.execute(mine.values(**values))
        session.add(
            DeliveryAttempt(
                delivery_id=taken.delivery_id,
                started_at=started_at,
                duration_seconds=seconds,
                delivered=outcome.delivered,
                detail=outcome.detail,
            )
        )


class Courier:
    """Threads beside the schedule loop that deliver; bounded, and fair between channels."""

    def __init__(
        self, app: Flask, database: Database, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._app = app
        self._now = now
        self._database = database
        self._settings = settings
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._in_flight: dict[int, int] = {}
        self._is_taking_on = False
        self._proven: set[int] = set()
        self._unwritten: list[tuple[Claim, Outcome, datetime, float]] = []
        self._told_fault: str | None = None
        self._sent_count = 0
        self._pool = ThreadPoolExecutor(settings.delivery_threads, thread_name_prefix="delivery")
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    @property
    def sent_count(self) -> int:
        """Messages delivered since the start."""
        return self._sent_count

    def start(self) -> None:
        self._dispatcher.start()

    def is_alive(self) -> bool:
        """Whether messages are being taken on; once begun, anything else is a fault."""
        return self._dispatcher.is_alive()

    def wake(self) -> None:
        """Look now: something has just been recorded."""
        self._wake.set()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Take on nothing more and let attempts under way end."""
        self._stopping.set()
        self._wake.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join(timeout_seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)
        ends_at = time.monotonic() + timeout_seconds
        while self._is_sending() and time.monotonic() < ends_at:
            time.sleep(0.02)

    def settle(self, timeout_seconds: float) -> None:
        """Wait until all that is due has had its attempt, or the time is over."""
        ends_at = time.monotonic() + timeout_seconds
        while time.monotonic() < ends_at:
            # In this order: what is no longer due has been taken on, and then it counts as being sent.
            if not self._is_anything_due() and not self._is_sending():
                return
            time.sleep(0.02)

    def _is_anything_due(self) -> bool:
        try:
            return bool(due_channels(self._database, self._now()))
        except SQLAlchemyError:
            return False  # told by the dispatcher; nothing to wait for

    def _is_sending(self) -> bool:
        with self._lock:
            return self._is_taking_on or any(self._in_flight.values())

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._is_taking_on = True
            busy = self._try_to_take_on()
            self._is_taking_on = False
            if not busy:
                self._wake.wait(_POLL_SECONDS)

    def _try_to_take_on(self) -> bool:
        try:
            self._write_outcomes()
            busy = self._take_on()
        except SQLAlchemyError as problem:
            # Once for each fault, not twice a second.
            if reason(problem) != self._told_fault:
                self._told_fault = reason(problem)
                log.error("deliveries have to wait for the database: %s", self._told_fault)
            return False
        self._told_fault = None
        return busy

    def _write_outcomes(self) -> None:
        """Before anything is taken on anew: what was sent already would be sent again."""
        while self._unwritten:
            finish(self._database, *self._unwritten[0])
            with self._lock:
                self._unwritten.pop(0)

    def _take_on(self) -> bool:
        """Claim what there is room for and hand it to the threads; False when there was nothing."""
        now = self._now()
        limits, free = self._room(due_channels(self._database, now))
        if not limits or not free:
            return False
        seconds = self._settings.delivery_seconds + _CLAIM_GRACE_SECONDS
        claims = claim(self._database, limits, now, seconds, free)
        for each in claims:
            self._count(each.channel_id, 1)
            self._pool.submit(self._deliver, each)
        return bool(claims)

    def _room(self, channels: list[int]) -> tuple[dict[int, int], int]:
        """How many more each channel may have under way, the idlest first, and how many fit in all."""
        threads = self._settings.delivery_threads
        # Should even a proven channel begin to hang, the others still have threads.
        proven_limit = max(_UNPROVEN_LIMIT, threads - threads // 4)
        with self._lock:
            free = threads - sum(self._in_flight.values())
            room = {}
            for channel in sorted(channels, key=lambda each: self._in_flight.get(each, 0)):
                limit = proven_limit if channel in self._proven else _UNPROVEN_LIMIT
                more = limit - self._in_flight.get(channel, 0)
                if more > 0:
                    room[channel] = more
        return room, free

    def _count(self, channel_id: int, difference: int) -> None:
        with self._lock:
            self._in_flight[channel_id] = self._in_flight.get(channel_id, 0) + difference

    def _deliver(self, taken: Claim) -> None:
        started_at, start = self._now(), time.monotonic()
        outcome = self._send(taken)
        ended = (taken, outcome, started_at, time.monotonic() - start)
        try:
            finish(self._database.waiting(_FINISH_SECONDS), *ended)
        except SQLAlchemyError as problem:
            log.error(
                "the outcome of delivery %s can't be written yet: %s", taken.delivery_id, reason(problem)
            )
            with self._lock:
                self._unwritten.append(ended)
        with self._lock:
            self._in_flight[taken.channel_id] -= 1
            if outcome.delivered:
                self._proven.add(taken.channel_id)
                self._sent_count += 1
            else:
                self._proven.discard(taken.channel_id)
        self._wake.set()

    def _send(self, taken: Claim) -> Outcome:
        try:
            message = self._compose(taken)
            receipt = notify.send(
                taken.channel_kind,
                taken.config,
                message,
                timeout_seconds=self._settings.delivery_seconds,
            )
        except notify.DeliveryError as problem:
            log.warning("delivery %s failed: %s", taken.delivery_id, problem.reason)
            return Outcome(False, problem.reason, problem.retry_after_seconds)
        except Exception:
            # One of the two broad guards: whatever goes wrong with a message, it is tried again.
            log.exception("delivery %s failed by our own fault", taken.delivery_id)
            return Outcome(False, "Veilleur itself failed; its log says why.")
        return Outcome(True, receipt.detail)

    def _compose(self, taken: Claim) -> notify.Message:
        base = self._settings.public_url or f"http://{self._settings.host}:{self._settings.port}"
        with self._app.app_context():
            return texts.compose(
                taken.alert_kind,
                taken.facts,
                message_id=taken.message_id,
                occurred_at=taken.occurred_at,
                url=f"{base}/jobs/{taken.job_id}",
                zone=self._settings.timezone,
                language=taken.language,
            )
