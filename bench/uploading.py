"""Reports taken in per second, with few and many stored; and the memory that a large one takes."""

from __future__ import annotations

import json
from contextlib import ExitStack

import requests

from bench import peers, processes, web
from bench.ground import Ground, Installed, moments
from bench.load import Load, Moments, run
from bench.table import Row
from tests.memory import growth_of_children

SECONDS = 3.0
CLIENTS = 8
SMALL_BYTES, USUAL_BYTES, LARGE_BYTES = 3_650, 19_900, 20_000_000


def rate(ground: Ground) -> list[Row]:
    """The same reports to installations with nothing, some and much stored, by turns."""
    places = {"nothing": ground.bare(), "10000": ground.one_report_each(), "many": ground.many()}
    times, loads = moments(), {name: list[Load]() for name in places}
    one, usual = [], []
    with ExitStack() as stack:
        for place in places.values():
            stack.enter_context(processes.web(place.veilleur))
        for place in places.values():
            _upload(place, times, CLIENTS, seconds=1)
        for _ in range(ground.scale.rounds):
            for name, place in places.items():
                loads[name].append(_upload(place, times, CLIENTS))
            one.append(_upload(places["nothing"], times, 1))
            usual.append(_upload(places["nothing"], times, CLIENTS, USUAL_BYTES))
    empty, stored = web.median(loads["nothing"]), ground.many().population.reports
    beside = {"baseline": peers.UPLOADS_PER_SECOND, "baseline_name": peers.DUPLISTATUS}
    less = {"baseline": empty, "baseline_name": "nothing stored", "target": "≥ 0.8×"}
    return [
        web.row("upload of 3.7 kB, 1 client", one, **beside),
        web.row("upload of 3.7 kB, 8 clients", loads["nothing"], **beside, target="≥ 1000"),
        web.row("upload of 3.7 kB, 8 clients, 10000 stored", loads["10000"], **less),
        web.row(f"upload of 3.7 kB, 8 clients, {stored} stored", loads["many"], **less),
        web.row("upload of 20 kB, 8 clients", usual, baseline=empty, baseline_name="3.7 kB"),
    ]


def _upload(
    place: Installed, times: Moments, clients: int, size: int = SMALL_BYTES, seconds: float = SECONDS
) -> Load:
    call = web.upload_call(place.veilleur, size, place.upload_key, jobs=place.population.jobs)
    return run(call, clients, seconds, times)


def large(ground: Ground) -> list[Row]:
    """How much a report of 20 MB adds to what the workers hold at most."""
    place, grown = ground.bare(), []
    with processes.web(place.veilleur) as (process, _):
        template = web.upload_call(place.veilleur, LARGE_BYTES, place.upload_key)
        url = place.veilleur.url + template.path
        requests.post(url, template.body(0, 0), headers=dict(template.headers), timeout=60).raise_for_status()
        for number in range(3):
            body = template.body(1_700_000_000, number + 1)
            with growth_of_children(process.child.pid) as growth:
                answer = requests.post(url, body, headers=dict(template.headers), timeout=60)
            assert answer.status_code == 200, answer.text
            assert json.loads(answer.text) == {"success": True}
            grown.append(growth.peak_bytes / len(body))
    largest = max(grown)
    return [
        Row("memory for a report of 20 MB, by its size", largest, "×", target="≤ 3", note="the worst", runs=3)
    ]
