"""A view that does nothing: what Flask and gunicorn cost by themselves."""

from __future__ import annotations

import threading

from flask import Flask

from app.db import EXTENSION, Database

app = Flask(__name__, static_folder=None)
# What gunicorn.conf.py resets after a fork, and begins in each worker.
app.extensions[EXTENSION] = Database("sqlite:///never-opened.db")
app.extensions["presence"] = threading.Thread(target=int)


@app.get("/")
def empty() -> str:
    return ""
