"""Datasets as Delta tables in the installation's storage, examined for personal data."""

from ml_platform.integrations.delta import DeltaDatasetStore
from ml_platform.integrations.delta.datasets import DeltaDatasets
from ml_platform.integrations.personaldata import RulesFinder
from ml_platform.server.runtime import Runtime
from ml_platform.services.datasets import DatasetStore, PersonalDataFinder


def compose(runtime: Runtime) -> None:
    root = runtime.settings.home / "datasets"
    finder = runtime.components.provide(PersonalDataFinder, RulesFinder())
    runtime.components.provide(DatasetStore, DeltaDatasets(DeltaDatasetStore(root), finder))
