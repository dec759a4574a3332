"""Lineage: what everything was made of, from data to predictions."""

from ml_platform.services.lineage.endpoints import router
from ml_platform.services.lineage.predictions import LoggedPredictions
from ml_platform.services.lineage.recording import record_edges
from ml_platform.services.lineage.service import LineageService

__all__ = ["LineageService", "LoggedPredictions", "record_edges", "router"]
