"""The endpoint's name is free, or this model's already."""

from ml_platform.contracts.deployments import RolloutPurpose
from ml_platform.services.access import Work
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages.candidate import Candidate, Finding


def name_gate(work: Work, candidate: Candidate) -> Finding:
    """Applications call an endpoint by its name: another model does not come to stand behind it by a slip.

    What is only tried beside it may be another model, and may then take over; so may one that served there.
    """
    repository = DeploymentRepository(work.session, work.team_id)
    found = repository.find(candidate.environment.value, candidate.endpoint)
    holder = repository.holder(found.id) if found is not None else None
    evidence = {
        "endpoint": {
            "name": candidate.endpoint,
            "held_by": f"{holder[0].model_name}/{holder[0].model_version}" if holder is not None else None,
        }
    }
    model = candidate.version.model_name
    if found is None or holder is None or candidate.purpose is not RolloutPurpose.TRAFFIC:
        return Finding(evidence)
    revision, rollout_by = holder
    if revision.model_name == model or repository.had(found.id, model):
        return Finding(evidence)
    return Finding(
        evidence,
        f"the endpoint {candidate.endpoint!r} in {candidate.environment.value} is {revision.model_name!r}'s, which"
        f" {rollout_by} deployed there; give {model!r} another name (--name), or retire that deployment first:"
        f" mlops deployments retire {candidate.environment.value}/{candidate.endpoint}",
    )
