"""What the people of the made-up installation have set in the course of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, maintenance, record
from app.checks import Policy
from app.demo.fleet import DAY, LATE_BY, Client, Fate
from app.demo.timeline import HOUR, MINUTE, PAUSED_SINCE
from app.maintenance import Window
from app.models import Job, JobSchedule, Server

ADDRESS = "192.0.2.17"
LATE_TOLERANCE = timedelta(hours=6)
Change = Callable[[Session, Policy, "Decision"], None]


@dataclass(frozen=True, slots=True)
class Decision:
    """Somebody sets something at a moment."""

    at: datetime
    change: Change

    def make(self, session: Session, policy: Policy) -> None:
        self.change(session, policy, self)


def decisions(clients: Sequence[Client], now: datetime) -> list[Decision]:
    """All of them, in no order."""
    made = [each for client in clients for each in _about(client, now)]
    names = {each.machine.name for each in clients}
    if "mail-01" in names:
        once = Window(starts_at=_hour(now) - 3 * HOUR, ends_at=_hour(now) + 5 * HOUR, zone="Europe/Paris")
        made.append(Decision(now - DAY, _window("Moving the mailboxes to new disks", "mail-01", once)))
    if "web-01" in names:
        weekly = Window(
            weekdays=frozenset({"sun"}), start_time="02:00", duration_minutes=180, zone="Europe/Paris"
        )
        made.append(Decision(now - 16 * DAY, _window("Updates on Sunday", "web-01", weekly)))
    return made


def _about(client: Client, now: datetime) -> list[Decision]:
    made = []
    if client.is_typed:
        late = client.fate is Fate.SHUT_AT_WEEKENDS
        at = client.joined_at + (min(16 * DAY, (now - client.joined_at) / 2) if late else 1.2 * DAY)
        made.append(Decision(at, _typed(client)))
    if client.fate is Fate.PAUSED:
        made.append(Decision(now - PAUSED_SINCE + HOUR, _paused(client)))
    if client.fate is Fate.LATE:
        made.append(Decision(now - 2 * DAY - LATE_BY, _tolerant(client)))
    if (client.machine.name, client.fate) == ("warehouse-pc", Fate.OFF) and client.number % 3 == 0:
        made.append(Decision(now - 2 * DAY - 5 * HOUR, _acknowledged(client)))
    return made


def job_of(session: Session, client: Client) -> Job | None:
    """The job as it is stored; None before its first report."""
    named = (Server.name == client.machine.name, Job.name == client.name)
    return session.scalar(select(Job).join(Server).where(*named))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _note(
    session: Session, job: Job, action: str, at: datetime, after: str | None, before: str | None = None
) -> None:
    target = f"job {job.id}: {job.name} on {job.server.name}"
    audit.note(
        session,
        actor="admin",
        action=action,
        target=target,
        now=at,
        before=before,
        after=after,
        address=ADDRESS,
    )


def _typed(client: Client) -> Change:
    days = "mon,tue,wed,thu,fri" if client.fate is Fate.SHUT_AT_WEEKENDS else ",".join(client.schedule.days)
    plan = client.schedule

    def change(session: Session, policy: Policy, decision: Decision) -> None:
        job = job_of(session, client)
        if job is None:
            return
        session.add(
            JobSchedule(
                job_id=job.id,
                source="typed",
                repeat=plan.repeat,
                days=days,
                zone=plan.zone,
                anchor_at=plan.anchor_at,
                set_at=decision.at,
            )
        )
        record.schedule_changed(session, job, policy, decision.at)
        _note(session, job, "schedule changed", decision.at, f"{plan.repeat} {days} {plan.zone}".strip())

    return change


def _paused(client: Client) -> Change:
    def change(session: Session, policy: Policy, decision: Decision) -> None:
        if job := job_of(session, client):
            job.paused_at = decision.at
            record.settings_changed(job, policy, decision.at)
            _note(session, job, "job paused", decision.at, "until resumed")

    return change


def _tolerant(client: Client) -> Change:
    def change(session: Session, policy: Policy, decision: Decision) -> None:
        if job := job_of(session, client):
            job.tolerance_seconds = int(LATE_TOLERANCE.total_seconds())
            record.settings_changed(job, policy, decision.at)
            _note(session, job, "tolerance changed", decision.at, f"{job.tolerance_seconds} s", "global")

    return change


def _acknowledged(client: Client) -> Change:
    def change(session: Session, policy: Policy, decision: Decision) -> None:
        job = job_of(session, client)
        if job and job.state == "overdue":
            job.acknowledged_at, job.acknowledged_by = decision.at, "admin"
            record.settings_changed(job, policy, decision.at)
            _note(session, job, "alert acknowledged", decision.at, "until it recovers")

    return change


def _window(name: str, machine: str, window: Window) -> Change:
    def change(session: Session, _policy: Policy, decision: Decision) -> None:
        server_id = session.scalar(select(Server.id).where(Server.name == machine))
        if server_id is None:
            return
        scoped = maintenance.limited(window, server_id, None)
        row = maintenance.add(session, name, scoped, decision.at)
        audit.note(
            session,
            actor="admin",
            action="maintenance window added",
            target=f"maintenance window {row.id}: {name}",
            now=decision.at,
            after=maintenance.describe(scoped),
            address=ADDRESS,
        )

    return change


# An alert is told a moment after it was recorded.
TOLD_AFTER = MINUTE / 20
