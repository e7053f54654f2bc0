"""A view that does nothing: what Flask and gunicorn cost by themselves."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from flask import Flask


class _Presence(threading.Thread):
    def rehearse(self) -> None:
        pass


app = Flask(__name__, static_folder=None)
# What gunicorn.conf.py resets after a fork, and begins in each worker.
app.extensions["database"] = SimpleNamespace(forget_connections=int)
app.extensions["presence"] = _Presence(target=int)


@app.get("/")
def empty() -> str:
    return ""
