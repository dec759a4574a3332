"""What governance asks of deployments and of the registry: what serves in production, and how it does now."""

from collections.abc import Collection, Iterable

from sqlalchemy import Select, select
from sqlalchemy.engine import Row

from ml_platform.contracts.deployments import Environment, RevisionStatus
from ml_platform.contracts.modelregister import Revalidation
from ml_platform.kit.wiring import Components
from ml_platform.services.access import Work
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, RolloutRow
from ml_platform.services.governance.interfaces import ServesInProduction
from ml_platform.services.registry.gate import reaches
from ml_platform.services.training import judge_on


class DeployedModels:
    """Implements `ProductionUse`."""

    def serving(self, work: Work, names: Collection[str]) -> dict[str, ServesInProduction]:
        query = _serving().where(
            DeploymentRow.team_id == work.team_id, RevisionRow.model_name.in_(list(names))
        )
        found = _by_model(work.session.execute(query))
        return {model: use for (_, _, model), use in found.items()}

    def everywhere(self, work: Work) -> list[tuple[str, str, str, ServesInProduction]]:
        found = _by_model(work.session.execute(_serving()))
        return [(*key, use) for key, use in found.items()]


class RowsRevalidator:
    """Implements `Revalidator`, over the same rows and the same process as every evaluation."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def revalidate(self, work: Work, model_id: str, dataset: str) -> Revalidation:
        version, rows, found = judge_on(self._components, work.actor, model_id, dataset)
        gate = version.gate
        passed, reason = None, "the version has no gate to reach"
        if gate is not None and gate.metric is not None and gate.threshold is not None:
            passed, reason = reaches(gate.metric, gate.threshold, found.metrics)
        return Revalidation(
            model_id=version.model_id,
            dataset=rows.reference,
            rows=found.rows,
            metrics=dict(found.metrics),
            passed=passed,
            reason=reason,
        )


def _serving() -> Select[DeploymentRow, RevisionRow, str]:
    return (
        select(DeploymentRow, RevisionRow, RolloutRow.requested_by)
        .join(RevisionRow, RevisionRow.deployment_id == DeploymentRow.id)
        .join(RolloutRow, RolloutRow.id == RevisionRow.rollout_id)
        .where(
            DeploymentRow.environment == Environment.PRODUCTION.value,
            RevisionRow.status == RevisionStatus.SERVING.value,
            RevisionRow.weight > 0,
        )
        .order_by(RevisionRow.id)
    )


def _by_model(
    rows: Iterable[Row[DeploymentRow, RevisionRow, str]],
) -> dict[tuple[str, str, str], ServesInProduction]:
    found: dict[tuple[str, str, str], ServesInProduction] = {}
    for deployment, revision, requested_by in rows:
        key = (deployment.team_id, deployment.team_name, revision.model_name)
        version, known = f"{revision.model_name}/{revision.model_version}", found.get(key)
        versions = dict.fromkeys((*(known.versions if known else ()), version))
        since = min(known.since, deployment.created_at) if known else deployment.created_at
        found[key] = ServesInProduction(tuple(versions), since, requested_by)
    return found
