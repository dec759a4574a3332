"""Alerts: what a person should know, once, until somebody has dealt with it."""

from ml_platform.services.alerts.endpoints import router
from ml_platform.services.alerts.interfaces import Notifier
from ml_platform.services.alerts.service import AlertService, NewAlert
from ml_platform.services.alerts.workflows import NotifyWorkflow

__all__ = ["AlertService", "NewAlert", "Notifier", "NotifyWorkflow", "router"]
