"""How the workers share the connections that come."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from app import web_server
from app.web_server import PatientWorker


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """With one connection that waits."""
    with ExitStack() as stack:
        listening = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        stack.enter_context(closing(socket.create_connection(listening.getsockname())))
        listening.setblocking(False)
        yield listening


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> Iterator[list[socket.socket]]:
    """The connections that another worker takes, which does so as soon as this one pauses."""
    others: list[socket.socket] = []
    monkeypatch.setattr(web_server.time, "sleep", lambda _seconds: others.append(listener.accept()[0]))
    yield others
    for each in others:
        each.close()


def worker(connections: int) -> tuple[Any, list[Any]]:
    """One that has so many, and what it takes; gunicorn makes it whole only in a process of its own."""
    made, own = object.__new__(PatientWorker), list[Any]()
    made.cfg, made.nr_conns, made.enqueue_req = None, connections, own.append
    return made, own


def test_a_worker_that_has_connections_lets_another_take_the_next(
    listener: socket.socket, taken: list[socket.socket]
) -> None:
    busy, own = worker(connections=1)
    busy.accept(listener)
    assert (len(taken), len(own), busy.nr_conns) == (1, 0, 1)


def test_a_worker_that_has_none_takes_it_at_once(listener: socket.socket, taken: list[socket.socket]) -> None:
    idle, own = worker(connections=0)
    idle.accept(listener)
    assert (len(taken), len(own), idle.nr_conns) == (0, 1, 1)
    own[0].sock.close()


def test_a_worker_takes_what_no_other_wants(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server.time, "sleep", lambda _seconds: None)
    busy, own = worker(connections=5)
    busy.accept(listener)
    assert (len(own), busy.nr_conns) == (1, 6)
    own[0].sock.close()
