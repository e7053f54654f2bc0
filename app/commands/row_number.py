"""The number of a row typed on the command line: no larger than a database can hold."""

from __future__ import annotations

import click

ROW_NUMBER = click.IntRange(1, 2**63 - 1)
