"""Whoever asked for a rollout may still do so: asked again when it begins, and right before it is placed."""

from typing import Any

from ml_platform.contracts.deployments import Environment
from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.permitting import DEPLOY, PERMISSIONS, decide, facts_of_version
from ml_platform.services.deployments.stages.candidate import Finding
from ml_platform.services.deployments.tables import RolloutRow
from ml_platform.services.governance import RoleDirectory, TrainedOn

_PLATFORM = "system:"


def starter_gate(
    work: Work,
    roles: RoleDirectory,
    rollout: RolloutRow,
    version: DeployableVersion,
    trained: TrainedOn | None,
) -> Finding:
    """Stops it when who asked left or lost the role, when their key was revoked, or policies forbid it by now.

    A key that has only run out does not: it was good when it was used. Nor is the platform asked, which starts
    what drift or a schedule calls for.
    """
    permission = PERMISSIONS[Environment(rollout.environment)]
    evidence: dict[str, Any] = {"permission": permission.value, "asked_by": rollout.requested_by_name}
    if rollout.requested_by.startswith(_PLATFORM):
        return Finding({"starter": evidence})
    who = rollout.requested_by_name
    if roles.actor_of(work, rollout.requested_by) is None:
        return Finding({"starter": evidence}, f"{who}, who asked for it, is not active any more")
    starter = roles.actor_of(work, rollout.requested_by, rollout.requested_key)
    if starter is None:
        return Finding({"starter": evidence}, f"the key with which {who} asked for it was revoked since")
    decision = decide(
        work, rollout.environment, DEPLOY, facts_of_version(work, version, trained), actor=starter
    )
    evidence |= decision.evidence()
    if decision.allowed:
        return Finding({"starter": evidence})
    if decision.policies:
        return Finding({"starter": evidence}, f"{decision.reason} (it was permitted when {who} asked for it)")
    return Finding(
        {"starter": evidence},
        f"{who}, who asked for it, does not hold the permission {permission.value} any more; somebody who does"
        " asks again",
    )
