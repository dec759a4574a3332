"""Alerts: what a person should know, once, until somebody has dealt with it."""

from ml_platform.services.alerts.endpoints import router
from ml_platform.services.alerts.interfaces import Notifier
from ml_platform.services.alerts.service import AlertService, NewAlert
from ml_platform.services.alerts.workflows import Message, NotifyWorkflow, SendWorkflow, send_later

__all__ = [
    "AlertService",
    "Message",
    "NewAlert",
    "Notifier",
    "NotifyWorkflow",
    "SendWorkflow",
    "router",
    "send_later",
]
