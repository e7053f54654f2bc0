"""The way from an empty installation to one that tells somebody: what is done, and what is still to do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts import Identity
from app.models import Channel


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """True is done."""

    password: bool
    report: bool
    channel: bool
    test: bool

    @property
    def done_count(self) -> int:
        return self.password + self.report + self.channel + self.test

    @property
    def are_done(self) -> bool:
        return self.done_count == 4


def look(session: Session, identity: Identity, jobs_count: int) -> FirstSteps:
    enabled, tested_at = session.execute(
        select(func.count(), func.max(Channel.tested_at)).where(Channel.enabled)
    ).one()
    return FirstSteps(
        password=not identity.password_is_initial,
        report=jobs_count > 0,
        channel=enabled > 0,
        test=tested_at is not None,
    )
