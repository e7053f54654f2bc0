"""A pytest plugin: files whole, each in one process and in its own order, and first those that take longest.

The tests of a file share a browser and running processes, so they are not spread over several processes that
would each start them once more. A long file that is begun late is waited for by all others at the end.
"""

from __future__ import annotations

import pytest

# By the clock, in a whole run; a few seconds more or less do not matter here.
LONGEST = (
    "test_e2e_tour.py",
    "test_disk_faults.py",
    "test_start.py",
    "test_openapi_contract.py",
    "test_shared_check.py",
    "test_e2e_accounts.py",
    "test_e2e_dashboard.py",
    "test_e2e_alerts.py",
    "test_e2e_channels.py",
    "test_e2e_language.py",
    "test_hostile_bodies.py",
    "test_cron_service.py",
    "test_e2e_schedule.py",
    "test_e2e_settings.py",
    "test_e2e_job.py",
    "test_simulated_year.py",
    "test_slow_clients.py",
)
_PLACES = {name: place for place, name in enumerate(LONGEST)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _PLACES.get(item.path.name, len(LONGEST)))
