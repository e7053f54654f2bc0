"""Sends what is recorded: retries with growing pauses, one attempt row each, nothing ever lost."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app import checks, fallbacks, message_templates, notify, routing
from app.db import Database, reason
from app.ledger import Ledger
from app.notify import texts
from app.notify.templates import Wordings, wording_for
from app.outbox import Claim, Ended, Outcome, claim, due_channels, enabled_channels, give_back
from app.settings import Settings
from app.stored_settings import Current
from app.traffic import LONGEST_WAIT_SECONDS, Traffic

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
# At most so often is anything asked of the database or written: under load what ends meanwhile shares that.
_REST_SECONDS = 0.02
# A claim outlives the attempt it covers; if this process dies, the next one takes over after it.
_CLAIM_GRACE_SECONDS = 30 + round(LONGEST_WAIT_SECONDS)
_COVER_EVERY_SECONDS = 5


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
        self._ledger = Ledger(database)
        self._wordings: Wordings = {}
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
        """Take on nothing more, let attempts under way end and write down what they came to."""
        self._write_until = time.monotonic() + timeout_seconds
        self._traffic.close()
        self._stopping.set()
        self._wake.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join(timeout_seconds)

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
        return self._is_taking_on or self._traffic.is_any_under_way()

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._is_taking_on = True
            self._traffic.forget(self._ledger.write())
            self._try_to_take_on()
            self._is_taking_on = False
            self._stopping.wait(_REST_SECONDS)
            self._wake.wait(_POLL_SECONDS)
        self._wind_up()

    def _wind_up(self) -> None:
        self._pool.shutdown(wait=False)
        with contextlib.suppress(SQLAlchemyError):
            self._give_back(self._traffic.take_back())
        while self._traffic.is_any_under_way() and time.monotonic() < self._write_until:
            self._traffic.forget(self._ledger.write())
            time.sleep(_REST_SECONDS)

    def _try_to_take_on(self) -> None:
        try:
            self._take_on()
            self._cover_waiting()
        except SQLAlchemyError as problem:
            # Once for each fault, not twice a second.
            if reason(problem) != self._told_fault:
                self._told_fault = reason(problem)
                log.error("deliveries have to wait for the database: %s", self._told_fault)
            return
        self._told_fault = None

    def _take_on(self) -> None:
        """Claim what there is room for and hand it to the threads."""
        now = self._now()
        routing.route(self._database, self._chosen.read().group_limit, now, checks.TASK)
        waiting = self._traffic.waiting_channels()
        gone = waiting - enabled_channels(self._database) if waiting else set()
        self._give_back(self._traffic.take_back(gone))
        room = self._traffic.room(due_channels(self._database, now))
        if room:
            self._wordings = message_templates.all_wordings(self._database)
            seconds = self._settings.delivery_seconds + _CLAIM_GRACE_SECONDS
            self._traffic.put(claim(self._database, room, now, seconds, self._holder))
        while (taken := self._traffic.begin()) is not None:
            self._pool.submit(self._deliver, taken)

    def _give_back(self, back: Sequence[Claim]) -> None:
        self._traffic.forget(back)  # should that fail, they are due again when their claims run out
        if back:
            give_back(self._database, back)

    def _cover_waiting(self) -> None:
        if time.monotonic() - self._covered_at >= _COVER_EVERY_SECONDS:
            self._covered_at = time.monotonic()
            fallbacks.cover_waiting(self._database, self._now())

    def _deliver(self, first: Claim) -> None:
        """One message after the other, for as long as there is one that may begin."""
        taken: Claim | None = first
        with self._app.app_context(), notify.in_a_row():
            while taken is not None:
                started_at, start = self._now(), time.monotonic()
                outcome = self._send(taken)
                ended = Ended(taken, outcome, started_at, time.monotonic() - start)
                self._ledger.add(ended)
                self._traffic.end(taken, delivered=outcome.delivered)
                self._wake.set()
                taken = self._traffic.begin()

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
        return texts.compose(
            taken.alert_kind,
            taken.facts,
            message_id=taken.message_id,
            occurred_at=taken.occurred_at,
            url=f"{base}/jobs/{taken.job_id}" if taken.job_id else f"{base}/",
            zone=self._settings.timezone,
            language=taken.language,
            fallback_for=taken.fallback_for,
            wording=wording_for(self._wordings, taken.alert_kind, taken.language),
        )
