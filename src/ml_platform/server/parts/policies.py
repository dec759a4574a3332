"""The organisation's policies: read at the start, and again when there is a newer version."""

from ml_platform.kit.db import Database
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.server.runtime import Runtime
from ml_platform.services.policies import CHANGED, PolicyEngine, PolicySync

_LOOK_SECONDS = 1.0


def compose(runtime: Runtime) -> None:
    parts = runtime.components
    sync = parts.provide(PolicySync, PolicySync(parts.get(Database), parts.get(PolicyEngine)))
    sync.refresh()
    parts.get(OutboxRelay).on(CHANGED, lambda _entry_id, _payload: sync.refresh())
    runtime.repeat("policies", _LOOK_SECONDS, sync.refresh)  # another process may have applied them
