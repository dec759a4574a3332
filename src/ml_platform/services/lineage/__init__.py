"""Lineage: what everything was made of, from data to predictions; told to others as OpenLineage's events."""

from ml_platform.services.lineage.delivery import EventDelivery, waiting_events
from ml_platform.services.lineage.endpoints import router
from ml_platform.services.lineage.interfaces import EventReceiver, EventRejectedError
from ml_platform.services.lineage.predictions import LoggedPredictions
from ml_platform.services.lineage.recording import record_edges
from ml_platform.services.lineage.runs import RunEvents
from ml_platform.services.lineage.service import LineageService

__all__ = [
    "EventDelivery",
    "EventReceiver",
    "EventRejectedError",
    "LineageService",
    "LoggedPredictions",
    "RunEvents",
    "record_edges",
    "router",
    "waiting_events",
]
