"""One line for each thing measured, its target, and how the table is written."""

from __future__ import annotations

import json
import operator
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPARE = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Row:
    """`target` reads like "≥ 1000" (of the median) or "≥ 0.9×" (of the ratio to the baseline)."""

    work: str
    median: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    target: str = ""
    note: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        return self.median / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        if self.failed or not self.target:
            return False if self.failed else None
        sign, value = self.target.split()
        measured = self.ratio if value.endswith("×") else self.median
        return measured is not None and bool(_COMPARE[sign](measured, float(value.rstrip("×"))))


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return [
        row.work + (f" ({row.note})" if row.note else ""),
        f"{_shown(row.median)} {row.unit}",
        f"{_shown(row.baseline)} {row.baseline_name}" if row.baseline else "",
        f"{row.ratio:.2f}" if row.ratio else "",
        row.target,
        met,
    ]


def text(rows: Sequence[Row]) -> str:
    """The table as people read it."""
    lines = [["work", "median", "baseline", "ratio", "target", "met?"], *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(each.rstrip() for each in [shown[0], "-" * len(shown[0]), *shown[1:]])


def write_json(rows: Sequence[Row], path: Path, generator: str, seconds: float) -> None:
    """The same for programs, with what it was measured on."""
    content = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load": os.getloadavg()[2],
        },
        "generator": generator,
        "seconds": round(seconds, 1),
        "rows": [{**vars(row), "ratio": row.ratio, "met": row.met} for row in rows],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
