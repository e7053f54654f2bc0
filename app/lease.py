"""The right to run a task, so that of several cron services one does the work, others join or take over."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from app.db import insert_for
from app.models import Delivery, Lease, TaskRun

LEASE = timedelta(seconds=45)
RENEW_AFTER = timedelta(seconds=10)
_PART = "/"


def acquire(session: Session, name: str, holder: str, now: datetime) -> bool:
    """Take a lease that is free, run out or one's own; of two at once, one is told True."""
    values = {"holder": holder, "expires_at": now + LEASE}
    may_be_taken = or_(Lease.holder == holder, ~_is_in_force(now))
    statement = insert_for(session, Lease).values(name=name, **values)
    taken = statement.on_conflict_do_update(index_elements=["name"], set_=values, where=may_be_taken)
    return session.connection().execute(taken.returning(literal(1))).first() is not None


def join(session: Session, name: str, holder: str, now: datetime) -> str:
    """Take part in what another one is doing; the name of the lease that tells of it, which has to be renewed
    and released like any other."""
    own = f"{name}{_PART}{holder.rpartition(':')[2]}"
    acquire(session, own, holder, now)
    return own


def work_of(name: str) -> str:
    """What a lease is for, whether it is that of the first or of one who joined."""
    return name.partition(_PART)[0]


def _is_in_force(now: datetime) -> ColumnElement[bool]:
    # What ends later than any lease can was written by a clock that has been set back since.
    return and_(Lease.expires_at > now, Lease.expires_at <= now + 2 * LEASE)


def is_held(session: Session, name: str, now: datetime) -> bool:
    """Whether anybody is at it, the first or one who joined."""
    mine = or_(Lease.name == name, Lease.name.startswith(f"{name}{_PART}", autoescape=True))
    return session.scalar(select(Lease.name).where(mine, _is_in_force(now)).limit(1)) is not None


def any_holder(session: Session, now: datetime) -> str | None:
    """Who holds a lease that is in force, whatever it is for."""
    return session.scalar(select(Lease.holder).where(_is_in_force(now)).limit(1))


def renew(session: Session, name: str, holder: str, now: datetime) -> bool:
    """Hold a lease for longer; False when another one has it by now."""
    mine = update(Lease).where(Lease.name == name, Lease.holder == holder).values(expires_at=now + LEASE)
    return session.connection().execute(mine.returning(literal(1))).first() is not None


def release(session: Session, name: str, holder: str) -> bool:
    """Give a lease back; False when it was lost before."""
    mine = delete(Lease).where(Lease.name == name, Lease.holder == holder)
    return session.connection().execute(mine.returning(literal(1))).first() is not None


def be_alone(session: Session, name: str) -> None:
    """Until this transaction ends, others that ask for the same wait. On SQLite a writer is alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))


def holder_of(session: Session, name: str) -> str | None:
    return session.scalar(select(Lease.holder).where(Lease.name == name))


def free(session: Session, dead_holder: str, now: datetime) -> None:
    """Release whatever a holder that is known to be dead has left behind.

    What it was sending is due again, as if it had not been tried.
    """
    session.execute(delete(Lease).where(Lease.holder == dead_holder))
    sending = update(Delivery).where(Delivery.next_attempt_at > now, Delivery.claimed_by == dead_holder)
    session.execute(
        sending.values(next_attempt_at=now, claimed_by=None, attempts=Delivery.attempts - 1),
        execution_options={"synchronize_session": False},
    )


def done_by_another(
    session: Session, task: str, holder: str, due_at: datetime, after_id: int
) -> TaskRun | None:
    """The run by which another one has done what was due; runs up to `after_id` belong to earlier times.

    Moments alone would not do: after the clock was set back, past runs lie in the future.
    """
    done = select(TaskRun).where(
        TaskRun.task == task,
        TaskRun.id > after_id,
        TaskRun.holder != holder,
        TaskRun.succeeded.is_(True),
        TaskRun.finished_at.is_not(None),
        TaskRun.started_at >= due_at,
    )
    return session.scalars(done.order_by(TaskRun.id.desc()).limit(1)).first()
