"""Sends what is recorded: retries with growing pauses, one attempt row each, nothing ever lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from flask import Flask
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app import checks, fallbacks, message_templates, notify, routing
from app.db import Database, reason
from app.notify import texts
from app.notify.templates import Wordings, wording_for
from app.outbox import Claim, Outcome, claim, due_channels, finish
from app.settings import Settings
from app.stored_settings import Current
from app.traffic import Traffic

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
# A claim outlives the attempt it covers; if this process dies, the next one takes over after it.
_CLAIM_GRACE_SECONDS = 30
_COVER_EVERY_SECONDS = 5
# What was sent is sent again when nobody can know of it: worth trying for long to write it down.
_WRITING_SECONDS = 600


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
        self._chosen = Current(database, settings)
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
        routing.route(self._database, self._chosen.read().group_limit, now, checks.TASK)
        limits, free = self._traffic.room(due_channels(self._database, now))
        if not limits or not free:
            return False
        wordings = message_templates.all_wordings(self._database)
        seconds = self._settings.delivery_seconds + _CLAIM_GRACE_SECONDS
        # Its outcome may still be unwritten when its claim runs out: it is not sent once more for that.
        under_way = self._traffic.under_way()
        claims = claim(self._database, limits, now, seconds, free, self._holder)
        for each in claims:
            if each.delivery_id not in under_way:
                self._traffic.begin(each.delivery_id, each.channel_id)
                self._pool.submit(self._deliver, each, wordings)
        return bool(claims)

    def _cover_waiting(self) -> None:
        if time.monotonic() - self._covered_at >= _COVER_EVERY_SECONDS:
            self._covered_at = time.monotonic()
            fallbacks.cover_waiting(self._database, self._now())

    def _deliver(self, taken: Claim, wordings: Wordings) -> None:
        started_at, start = self._now(), time.monotonic()
        outcome = self._send(taken, wordings)
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

    def _send(self, taken: Claim, wordings: Wordings) -> Outcome:
        try:
            message = self._compose(taken, wordings)
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

    def _compose(self, taken: Claim, wordings: Wordings) -> notify.Message:
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
                wording=wording_for(wordings, taken.alert_kind, taken.language),
            )
