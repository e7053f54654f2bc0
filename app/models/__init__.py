"""Everything that is stored."""

from __future__ import annotations

from app.models.alerting import Alert, Channel, Delivery, DeliveryAttempt, MessageTemplate
from app.models.columns import RowId
from app.models.jobs import STATE_RANKS, Job, JobSchedule, MaintenanceWindow, ReportTotal, Server, Total
from app.models.people import ApiKey, AuditEntry, LoginFailure, User, UserSession
from app.models.reports import QuarantinedBody, Report, ReportBody
from app.models.service import Downtime, Heartbeat, Lease, StoredSetting, TaskRun

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
    "MessageTemplate",
    "QuarantinedBody",
    "Report",
    "ReportBody",
    "ReportTotal",
    "RowId",
    "Server",
    "StoredSetting",
    "TaskRun",
    "Total",
    "User",
    "UserSession",
]
