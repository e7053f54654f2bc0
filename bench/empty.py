"""A view that does nothing: what Flask and gunicorn cost by themselves."""

from __future__ import annotations

from flask import Flask

from app.db import EXTENSION, Database

app = Flask(__name__, static_folder=None)
app.extensions[EXTENSION] = Database("sqlite:///never-opened.db")  # gunicorn.conf.py resets it after a fork


@app.get("/")
def empty() -> str:
    return ""
