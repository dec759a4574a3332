"""Asks the policies about deployments, with what is known of the model that is deployed."""

from typing import Any

from ml_platform.contracts.deployments import Environment
from ml_platform.contracts.identity import Permission
from ml_platform.services.access import Actor, Decision, Resource, Work
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.tables import DeploymentRow, RolloutRow
from ml_platform.services.governance import (
    GovernanceRepository,
    PersonalDataCheck,
    TrainedOn,
    evidence_of,
    policy_facts,
    risk_facts,
    trained_on,
)

PERMISSIONS = {
    Environment.DEV: Permission.DEPLOY_STAGING,
    Environment.STAGING: Permission.DEPLOY_STAGING,
    Environment.PRODUCTION: Permission.DEPLOY_PRODUCTION,
}
DEPLOY = "deploy"


def permit(
    work: Work, environment: str, operation: str, facts: dict[str, Any], *, deployment_id: str = "new"
) -> Decision:
    """Raises ForbiddenError, with the policies and what they advise, unless one permits."""
    return work.require(
        PERMISSIONS[Environment(environment)], _resource(work, environment, facts, deployment_id), operation
    )


def decide(
    work: Work, environment: str, operation: str, facts: dict[str, Any], *, actor: Actor | None = None
) -> Decision:
    """What the policies say to the caller, or to somebody else."""
    resource = _resource(work, environment, facts, "new")
    return work.decide(PERMISSIONS[Environment(environment)], resource, operation, actor=actor)


def training_of(work: Work, version: DeployableVersion, check: PersonalDataCheck | None) -> TrainedOn | None:
    """What it was trained on, for all that is asked of it in one place."""
    return trained_on(check, work.session, work.team_id, version.model_name, version.version)


def facts_of_version(work: Work, version: DeployableVersion, trained: TrainedOn | None) -> dict[str, Any]:
    row = GovernanceRepository(work.session, work.team_id).risk(version.model_name)
    found: dict[str, Any] = {}
    if trained is not None:
        found = evidence_of(trained.facts, ())
        row = trained.risk(row)
    return policy_facts(
        version.model_name,
        version.version,
        risk=risk_facts(row) if row is not None else None,
        card=version.model_card,
        registered_by=version.created_by,
        personal_data=found,
    )


def facts_of_rollout(repository: DeploymentRepository, rollout: RolloutRow) -> dict[str, Any]:
    """As the stage `validate` found them."""
    stages = repository.stages(rollout)
    found = next((row.evidence for row in stages if row.name == "validate"), {})
    return policy_facts(
        rollout.model_name,
        rollout.model_version,
        risk=found.get("risk"),
        card=found.get("model_card"),
        registered_by=found.get("registered_by"),
        personal_data=found.get("personal_data"),
    )


def facts_of_deployment(repository: DeploymentRepository, deployment: DeploymentRow) -> dict[str, Any]:
    """Those of the rollout that is under way, or of the last one."""
    rollout_id = deployment.active_rollout_id or deployment.last_rollout_id
    return facts_of_rollout(repository, repository.rollout(rollout_id)) if rollout_id else {}


def _resource(work: Work, environment: str, facts: dict[str, Any], deployment_id: str) -> Resource:
    return Resource("deployment", deployment_id, work.team_id, {"environment": environment, **facts})
