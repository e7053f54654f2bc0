"""Sends what is recorded: retries with growing pauses, one attempt row each, nothing ever lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import Select, exists, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from app import channels, checks, fallbacks, notify, ordering, routing
from app.db import Database, reason
from app.models import Alert, Channel, Delivery, DeliveryAttempt
from app.notify import texts
from app.settings import Settings
from app.traffic import Traffic

log = logging.getLogger(__name__)

PENDING, SENT, GIVEN_UP = "pending", "sent", "given_up"

PAUSES_SECONDS = (10, 30, 120, 600, 1800, 7200, 21600, 43200, 86400, 86400, 86400)
_POLL_SECONDS = 0.5
# A claim outlives the attempt it covers; if this process dies, the next one takes over after it.
_CLAIM_GRACE_SECONDS = 30
_COVER_EVERY_SECONDS = 5
# What was sent is sent again when nobody can know of it: worth trying for long to write it down.
_WRITING_SECONDS = 600


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
    job_id: int | None  # None for a message about several
    fallback_for: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    delivered: bool
    detail: str
    retry_after_seconds: int | None = None
    permanent: bool = False


def claim(
    database: Database,
    channel_limits: dict[int, int],
    now: datetime,
    claim_seconds: int,
    most: int = 1000,
    holder: str = "",
) -> list[Claim]:
    """Take on what is due, at most so many of each channel and `most` in all, the first channels first;
    nobody else gets the same ones meanwhile."""
    claims: list[Claim] = []
    with database.writing() as session:
        for channel_id, limit in channel_limits.items():
            room = min(limit, most - len(claims))
            rows = session.execute(_due(channel_id, room, now)).all() if room > 0 else []
            claims += [Claim(*row) for row in rows]
        _extend(session, claims, now + timedelta(seconds=claim_seconds), holder)
    return claims


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
            Delivery.fallback_for,
        )
        .join(Alert, Alert.id == Delivery.alert_id)
        .join(Channel, Channel.id == Delivery.channel_id)
        .where(
            Delivery.channel_id == channel_id, Delivery.next_attempt_at <= now, ~ordering.waits_for_earlier()
        )
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )


def _extend(session: Session, claims: list[Claim], until_at: datetime, holder: str) -> None:
    if claims:
        session.execute(
            update(Delivery),
            [
                {
                    "id": each.delivery_id,
                    "attempts": each.attempt,
                    "next_attempt_at": until_at,
                    "claimed_by": holder,
                }
                for each in claims
            ],
        )


def due_channels(database: Database, now: datetime) -> list[int]:
    """Enabled channels with something that can go now; cheap when nothing is due."""
    with database.reading() as session:
        if session.scalar(select(Delivery.id).where(Delivery.next_attempt_at <= now).limit(1)) is None:
            return []
        can_go = exists().where(
            Delivery.channel_id == Channel.id, Delivery.next_attempt_at <= now, ~ordering.waits_for_earlier()
        )
        return list(session.scalars(select(Channel.id).where(Channel.enabled, can_go).order_by(Channel.id)))


def finish(database: Database, taken: Claim, outcome: Outcome, started_at: datetime, seconds: float) -> None:
    """Write what one attempt came to, and when the next one is, if there is one."""
    finished_at = started_at + timedelta(seconds=seconds)
    values: dict[str, object] = {"detail": outcome.detail, "next_attempt_at": None, "claimed_by": None}
    if outcome.delivered:
        values |= {"status": SENT, "finished_at": finished_at}
    elif taken.attempt > len(PAUSES_SECONDS):
        values |= {"status": GIVEN_UP, "finished_at": finished_at}
    else:
        pause_seconds = max(PAUSES_SECONDS[taken.attempt - 1], outcome.retry_after_seconds or 0)
        values["next_attempt_at"] = finished_at + timedelta(seconds=min(pause_seconds, PAUSES_SECONDS[-1]))
    with database.writing() as session:
        if session.get(Delivery, taken.delivery_id) is None:
            return  # its channel or its job was removed meanwhile
        mine = update(Delivery).where(Delivery.id == taken.delivery_id)
        if not outcome.delivered:
            # An attempt that outlived its claim must not reopen what a later one has delivered.
            mine = mine.where(Delivery.attempts == taken.attempt, Delivery.status == PENDING)
        is_mine = session.scalar(mine.values(**values).returning(Delivery.id)) is not None
        if is_mine:
            _follow_up(session, taken, outcome, finished_at)
        session.add(
            DeliveryAttempt(
                delivery_id=taken.delivery_id,
                started_at=started_at,
                duration_seconds=seconds,
                delivered=outcome.delivered,
                detail=outcome.detail,
            )
        )


def _follow_up(session: Session, taken: Claim, outcome: Outcome, finished_at: datetime) -> None:
    """What the channel and its fallback have to know of an attempt."""
    if outcome.delivered:
        channels.note_success(session, taken.channel_id, finished_at)
        return
    channels.note_failure(session, taken.channel_id, outcome.detail, finished_at)
    if outcome.permanent or taken.attempt >= fallbacks.AFTER_ATTEMPTS:
        fallbacks.stand_in(session, taken.delivery_id, finished_at)


class Courier:
    """Threads beside the schedule loop that deliver; bounded, and fair between channels."""

    def __init__(
        self,
        app: Flask,
        database: Database,
        settings: Settings,
        now: Callable[[], datetime],
        holder: str = "",
    ) -> None:
        self._app = app
        self._holder = holder
        self._now = now
        self._database = database
        self._settings = settings
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._traffic = Traffic(settings.delivery_threads)
        self._is_taking_on = False
        self._covered_at = -math.inf
        self._write_until = math.inf
        self._told_fault: str | None = None
        self._pool = ThreadPoolExecutor(settings.delivery_threads, thread_name_prefix="delivery")
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    @property
    def sent_count(self) -> int:
        """Messages delivered since the start."""
        return self._traffic.sent_count

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
        self._write_until = time.monotonic() + timeout_seconds
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
            now = self._now()
            waits = routing.waits(self._database, now, checks.TASK)
            return waits or bool(due_channels(self._database, now))
        except SQLAlchemyError:
            return False  # told by the dispatcher; nothing to wait for

    def _is_sending(self) -> bool:
        return self._is_taking_on or self._traffic.is_sending()

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
            busy = self._take_on()
            self._cover_waiting()
        except SQLAlchemyError as problem:
            # Once for each fault, not twice a second.
            if reason(problem) != self._told_fault:
                self._told_fault = reason(problem)
                log.error("deliveries have to wait for the database: %s", self._told_fault)
            return False
        self._told_fault = None
        return busy

    def _take_on(self) -> bool:
        """Claim what there is room for and hand it to the threads; False when there was nothing."""
        now = self._now()
        routing.route(self._database, self._settings.group_limit, now, checks.TASK)
        limits, free = self._traffic.room(due_channels(self._database, now))
        if not limits or not free:
            return False
        seconds = self._settings.delivery_seconds + _CLAIM_GRACE_SECONDS
        # Its outcome may still be unwritten when its claim runs out: it is not sent once more for that.
        under_way = self._traffic.under_way()
        claims = claim(self._database, limits, now, seconds, free, self._holder)
        for each in claims:
            if each.delivery_id not in under_way:
                self._traffic.begin(each.delivery_id, each.channel_id)
                self._pool.submit(self._deliver, each)
        return bool(claims)

    def _cover_waiting(self) -> None:
        if time.monotonic() - self._covered_at >= _COVER_EVERY_SECONDS:
            self._covered_at = time.monotonic()
            fallbacks.cover_waiting(self._database, self._now())

    def _deliver(self, taken: Claim) -> None:
        started_at, start = self._now(), time.monotonic()
        outcome = self._send(taken)
        self._write_down(taken, outcome, started_at, time.monotonic() - start)
        self._traffic.end(taken.delivery_id, taken.channel_id, delivered=outcome.delivered)
        self._wake.set()

    def _write_down(self, taken: Claim, outcome: Outcome, started_at: datetime, seconds: float) -> None:
        ends_at, failures = time.monotonic() + _WRITING_SECONDS, 0
        while True:
            try:
                finish(self._database, taken, outcome, started_at, seconds)
                return
            except SQLAlchemyError as problem:
                failures += 1
                # Only what may pass by itself, such as a locked database, is worth another try.
                is_over = time.monotonic() > min(ends_at, self._write_until)
                is_over = is_over or not isinstance(problem, OperationalError)
                if is_over or failures == 1:
                    told = reason(problem)
                    log.error("the outcome of delivery %s can't be written: %s", taken.delivery_id, told)
                if is_over:
                    return
            time.sleep(_POLL_SECONDS)

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
            return Outcome(False, problem.reason, problem.retry_after_seconds, problem.permanent)
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
                url=f"{base}/jobs/{taken.job_id}" if taken.job_id else f"{base}/",
                zone=self._settings.timezone,
                language=taken.language,
                fallback_for=taken.fallback_for,
            )
