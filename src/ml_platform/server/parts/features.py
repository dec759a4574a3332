"""Features by Feast."""

from ml_platform.integrations.feast.engine import FeastEngine
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.feast_reads import FeastReads
from ml_platform.server.online_stores import OnlineStores
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import WorkFactory
from ml_platform.services.datasets import DatasetStore
from ml_platform.services.features import (
    FeatureEngine,
    FeatureLookups,
    MaterializeWorkflow,
    OnlineLookups,
    TableInputs,
)
from ml_platform.services.training import InputSource


def compose(runtime: Runtime) -> None:
    parts = runtime.components
    engine = parts.provide(
        FeatureEngine,
        FeastEngine(runtime.settings.home / "features", runtime.settings.online_store_address()),
    )
    parts.provide(OnlineStores, OnlineStores(engine))
    reads = parts.provide(FeastReads, FeastReads(runtime.settings.online_store_address()))
    runtime.on_stop(reads.stop)
    parts.provide(FeatureLookups, OnlineLookups(parts.get(Database), engine))
    inputs = TableInputs(engine, parts.get(DatasetStore), parts.get(ObjectStorage))
    parts.provide(InputSource, inputs)
    workflow = MaterializeWorkflow(
        parts.get(WorkFactory), engine, parts.get(DatasetStore), parts.get(ObjectStorage)
    )
    parts.get(WorkflowEngine).register(workflow)
