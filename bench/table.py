"""One line for each thing measured, its target, and how the tables are written."""

from __future__ import annotations

import json
import operator
import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app.version import VERSION

_COMPARE = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Row:
    """`target` reads like "≥ 1000" (of the median), "≥ 0.9×" (of the ratio to the baseline) or "≤ +20" (of
    the difference to it)."""

    work: str
    median: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    target: str = ""
    note: str = ""
    failed: bool = False
    runs: int = 1
    database: str = ""

    @property
    def ratio(self) -> float | None:
        return self.median / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        if self.failed or not self.target:
            return False if self.failed else None
        sign, value = self.target.split()
        measured: float | None = self.median
        if value.endswith("×"):
            measured = self.ratio
        elif value.startswith("+"):
            measured = None if self.baseline is None else self.median - self.baseline
        return measured is not None and bool(_COMPARE[sign](measured, float(value.rstrip("×"))))


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return [
        row.work + (f" ({row.note})" if row.note else ""),
        f"{_shown(row.median)} {row.unit}",
        f"{_shown(row.baseline)} {row.baseline_name}" if row.baseline is not None else "",
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        row.target,
        met,
    ]


def text(rows: Sequence[Row]) -> str:
    """The table as people read it."""
    lines = [["work", "median", "baseline", "ratio", "target", "met?"], *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(each.rstrip() for each in [shown[0], "-" * len(shown[0]), *shown[1:]])


def markdown(rows: Sequence[Row]) -> str:
    """The table as documents hold it."""
    lines = [["work", "median", "baseline", "ratio", "target", "met?"], ["---"] * 6, *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memoryGiB": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "gunicorn": version("gunicorn"),
        "sqlalchemy": version("sqlalchemy"),
        "load": os.getloadavg()[2],
    }


def write_json(rows: Sequence[Row], path: Path, **facts: object) -> None:
    """The same for programs, with what it was measured on; bench/README.md tells the shape."""
    content = {
        "version": VERSION,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine(),
        **facts,
        "rows": [
            {
                "name": row.work,
                "database": row.database,
                "median": row.median,
                "unit": row.unit,
                "runs": row.runs,
                "baseline": row.baseline,
                "baselineName": row.baseline_name,
                "ratio": row.ratio,
                "target": row.target,
                "met": row.met,
                "note": row.note,
            }
            for row in rows
        ],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> list[Row]:
    """The rows of a run that was written before."""
    names = {"name": "work", "baselineName": "baseline_name"}
    left_out = {"ratio", "met"}
    content = json.loads(path.read_text())
    return [
        Row(
            **{names.get(name, name): value for name, value in each.items() if name not in left_out},
            failed=each["met"] is False and not each["target"],
        )
        for each in content["rows"]
    ]
