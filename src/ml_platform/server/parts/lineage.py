"""Lineage: edges of changes, and what the prediction log adds."""

from ml_platform.server.runtime import Runtime
from ml_platform.services.audit import AuditChain
from ml_platform.services.lineage import LoggedPredictions, record_edges
from ml_platform.services.monitoring import PredictionLog


def compose(runtime: Runtime) -> None:
    """After monitoring's part, which chooses the prediction log."""
    parts = runtime.components
    parts.provide(LoggedPredictions, LoggedPredictions(parts.get(PredictionLog)))
    parts.get(AuditChain).listen(record_edges)
