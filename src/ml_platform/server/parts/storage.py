"""Object storage and the cache of environments."""

from ml_platform.kit.environments import EnvironmentCache
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.object_storage import open_storage
from ml_platform.server.runtime import Runtime


def compose(runtime: Runtime) -> None:
    settings, parts = runtime.settings, runtime.components
    parts.provide(ObjectStorage, open_storage(settings))
    parts.provide(EnvironmentCache, EnvironmentCache(settings.environments_dir))
