"""The doors: one blueprint a module, listed here for the factory."""

from flask import Blueprint

from app.blueprints.about import bp as about_bp
from app.blueprints.account import bp as account_bp
from app.blueprints.api_keys import bp as api_keys_bp
from app.blueprints.audit_log import bp as audit_log_bp
from app.blueprints.auth import bp as auth_bp
from app.blueprints.channels import bp as channels_bp
from app.blueprints.config import bp as config_bp
from app.blueprints.connect import bp as connect_bp
from app.blueprints.dashboard import bp as dashboard_bp
from app.blueprints.external import bp as external_bp
from app.blueprints.health import bp as health_bp
from app.blueprints.ingest import bp as ingest_bp
from app.blueprints.job_settings import bp as job_settings_bp
from app.blueprints.jobs import bp as jobs_bp
from app.blueprints.maintenance import bp as maintenance_bp
from app.blueprints.message_templates import bp as message_templates_bp
from app.blueprints.proxy import bp as proxy_bp
from app.blueprints.quarantine import bp as quarantine_bp
from app.blueprints.retention import bp as retention_bp
from app.blueprints.schedules import bp as schedules_bp
from app.blueprints.status_page import bp as status_page_bp
from app.blueprints.users import bp as users_bp

BLUEPRINTS: tuple[Blueprint, ...] = (
    about_bp,
    account_bp,
    api_keys_bp,
    audit_log_bp,
    auth_bp,
    channels_bp,
    config_bp,
    connect_bp,
    dashboard_bp,
    external_bp,
    health_bp,
    ingest_bp,
    job_settings_bp,
    jobs_bp,
    maintenance_bp,
    message_templates_bp,
    proxy_bp,
    quarantine_bp,
    schedules_bp,
    users_bp,
    retention_bp,
    status_page_bp,
)
