"""What others do with the same work, measured on two cores like ours: the figures to beat.

duplistatus 1.4.2 is a Next.js application with SQLite (production build, Node 24), Healthchecks a Django one
(its commit of August 2026); each the median of three runs or more. They hold for that machine and hour only.
"""

from __future__ import annotations

DUPLISTATUS = "d"
HEALTHCHECKS = "h"

SAVES_PER_SECOND = {1: 1015.0, 8: 1100.0}  # d: POST /api/cron-config by so many clients
GETS_PER_SECOND = {1: 1312.0, 16: 1458.0}  # d: GET /api/cron-config
PROXY_ADDS_MS = 2.47  # d: /api/cron/health against the direct call
PROXY_PER_SECOND = 974.0  # d: with 16 clients
UPLOADS_PER_SECOND = 252.0  # d: 3.7 kB into an empty database; 21 with 9 000 stored, 3.1 with 60 000
CHECK_MS = {"sqlite": 0.75, "postgresql": 1.2}  # h: nothing due, 1 000 to 1 000 000 checks
ALERTS = 1_000  # h: so many overdue at once were
RECORDED_SECONDS = {"sqlite": 3.0, "postgresql": 2.2}  # h: recorded in, before the first was sent
DELIVERED_PER_SECOND = {"sqlite": 73.0, "postgresql": 86.0}  # h
