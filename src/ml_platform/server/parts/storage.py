"""Object storage and the cache of environments."""

from ml_platform.kit.environments import EnvironmentCache
from ml_platform.kit.storage import LocalStorage, ObjectStorage
from ml_platform.server.runtime import Runtime


def compose(runtime: Runtime) -> None:
    settings, parts = runtime.settings, runtime.components
    parts.provide(ObjectStorage, LocalStorage(settings.home / "storage"))
    parts.provide(EnvironmentCache, EnvironmentCache(settings.environments_dir))
