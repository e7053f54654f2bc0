"""What figures are compared with must run as the product does, or a measurement breaks down unseen."""

from __future__ import annotations

from pathlib import Path

import requests

from bench import processes
from tests.processes import unused_port


def test_the_empty_application_runs_under_the_settings_of_the_product(tmp_path: Path) -> None:
    port = unused_port()
    with processes.empty_application(tmp_path, port):
        answer = requests.get(f"http://127.0.0.1:{port}/", timeout=30)
    assert (answer.status_code, answer.content) == (200, b"")
