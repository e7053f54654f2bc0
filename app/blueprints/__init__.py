"""The doors: one blueprint a module, listed here for the factory."""

from flask import Blueprint

from app.blueprints.auth import bp as auth_bp
from app.blueprints.channels import bp as channels_bp
from app.blueprints.config import bp as config_bp
from app.blueprints.dashboard import bp as dashboard_bp
from app.blueprints.external import bp as external_bp
from app.blueprints.health import bp as health_bp
from app.blueprints.ingest import bp as ingest_bp
from app.blueprints.job_settings import bp as job_settings_bp
from app.blueprints.jobs import bp as jobs_bp
from app.blueprints.maintenance import bp as maintenance_bp
from app.blueprints.proxy import bp as proxy_bp
from app.blueprints.quarantine import bp as quarantine_bp

BLUEPRINTS: tuple[Blueprint, ...] = (
    auth_bp,
    channels_bp,
    config_bp,
    dashboard_bp,
    external_bp,
    health_bp,
    ingest_bp,
    job_settings_bp,
    jobs_bp,
    maintenance_bp,
    proxy_bp,
    quarantine_bp,
)
