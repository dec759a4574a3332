"""The model registry: who inspects and evaluates models, who registers them, who checks them."""

from ml_platform.integrations.modelbuild import ModelBuilder
from ml_platform.integrations.modelbuild.inspection import BuilderInspector
from ml_platform.kit.environments import EnvironmentCache
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.runtime import Runtime
from ml_platform.services.registry import ModelFiles, ModelInspector, ModelStore, Registrar


def compose(runtime: Runtime) -> None:
    parts, work_root = runtime.components, runtime.settings.home / "work"
    storage = parts.get(ObjectStorage)
    builder = parts.provide(ModelBuilder, ModelBuilder(parts.get(EnvironmentCache), work_root))
    inspector = parts.provide(ModelInspector, BuilderInspector(builder))
    parts.provide(ModelFiles, ModelFiles(storage, inspector))
    parts.provide(Registrar, Registrar(parts.get(ModelStore), inspector, storage, work_root))
