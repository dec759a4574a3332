"""Alerts, and the workflows that tell people of them and of other things."""

from ml_platform.kit.durable import WorkflowEngine
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import WorkFactory
from ml_platform.services.alerts import NotifyWorkflow, SendWorkflow
from ml_platform.services.deployments import RolloutParts


def compose(runtime: Runtime) -> None:
    """After the deployments' part, which chooses who notifies."""
    parts = runtime.components
    engine, notifier = parts.get(WorkflowEngine), parts.get(RolloutParts).notifier
    engine.register(NotifyWorkflow(parts.get(WorkFactory), notifier))
    engine.register(SendWorkflow(notifier))
