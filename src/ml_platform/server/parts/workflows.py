"""The workflow engine, and the outbox topics by which transactions start and tell workflows."""

from typing import Any

from ml_platform.integrations.dbos import DbosEngine
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.server.runtime import Runtime
from ml_platform.services.access.work import SEND_TO_WORKFLOW, START_WORKFLOW

APPLICATION_VERSION = "1"
"""Pinned: a newer platform takes up the workflows of an older one (`Flow.patched` tells them apart)."""


def compose(runtime: Runtime) -> None:
    """Provides the engine; other parts register their workflows before it is launched."""
    engine = runtime.components.provide(
        WorkflowEngine,
        DbosEngine(runtime.settings.workflow_url, application_version=APPLICATION_VERSION),
    )
    relay = runtime.components.get(OutboxRelay)

    def start(_entry_id: str, payload: dict[str, Any]) -> None:
        group = str(payload["arguments"].get("team_id") or "default")
        engine.start(payload["name"], payload["workflow_id"], payload["arguments"], group=group)

    def send(entry_id: str, payload: dict[str, Any]) -> None:
        engine.send(payload["workflow_id"], payload["topic"], payload["message"], idempotency_key=entry_id)

    relay.on(START_WORKFLOW, start)
    relay.on(SEND_TO_WORKFLOW, send)


def launch(runtime: Runtime) -> None:
    """Last of all: the engine takes up what was under way, then the outbox starts to deliver."""
    engine = runtime.components.get(WorkflowEngine)
    relay = runtime.components.get(OutboxRelay)
    runtime.on_start(engine.launch)
    runtime.on_stop(engine.shutdown)
    runtime.on_start(relay.start)
    runtime.on_stop(relay.stop)
