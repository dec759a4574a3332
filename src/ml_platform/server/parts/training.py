"""Training jobs on this machine: engine, queue, keys, workflow."""

from collections.abc import Iterable
from typing import Any

from ml_platform.integrations.jobs.engine import LocalJobEngine
from ml_platform.integrations.jobs.local import LocalJobs, TarSources
from ml_platform.kit.db import Database
from ml_platform.kit.durable import WorkflowEngine
from ml_platform.kit.errors import BadInputError
from ml_platform.kit.outbox import OutboxRelay
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.job_keys import IdentityJobKeys, ensure_owner
from ml_platform.server.metrics import ApiMetrics, JobCounts
from ml_platform.server.runtime import Runtime
from ml_platform.server.settings import Settings
from ml_platform.services.access import Work, WorkFactory
from ml_platform.services.registry import Registrar
from ml_platform.services.training import (
    CANCEL_TOPIC,
    GatedRegistration,
    InputSource,
    JobEngine,
    JobQueue,
    JobRuns,
    JobSteps,
    ResolvedInput,
    SourceStore,
    TrainingJob,
    TrainingSettings,
)


def compose(runtime: Runtime) -> None:
    """Provides training and registers its workflow."""
    settings, parts = runtime.settings, runtime.components
    chosen = parts.provide(TrainingSettings, _settings(settings))
    storage, factory = parts.get(ObjectStorage), parts.get(WorkFactory)
    local = LocalJobEngine(settings.home / "jobs", settings.environments_dir)
    jobs = parts.provide(JobEngine, LocalJobs(local, environment_seconds=chosen.environment_seconds))
    work_root = settings.home / "work"
    parts.provide(
        SourceStore, SourceStore(TarSources(work_root), storage, work_root, max_bytes=chosen.source_bytes)
    )
    try:
        parts.get(InputSource)
    except LookupError:
        parts.provide(InputSource, _NoInputs())
    ensure_owner(factory)
    workflows = parts.get(WorkflowEngine)

    def wake(workflow_ids: Iterable[str]) -> None:
        for workflow_id in workflow_ids:
            workflows.wake(workflow_id)

    steps = JobSteps(
        factory=factory,
        settings=chosen,
        engine=jobs,
        keys=IdentityJobKeys(),
        runs=parts.get(JobRuns),
        storage=storage,
        queue=JobQueue(factory, max_running=chosen.max_running),
        registration=GatedRegistration(factory, parts.get(Registrar)),
        wake=wake,
    )
    workflows.register(TrainingJob(steps, poll_seconds=chosen.poll_seconds))

    def cancel(_entry_id: str, payload: dict[str, Any]) -> None:
        jobs.cancel(payload["job_id"])
        workflows.wake(payload["job_id"])

    parts.get(OutboxRelay).on(CANCEL_TOPIC, cancel)
    counts = JobCounts(parts.get(Database))
    runtime.on_start(lambda: parts.get(ApiMetrics).registry.register(counts))


def _settings(settings: Settings) -> TrainingSettings:
    jobs = settings.jobs
    return TrainingSettings(
        api_url=settings.api_url,
        max_running=jobs.max_running,
        max_queued_per_team=jobs.max_queued_per_team,
        timeout_seconds=jobs.timeout_seconds,
        memory_bytes=jobs.memory_bytes,
        max_processes=jobs.max_processes,
        log_bytes=jobs.log_bytes,
        source_bytes=jobs.source_bytes,
    )


class _NoInputs:
    """Stands where no part of this process knows datasets."""

    def resolve(self, work: Work, reference: str) -> ResolvedInput:  # noqa: ARG002 - the interface's form
        raise BadInputError.of("inputs", f"{reference!r} cannot be read: there are no datasets here")
