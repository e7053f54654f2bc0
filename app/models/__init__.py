"""Everything that is stored."""

from __future__ import annotations

from app.models.alerting import Alert, Channel, Delivery, DeliveryAttempt
from app.models.columns import RowId
from app.models.jobs import STATE_RANKS, Job, JobSchedule, MaintenanceWindow, ReportTotal, Server, Total
from app.models.people import ApiKey, AuditEntry, LoginFailure, User, UserSession
from app.models.reports import QuarantinedBody, Report, ReportBody
from app.models.service import Downtime, Heartbeat, Lease, TaskRun

__all__ = [
    "STATE_RANKS",
    "Alert",
    "ApiKey",
    "AuditEntry",
    "Channel",
    "Delivery",
    "DeliveryAttempt",
    "Downtime",
    "Heartbeat",
    "Job",
    "JobSchedule",
    "Lease",
    "LoginFailure",
    "MaintenanceWindow",
    "QuarantinedBody",
    "Report",
    "ReportBody",
    "ReportTotal",
    "RowId",
    "Server",
    "TaskRun",
    "Total",
    "User",
    "UserSession",
]
