"""A moment typed on the command line."""

from __future__ import annotations

from datetime import datetime

import click

from app import clock


class Moment(click.ParamType[datetime]):
    """ISO 8601 with a zone, such as 2026-12-01T02:00Z."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return clock.from_iso(value)
        except ValueError as problem:
            self.fail(f"{value!r} can't be read: {problem}", param, ctx)
