"""deploy: the revision becomes desired state, without traffic, and the inference plane loads it."""

from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError

from ml_platform.contracts.deployments import Environment, RevisionStatus, RolloutStatus, StageName
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.access import Work
from ml_platform.services.deployments.approving import ASK_AGAIN
from ml_platform.services.deployments.bundles import local_copy
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.ledger import Outcome, RolloutLedger, failed, purpose_of
from ml_platform.services.deployments.permitting import training_of
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.deployments.sizes import Size
from ml_platform.services.deployments.stages import StageContext
from ml_platform.services.deployments.stages.candidate import Candidate, Finding
from ml_platform.services.deployments.stages.quota import quota_gate
from ml_platform.services.deployments.stages.starter import starter_gate
from ml_platform.services.deployments.stages.validate import ARTIFACT_CHANGED, artifact_problem
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow, RolloutRow
from ml_platform.services.deployments.traffic import Traffic
from ml_platform.services.governance import (
    ApprovalService,
    GovernanceRepository,
    TrainedOn,
    risk_facts,
    subject_digest,
)

_STAGE = StageName.DEPLOY
_SMOKE_GRACE = timedelta(minutes=10)


class PlacingStage:
    """Places a rollout's revision, and says what became of it."""

    def __init__(self, runner: StageRunner) -> None:
        self._runner = runner

    def place(self) -> bool:
        """Checks artifact, bundle, approval and quota once more, and adds the revision in the same transaction."""
        begun = self._runner.begin(_STAGE)
        if begun is not None:
            return begun
        context = self._runner.context()
        parts = context.parts
        version = context.resolve()
        try:
            artifact = parts.tools.inspect(version.source)
            problem = artifact_problem(version, artifact)
            if problem is None:
                build = context.evidence["build"]
                parts.tools.verify(local_copy(parts, build["bundle_uri"]), build["bundle_digest"])
        except UnavailableError:
            raise
        except AppError as error:
            problem = error.detail
        if problem is not None:
            return self._runner.settle(_STAGE, failed(problem, code=ARTIFACT_CHANGED))
        with self._runner.work() as work:
            return self._commit(work, context, version, artifact.digest)

    def look(self) -> dict[str, Any] | None:
        """What the inference plane says of the revision; None to ask again."""
        try:
            with self._runner.ledger(write=False) as ledger:
                rollout = ledger.repository.rollout(self._runner.rollout_id)
                if RolloutStatus(rollout.status).finished:
                    return {"state": "over"}
            state, reason = self._runner.parts.plane.revision_state(rollout.revision_id)
        except (UnavailableError, OperationalError):
            return None  # it may come back within the time that it has
        return {"state": state, "reason": reason} if state in ("ready", "failed") else None

    def settle(self, found: dict[str, Any] | None) -> bool:
        """Ready, failed with the server's own reason, or neither within the time limit."""
        limit = self._runner.parts.settings.ready_timeout_seconds
        if found is None:
            reason = f"the inference server did not report the revision as ready within {limit:.0f} s"
            return self._runner.settle(_STAGE, failed(reason, code="unavailable"))
        if found["state"] == "over":
            return False
        if found["state"] == "failed":
            reason = f"the inference server could not load it: {found['reason']}"
            return self._runner.settle(_STAGE, failed(reason, code="load_failed"))
        with self._runner.ledger() as ledger:
            rollout = ledger.repository.rollout(self._runner.rollout_id)
            facts = {"revision_id": rollout.revision_id, "state": "ready", "weight": 0}
            return ledger.settle(rollout.id, _STAGE, Outcome(passed=True, evidence=facts))

    def _commit(self, work: Work, context: StageContext, version: DeployableVersion, artifact: str) -> bool:
        ledger = self._runner.ledger_of(work)
        held = ledger.active(context.rollout_id)
        if held is None:
            return False
        deployment, rollout = held
        if ledger.repository.revision(rollout.revision_id) is not None:
            return True
        trained = training_of(work, version, self._runner.parts.personal_data)
        void = self._void(work, rollout, artifact, version.model_card, trained)
        if void is not None:
            outcome = failed(f"the approval is void: {void}; {ASK_AGAIN}", code="approval_required")
            return ledger.settle(rollout.id, _STAGE, outcome)
        starter = starter_gate(work, self._runner.parts.roles, rollout, version, trained)
        if starter.problem is not None:
            outcome = failed(starter.problem, code="forbidden", **starter.evidence)
            return ledger.settle(rollout.id, _STAGE, outcome)
        quota = self._quota(work, deployment, rollout, version)
        if quota.problem is not None:
            return ledger.settle(rollout.id, _STAGE, failed(quota.problem, **quota.evidence))
        revision = self._revision(work, ledger, rollout, version)
        Traffic(work, deployment).place(revision)
        work.record(
            "revision.create",
            "revision",
            revision.id,
            after={
                "model": f"{rollout.model_name}/{rollout.model_version}",
                "bundle": revision.bundle_digest,
            },
            deployment_id=deployment.id,
            approval_id=rollout.approval_id,
        )
        return True

    def _quota(
        self, work: Work, deployment: DeploymentRow, rollout: RolloutRow, version: DeployableVersion
    ) -> Finding:
        """Asked again where nobody else of the team can place anything: days may have passed, and others are there."""
        candidate = Candidate(
            version=version,
            environment=Environment(rollout.environment),
            endpoint=deployment.name,
            risk=None,
            size=Size.of(rollout.config),
            purpose=purpose_of(rollout),
            rollout_id=rollout.id,
        )
        return quota_gate(work, self._runner.parts.quotas, candidate, placing=True)

    def _void(
        self,
        work: Work,
        rollout: RolloutRow,
        artifact: str,
        card: dict[str, Any],
        trained: TrainedOn | None,
    ) -> str | None:
        if rollout.environment != Environment.PRODUCTION:
            return None
        risk = GovernanceRepository(work.session, work.team_id).risk(rollout.model_name, lock=True)
        risk = trained.risk(risk) if trained is not None else risk
        if risk is None:
            return "the risk is not answered any more"
        digest = subject_digest(artifact=artifact, config=rollout.config, risk=risk_facts(risk), card=card)
        return ApprovalService(work, self._runner.parts.roles).use(rollout.id, digest=digest)

    def _revision(
        self, work: Work, ledger: RolloutLedger, rollout: RolloutRow, version: DeployableVersion
    ) -> RevisionRow:
        build = ledger.evidence(rollout)["build"]
        wait = timedelta(seconds=self._runner.parts.settings.ready_timeout_seconds)
        return RevisionRow(
            id=rollout.revision_id,
            team_id=rollout.team_id,
            deployment_id=rollout.deployment_id,
            rollout_id=rollout.id,
            model_name=rollout.model_name,
            model_version=rollout.model_version,
            model_digest=version.digest,
            bundle_uri=build["bundle_uri"],
            bundle_digest=build["bundle_digest"],
            runtime=build["runtime"],
            feature_view=version.feature_view,
            feature_store=build["feature_store"],
            config=rollout.config,
            status=RevisionStatus.CANDIDATE.value,
            weight=0.0,
            smoke_until=work.clock() + wait + _SMOKE_GRACE,
            created_at=work.clock(),
        )
