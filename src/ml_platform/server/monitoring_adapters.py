"""What monitoring asks of other slices, answered by them: deployments, the registry, training."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_platform.contracts.deployments import CanaryPlan, DeployRequest, Environment, RevisionStatus
from ml_platform.contracts.jobs import JobStatus, TrainRequest
from ml_platform.integrations.predictionlog import describe_answers
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.kit.wiring import Components
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeploymentService
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.experiments import Tracking
from ml_platform.services.monitoring import JobOutcome, ServedBundle, ServedDeployment, ServedVersion
from ml_platform.services.monitoring.statistics import AnswerKind
from ml_platform.services.registry import ModelFiles, RegistryService
from ml_platform.services.training import InputSource, SourceStore, TrainingService, TrainingSettings
from ml_platform.services.training.repository import TrainingRepository

_SERVING = (RevisionStatus.SERVING.value, RevisionStatus.CANDIDATE.value)


class MonitoredDeployments:
    """Deployments as their own slice keeps them."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def get(self, work: Work, deployment_id: str) -> ServedDeployment:
        repository = DeploymentRepository(work.session, work.team_id)
        row = repository.deployment(deployment_id)
        return _served(row, repository.loaded(row.id))

    def list_serving(self, session: Session) -> Sequence[ServedDeployment]:
        query = (
            select(DeploymentRow, RevisionRow)
            .join(RevisionRow, RevisionRow.deployment_id == DeploymentRow.id)
            .where(RevisionRow.status.in_(_SERVING), RevisionRow.weight > 0)
        )
        found: dict[str, tuple[DeploymentRow, list[RevisionRow]]] = {}
        for deployment, revision in session.execute(query):
            found.setdefault(deployment.id, (deployment, []))[1].append(revision)
        return [_served(deployment, revisions) for deployment, revisions in found.values()]

    def request_rollout(
        self, work: Work, deployment_id: str, model_id: str, *, justification: str
    ) -> str | None:
        repository = DeploymentRepository(work.session, work.team_id)
        row = repository.deployment(deployment_id)
        last = repository.rollouts(deployment_id, before=None, limit=1)
        canary = CanaryPlan.model_validate(last[0].config["canary"]) if last else None
        request = DeployRequest(
            environment=Environment(row.environment),
            name=row.name,
            replicas=row.replicas,
            auto_scale=row.auto_scale,
            max_replicas=row.max_replicas,
            justification=justification,
            canary=canary,
        )
        service = DeploymentService(work, self._components.get(RolloutParts))
        try:
            return service.deploy(model_id, request).rollout_id
        except ConflictError as error:
            if error.extra.keys() & {"rollout_id", "ab_test_id"}:  # another one, or a test, is under way
                return None
            raise


class BundleAnswers:
    """What revisions answer, by the bundles that deployments keep."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def bundles(self, work: Work, deployment_id: str) -> dict[str, ServedBundle]:
        query = select(RevisionRow).where(
            RevisionRow.team_id == work.team_id, RevisionRow.deployment_id == deployment_id
        )
        rows = work.session.scalars(query)
        return {row.id: ServedBundle(row.bundle_uri, row.bundle_digest) for row in rows}

    def describe(self, bundle: ServedBundle) -> AnswerKind | None:
        return describe_answers(self._storage, bundle)


class MonitoredVersions:
    """Model versions as the registry keeps them."""

    def __init__(self, files: ModelFiles) -> None:
        self._files = files

    def get(self, work: Work, model_name: str, version: int) -> ServedVersion:
        found = RegistryService(work).get_version(model_name, version)
        inputs: Iterable[dict[str, Any]] | None = (found.signature or {}).get("inputs")
        return ServedVersion(
            model_name=found.name,
            version=found.version,
            label=found.label,
            columns=tuple(str(column["name"]) for column in inputs) if inputs else None,
            reference=self._files.reference(found),
            job_id=found.job_id,
        )


class RepeatableJobs:
    """Jobs as training keeps them."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def resubmit(self, work: Work, job_id: str) -> str:
        row = TrainingRepository(work.session, work.team_id).job(job_id)
        if row is None:
            raise NotFoundError.of("job", job_id)
        # The request is as it was sent, so that an input without a version is resolved anew.
        request = TrainRequest.model_validate({**row.request, "source": row.source_id})
        return self._service(work).submit(row.experiment_id, request).job_id

    def outcome(self, work: Work, job_id: str) -> JobOutcome | None:
        job = self._service(work).get(job_id)
        if not job.status.ended:
            return None
        return JobOutcome(job.status is JobStatus.SUCCEEDED, job.model_id, job.reason)

    def _service(self, work: Work) -> TrainingService:
        parts = self._components
        return TrainingService(
            work,
            settings=parts.get(TrainingSettings),
            tracking=parts.get(Tracking),
            sources=parts.get(SourceStore),
            inputs=parts.get(InputSource),
        )


def _served(row: DeploymentRow, revisions: Sequence[RevisionRow]) -> ServedDeployment:
    serving = [r for r in revisions if r.weight > 0 and r.status in _SERVING]
    main = max(serving, key=lambda r: r.weight, default=None)
    blank = ServedDeployment(row.id, row.team_id, row.team_name, row.environment, row.name)
    if main is None:
        return blank
    return replace(
        blank,
        model_name=main.model_name,
        model_version=main.model_version,
        bundle_uri=main.bundle_uri,
        bundle_digest=main.bundle_digest,
    )
