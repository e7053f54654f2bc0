"""What can keep a database from being copied; every text is one clear line."""

from __future__ import annotations


class CopyError(Exception):
    """The copy can't be made or is not right; the text says why, and which row is at fault."""
