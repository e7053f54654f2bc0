"""The first page as a browser sees it: its weight and first paint.

`python -m bench.pages` by itself; needs Chromium.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from app.clock import utcnow
from app.db import Database
from bench.table import Row, text
from tests import factories, fleet
from tests.browser import SCREENSHOTS, chromium, visit
from tests.processes import Veilleur

ROUNDS = 7
_SIZES = """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
.reduce((sum, each) => sum + each.decodedBodySize, 0)"""
_PAINT = """performance.getEntriesByName("first-contentful-paint")[0].startTime"""


def fill(veilleur: Veilleur, *, servers: int, jobs: int, runs: int) -> None:
    database = Database(f"sqlite:///{veilleur.instance / 'veilleur.db'}")
    fleet.add(database, utcnow(), servers=servers, jobs=jobs, runs=runs)
    with database.writing() as rows:
        factories.add_check(rows)
    database.dispose()


def in_browser(folder: Path) -> list[Row]:
    """500 jobs, each with 30 runs; a visit with an empty cache each time."""
    veilleur = Veilleur(folder)
    rows: list[Row] = []
    with veilleur.web(), chromium() as browser:
        fill(veilleur, servers=50, jobs=10, runs=30)
        for layout in ("Table", "By server"):
            picture = SCREENSHOTS / f"bench-{layout.lower().replace(' ', '-')}.png"
            weights, paints = [], []
            for _round in range(ROUNDS):
                with visit(browser, veilleur.url) as visitor:
                    visitor.log_in()
                    visitor.page.get_by_role("button", name=layout).click()
                    visitor.go("/")
                    visitor.page.screenshot(path=picture)
                    weights.append(visitor.page.evaluate(_SIZES) / 1000)
                    paints.append(visitor.page.evaluate(_PAINT))
            rows.append(Row(f"first page, 500 jobs, {layout}: weight", max(weights), "kB", target="≤ 150"))
            paint = statistics.median(paints)
            rows.append(Row(f"first page, 500 jobs, {layout}: first paint", paint, "ms", target="≤ 300"))
    return rows


def main() -> int:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="veilleur-bench-") as name:
        rows = in_browser(Path(name))
    print(text(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
