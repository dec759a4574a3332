"""Datasets as Delta tables in the installation's storage."""

from ml_platform.integrations.delta import DeltaDatasetStore
from ml_platform.integrations.delta.datasets import DeltaDatasets
from ml_platform.server.runtime import Runtime
from ml_platform.services.datasets import DatasetStore


def compose(runtime: Runtime) -> None:
    root = runtime.settings.home / "datasets"
    runtime.components.provide(DatasetStore, DeltaDatasets(DeltaDatasetStore(root)))
