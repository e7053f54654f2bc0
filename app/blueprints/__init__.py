"""The doors: one blueprint a module, listed here for the factory."""

from flask import Blueprint

from app.blueprints import auth, config, dashboard, health, ingest, jobs, proxy, quarantine

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth.bp,
    config.bp,
    dashboard.bp,
    health.bp,
    ingest.bp,
    jobs.bp,
    proxy.bp,
    quarantine.bp,
)
