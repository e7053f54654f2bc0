"""Messages about one job stay in order on a channel, whether they come singly or in a group."""

from __future__ import annotations

import functools

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import aliased

from app.models import Alert, Delivery


@functools.cache  # to build it takes longer than to ask by it
def waits_for_earlier() -> ColumnElement[bool]:
    """A delivery whose job, or one of whose jobs, has an earlier one still to be delivered on the channel."""
    is_single, is_group = Delivery.job_id.is_not(None), Delivery.job_id.is_(None)
    return or_(
        _earlier_single(),
        and_(is_single, _earlier_group_with_the_job()),
        and_(is_group, or_(_earlier_single_of_a_member(), _earlier_group_with_a_member())),
    )


def _earlier_single() -> ColumnElement[bool]:
    earlier = aliased(Delivery)
    return exists().where(
        earlier.job_id == Delivery.job_id,
        earlier.channel_id == Delivery.channel_id,
        earlier.id < Delivery.id,
        earlier.next_attempt_at.is_not(None),
    )


def _earlier_group_with_the_job() -> ColumnElement[bool]:
    earlier, member = aliased(Delivery), aliased(Alert)
    return exists(
        select(earlier.id)
        .join(member, member.group_id == earlier.alert_id)
        .where(
            earlier.channel_id == Delivery.channel_id,
            earlier.job_id.is_(None),
            earlier.next_attempt_at.is_not(None),
            earlier.id < Delivery.id,
            member.job_id == Delivery.job_id,
        )
        .correlate(Delivery)
    )


def _earlier_single_of_a_member() -> ColumnElement[bool]:
    earlier, member = aliased(Delivery), aliased(Alert)
    return exists(
        select(member.id)
        .join(earlier, earlier.job_id == member.job_id)
        .where(
            member.group_id == Delivery.alert_id,
            earlier.channel_id == Delivery.channel_id,
            earlier.next_attempt_at.is_not(None),
            earlier.id < Delivery.id,
        )
        .correlate(Delivery)
    )


def _earlier_group_with_a_member() -> ColumnElement[bool]:
    earlier, theirs, mine = aliased(Delivery), aliased(Alert), aliased(Alert)
    return exists(
        select(earlier.id)
        .join(theirs, theirs.group_id == earlier.alert_id)
        .join(mine, mine.job_id == theirs.job_id)
        .where(
            earlier.channel_id == Delivery.channel_id,
            earlier.job_id.is_(None),
            earlier.next_attempt_at.is_not(None),
            earlier.id < Delivery.id,
            mine.group_id == Delivery.alert_id,
        )
        .correlate(Delivery)
    )
