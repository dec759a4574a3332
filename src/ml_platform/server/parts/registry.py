"""The model registry: who inspects and evaluates models, who registers them, who checks them."""

from ml_platform.integrations.modelbuild import ModelBuilder
from ml_platform.integrations.modelbuild.inspection import BuilderInspector
from ml_platform.integrations.modelsigning import OmsSigner
from ml_platform.kit.environments import EnvironmentCache
from ml_platform.kit.secrets import SecretStore
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.runtime import Runtime
from ml_platform.services.registry import ModelFiles, ModelInspector, ModelSigner, ModelStore, Registrar


def compose(runtime: Runtime) -> None:
    parts, work_root = runtime.components, runtime.settings.home / "work"
    storage = parts.get(ObjectStorage)
    builder = parts.provide(ModelBuilder, ModelBuilder(parts.get(EnvironmentCache), work_root))
    inspector = parts.provide(ModelInspector, BuilderInspector(builder))
    parts.provide(ModelFiles, ModelFiles(storage, inspector))
    signer = parts.provide(
        OmsSigner, OmsSigner(parts.get(SecretStore).get_or_create("model-signing.key", size=48))
    )
    parts.provide(ModelSigner, signer)
    parts.provide(Registrar, Registrar(parts.get(ModelStore), inspector, signer, storage, work_root))
