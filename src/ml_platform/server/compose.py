"""Chooses the adapter behind every interface: the only module that knows all of them."""

from ml_platform.server.parts import (
    alerts,
    audit,
    core,
    datasets,
    deployments,
    features,
    governance,
    lineage,
    mlflow,
    monitoring,
    policies,
    registry,
    storage,
    training,
    trials,
    workflows,
)
from ml_platform.server.runtime import Runtime
from ml_platform.server.settings import Settings

PARTS = (
    core,
    audit,
    policies,
    storage,
    workflows,
    datasets,
    features,
    mlflow,
    registry,
    training,
    governance,
    deployments,
    alerts,
    monitoring,
    lineage,
    trials,
)
"""In the order in which they need each other."""


def compose(settings: Settings) -> Runtime:
    """The control plane's parts, as the settings choose them; nothing runs before `Runtime.start`."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    runtime = Runtime(settings)
    for part in PARTS:
        part.compose(runtime)
    workflows.launch(runtime)
    return runtime
