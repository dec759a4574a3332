"""Alerts, and the workflow that tells people of them."""

from ml_platform.kit.durable import WorkflowEngine
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import WorkFactory
from ml_platform.services.alerts import NotifyWorkflow
from ml_platform.services.deployments import RolloutParts


def compose(runtime: Runtime) -> None:
    """After the deployments' part, which chooses who notifies."""
    parts = runtime.components
    parts.get(WorkflowEngine).register(
        NotifyWorkflow(parts.get(WorkFactory), parts.get(RolloutParts).notifier)
    )
