"""The audit log's checkpoints, its copy in write-once storage, and its retention."""

from datetime import timedelta

from ml_platform.kit.db import Database
from ml_platform.server.metrics import ApiMetrics
from ml_platform.server.object_storage import open_archive
from ml_platform.server.runtime import Runtime
from ml_platform.services.access import WorkFactory
from ml_platform.services.audit import (
    ArchiveDesk,
    AuditArchiver,
    AuditChain,
    AuditExporter,
    AuditPruner,
    AuditVerifier,
    CheckpointFile,
)
from ml_platform.services.deployments import TRAFFIC_ACTIONS

_CHECKPOINT_SECONDS = 1.0
_PRUNE_SECONDS = 3600.0
_LATE_TURNS = 3


def compose(runtime: Runtime) -> None:
    """Provides what reads the log, and copies it where the settings ask for it."""
    settings, parts = runtime.settings, runtime.components
    database, chain = parts.get(Database), parts.get(AuditChain)
    checkpoints = CheckpointFile(settings.home / "audit" / "checkpoints.jsonl", database, chain)
    parts.provide(AuditVerifier, AuditVerifier(database, chain, checkpoints))
    parts.provide(AuditExporter, AuditExporter(database, chain, checkpoints))
    runtime.repeat("audit-checkpoints", _CHECKPOINT_SECONDS, checkpoints.write)
    archiver = _archive(runtime, checkpoints)
    parts.provide(ArchiveDesk, ArchiveDesk(archiver, retention_days=settings.audit_retention_days))


def _archive(runtime: Runtime, checkpoints: CheckpointFile) -> AuditArchiver | None:
    settings, parts = runtime.settings, runtime.components
    store = open_archive(settings)
    if store is None:
        return None
    archiver = parts.provide(
        AuditArchiver,
        AuditArchiver(
            parts.get(Database),
            parts.get(AuditChain),
            checkpoints,
            store,
            retention=timedelta(days=settings.audit_retention_days),
            late=timedelta(seconds=60 + _LATE_TURNS * settings.audit_archive_seconds),
            prunes=settings.audit_prune,
        ),
    )
    runtime.repeat("audit-archive", settings.audit_archive_seconds, archiver.run)
    runtime.on_stop(archiver.close)  # before the last turn, which is not to wait for a store that is away
    runtime.on_start(lambda: parts.get(ApiMetrics).show_archive(archiver))
    if settings.audit_prune:
        pruner = AuditPruner(
            parts.get(WorkFactory),
            parts.get(AuditChain),
            archiver,
            store,
            retention_days=settings.audit_retention_days,
            keep=TRAFFIC_ACTIONS,
        )
        runtime.repeat("audit-retention", _PRUNE_SECONDS, pruner.run)
        runtime.on_stop(pruner.close)
    return archiver
