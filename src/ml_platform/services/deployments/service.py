"""What people do with deployments: deploy, look, promote, roll back, cancel, retire."""

from dataclasses import dataclass
from typing import Any

from ml_platform.contracts.deployments import (
    CanaryPlan,
    Deployment,
    DeploymentAccepted,
    DeploymentStatus,
    DeployRequest,
    Environment,
    KServeManifest,
    RevisionStatus,
    Rollout,
    RolloutDetail,
    RolloutPurpose,
    RolloutStatus,
    StageName,
    StageStatus,
)
from ml_platform.contracts.policies import ENTER
from ml_platform.kit.errors import ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.kit.strictjson import digest
from ml_platform.services.access import Work
from ml_platform.services.deployments import views
from ml_platform.services.deployments.carried import BESIDE, INSTEAD, carried
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.ledger import RolloutLedger
from ml_platform.services.deployments.manifests import MANIFEST
from ml_platform.services.deployments.permitting import (
    DEPLOY,
    facts_of_deployment,
    facts_of_rollout,
    facts_of_version,
    permit,
    training_of,
)
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RolloutRow, RolloutStageRow
from ml_platform.services.deployments.traffic import Traffic, weights
from ml_platform.services.deployments.workflows import ROLLOUT
from ml_platform.services.governance import DECIDED, PERMITTED_BY


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked for what the platform starts later."""

    actor_id: str
    name: str


class DeploymentService:
    """Deployments of one team, in one unit of work."""

    def __init__(self, work: Work, parts: RolloutParts) -> None:
        self._work = work
        self._parts = parts
        self._repository = DeploymentRepository(work.session, work.team_id)
        self._ledger = RolloutLedger(work, parts.roles, parts.catalogue)

    # -- begin

    def deploy(
        self,
        model_id: str,
        body: DeployRequest,
        *,
        requester: Requester | None = None,
        from_shadow: str | None = None,
    ) -> DeploymentAccepted:
        """Starts a rollout of a version to the endpoint of its name.

        The platform starts some that a person asked for before: the `requester`, who then cannot approve it. The
        revision `from_shadow` goes when the new one is there.

        Raises:
            ForbiddenError: the environment needs a permission that the caller lacks.
            NotFoundError: there is no such model.
            ConflictError: a rollout of this endpoint is under way already; it says whose.
        """
        permit(self._work, body.environment, ENTER, {})
        version = self._parts.catalogue.resolve(self._work, model_id)
        deployment = self._repository.ensure(self._blank(version, body))
        self._refuse_second(deployment)
        extra = {"from_shadow": from_shadow} if from_shadow else {}
        rollout = self._begin(deployment, version, body, extra, requester)
        return DeploymentAccepted(
            deployment_id=deployment.id, rollout_id=rollout.id, endpoint=self._endpoint(deployment)
        )

    def deploy_beside(
        self,
        deployment_id: str,
        model_id: str,
        purpose: RolloutPurpose,
        *,
        justification: str | None = None,
        requester: Requester | None = None,
        ab_test_id: str | None = None,
        **extra: Any,
    ) -> RolloutRow:
        """Starts a rollout whose revision will stand beside what serves: a shadow, or an arm of an A/B test.

        Raises:
            ForbiddenError, NotFoundError: as `deploy`.
            ConflictError: nothing serves there, or a rollout or another test is under way; it says whose.
        """
        deployment, _ = self._held(deployment_id)
        self._refuse_second(deployment, ab_test_id=ab_test_id)
        if not Traffic(self._work, deployment).serving():
            raise ConflictError(
                f"nothing serves at {deployment.name} in {deployment.environment} to compare with",
                hint="deploy what should serve first: mlops deploy",
            )
        version = self._parts.catalogue.resolve(self._work, model_id)
        body = DeployRequest(
            environment=Environment(deployment.environment),
            name=deployment.name,
            replicas=deployment.replicas,
            auto_scale=deployment.auto_scale,
            max_replicas=deployment.max_replicas,
            justification=justification,
            **self._carried(deployment, version, BESIDE),
        )
        return self._begin(deployment, version, body, {"purpose": purpose.value, **extra}, requester)

    def like_serving(self, deployment: DeploymentRow, model_id: str) -> dict[str, Any]:
        """Resources, budget and feature policy of what serves, for a version that is to take its place."""
        return self._carried(deployment, self._parts.catalogue.resolve(self._work, model_id), INSTEAD)

    def reserve(self, deployment_id: str, ab_test_id: str) -> DeploymentRow:
        """Locks a deployment for an A/B test: until it ends, only that starts rollouts there.

        Raises:
            ForbiddenError, NotFoundError, ConflictError: as `deploy_beside`.
        """
        deployment, _ = self._held(deployment_id)
        self._refuse_second(deployment)
        deployment.ab_test_id, deployment.ab_test_by_name = ab_test_id, self._work.actor.name
        return deployment

    def hold(self, deployment_id: str, operation: str = "change") -> DeploymentRow:
        """Locks a deployment for a caller who may do this to it; raises ForbiddenError, NotFoundError."""
        return self._held(deployment_id, operation)[0]

    def _carried(
        self, deployment: DeploymentRow, version: DeployableVersion, names: tuple[str, ...]
    ) -> dict[str, Any]:
        serving = max(Traffic(self._work, deployment).serving(), key=lambda row: row.weight, default=None)
        config = serving.config if serving is not None else {}
        return carried(config, has_features=version.feature_view is not None, names=names)

    def _begin(
        self,
        deployment: DeploymentRow,
        version: DeployableVersion,
        body: DeployRequest,
        extra: dict[str, Any],
        requester: Requester | None,
    ) -> RolloutRow:
        rollout = self._rollout(deployment, version, body)
        rollout.config = rollout.config | extra
        if requester is not None:
            rollout.requested_by, rollout.requested_by_name = requester.actor_id, requester.name
            rollout.requested_key = None
        self._work.session.add(rollout)
        self._work.session.flush()
        trained = training_of(self._work, version, self._parts.personal_data)
        facts = facts_of_version(self._work, version, trained)
        decision = permit(self._work, rollout.environment, DEPLOY, facts, deployment_id=deployment.id)
        for position, stage in enumerate(StageName):
            row = _pending(rollout, position, stage)
            if stage is StageName.VALIDATE:
                row.evidence = {PERMITTED_BY: decision.evidence()}
            self._work.session.add(row)
        deployment.active_rollout_id = deployment.last_rollout_id = rollout.id
        deployment.status = DeploymentStatus.DEPLOYING.value
        deployment.updated_at = rollout.created_at
        self._work.record(
            "rollout.start",
            "rollout",
            rollout.id,
            after={
                "model": f"{version.model_name}/{version.version}",
                "environment": rollout.environment,
                "config": rollout.config,
                "justification": rollout.justification,
            },
            deployment_id=deployment.id,
        )
        self._work.start_workflow(
            ROLLOUT, rollout.id, team_id=self._work.team_id, team_name=self._work.actor.team_name
        )
        return rollout

    # -- look

    def get(self, deployment_id: str) -> Deployment:
        [found] = self._views([self._repository.deployment(deployment_id)])
        return found

    def list_deployments(
        self, *, environment: Environment | None, name: str | None, before: str | None, limit: int
    ) -> list[Deployment]:
        rows = self._repository.deployments(
            environment=environment.value if environment else None, name=name, before=before, limit=limit
        )
        return self._views(rows)

    def list_rollouts(self, deployment_id: str, *, before: str | None, limit: int) -> list[Rollout]:
        row = self._repository.deployment(deployment_id)
        return [views.rollout(r) for r in self._repository.rollouts(row.id, before=before, limit=limit)]

    def get_rollout(self, rollout_id: str) -> RolloutDetail:
        row = self._repository.rollout(rollout_id)
        return views.rollout_detail(row, self._repository.stages(row), self._repository.canary_steps(row))

    def get_manifest(self, deployment_id: str, rollout_id: str | None) -> KServeManifest:
        """The KServe manifest of a rollout, by default of the newest one that was built."""
        row = self._repository.deployment(deployment_id)
        found = self._repository.built(row.id, rollout_id)
        if found is None or MANIFEST not in found[1].evidence:
            raise NotFoundError(
                f"no rollout of {row.name} in {row.environment} was built yet"
                if rollout_id is None
                else f"the rollout {rollout_id} of {row.name} in {row.environment} was not built",
                hint="the build stage makes the manifest: mlops deployments rollouts",
            )
        rollout, stage = found
        manifest = stage.evidence[MANIFEST]
        return KServeManifest(
            deployment_id=row.id,
            rollout_id=rollout.id,
            revision_id=rollout.revision_id,
            sha256=digest(manifest),
            manifest=manifest,
        )

    # -- step in

    def promote(self, deployment_id: str) -> Deployment:
        """Ends the canary now: all traffic to the new revision."""
        deployment, rollout = self._held(deployment_id, "promote")
        if rollout is None or rollout.status != RolloutStatus.CANARY:
            raise ConflictError(
                "there is no canary to promote",
                hint="a canary begins when the nine stages passed: mlops deployments rollout",
            )
        reason = f"promoted by {self._work.actor.name}"
        self._ledger.finish(deployment, rollout, RolloutStatus.SUCCEEDED, reason)
        return self._view(deployment)

    def pause(self, deployment_id: str) -> Deployment:
        """Holds a canary where it is: it is not promoted, and still rolled back when it fails."""
        return self._hold(deployment_id, paused=True)

    def resume(self, deployment_id: str) -> Deployment:
        """Lets a canary that is held go on; again changes nothing."""
        return self._hold(deployment_id, paused=False)

    def rollback(self, deployment_id: str) -> Deployment:
        """Back to what served before: ends a canary, or swaps with the revision that stands by."""
        deployment, rollout = self._held(deployment_id, "rollback")
        if rollout is not None:
            if rollout.status != RolloutStatus.CANARY:
                raise ConflictError(
                    f"the rollout {rollout.id} has no traffic yet, so there is nothing to roll back",
                    hint=f"cancel it: mlops deployments cancel {rollout.id}",
                    extra={"rollout_id": rollout.id},
                )
            reason = f"rolled back by {self._work.actor.name}"
            self._ledger.finish(deployment, rollout, RolloutStatus.ROLLED_BACK, reason)
            return self._view(deployment)
        self._refuse_in_test(deployment)
        traffic = Traffic(self._work, deployment)
        before = weights(traffic.loaded())
        now = traffic.swap()
        if now is None:
            raise ConflictError(
                "no older revision stands by", hint="deploy the version that should serve: mlops deploy"
            )
        if deployment.environment == Environment.PRODUCTION:
            self._parts.catalogue.set_champion(self._work, now.model_name, now.model_version)
        deployment.updated_at = self._work.clock()
        self._work.record(
            "deployment.rollback",
            "deployment",
            deployment.id,
            before={"traffic": before},
            after={"traffic": weights(traffic.loaded()), "model": f"{now.model_name}/{now.model_version}"},
        )
        return self._view(deployment)

    def retire(self, deployment_id: str) -> Deployment:
        """Stops serving; the endpoint answers 404 from then on. Deploying again takes it up."""
        deployment, rollout = self._held(deployment_id, "retire")
        if rollout is not None:
            raise ConflictError(
                f"the rollout {rollout.id} by {rollout.requested_by_name} is under way",
                hint=f"cancel it first: mlops deployments cancel {rollout.id}",
                extra={"rollout_id": rollout.id},
            )
        self._refuse_in_test(deployment)
        traffic = Traffic(self._work, deployment)
        before = weights(traffic.loaded())
        if deployment.status != DeploymentStatus.RETIRED:
            traffic.retire()
            deployment.status, deployment.updated_at = DeploymentStatus.RETIRED.value, self._work.clock()
            self._work.record(
                "deployment.retire", "deployment", deployment.id, before={"traffic": before}, after={}
            )
        return self._view(deployment)

    def cancel(self, rollout_id: str) -> RolloutDetail:
        """Ends a rollout wherever it is; what served before serves on, with all traffic."""
        found = self._repository.rollout(rollout_id)
        permit(self._work, found.environment, "cancel", facts_of_rollout(self._repository, found))
        deployment, rollout = self._ledger.locked(rollout_id)
        status = RolloutStatus(rollout.status)
        if status is RolloutStatus.CANCELLED:
            return self.get_rollout(rollout_id)
        if status.finished:
            raise ConflictError(f"the rollout is over: {status.value}")
        revision = self._ledger.revision(rollout)
        if revision is not None and revision.status == RevisionStatus.SERVING:
            raise ConflictError(
                "its revision serves all traffic already", hint="wait a moment, then roll the deployment back"
            )
        reason = f"cancelled by {self._work.actor.name}"
        self._ledger.finish(deployment, rollout, RolloutStatus.CANCELLED, reason)
        self._work.send_to_workflow(rollout.id, DECIDED, {"status": "cancelled"})
        self._work.session.flush()
        return self.get_rollout(rollout_id)

    # -- parts

    def _hold(self, deployment_id: str, *, paused: bool) -> Deployment:
        deployment, rollout = self._held(deployment_id, "pause" if paused else "resume")
        if rollout is None or rollout.status != RolloutStatus.CANARY:
            raise ConflictError(
                f"there is no canary to {'pause' if paused else 'resume'}",
                hint="a canary begins when the nine stages passed: mlops deployments rollout",
            )
        if (rollout.paused_at is not None) != paused:
            rollout.paused_at = self._work.clock() if paused else None
            rollout.paused_by_name = self._work.actor.name if paused else None
            action = "rollout.pause" if paused else "rollout.resume"
            self._work.record(action, "rollout", rollout.id, deployment_id=deployment.id)
        return self._view(deployment)

    def _held(self, deployment_id: str, operation: str = "change") -> tuple[DeploymentRow, RolloutRow | None]:
        """The deployment, locked, with the rollout that is under way; the caller may change it."""
        found = self._repository.deployment(deployment_id)
        facts = facts_of_deployment(self._repository, found)
        permit(self._work, found.environment, operation, facts, deployment_id=found.id)
        deployment = self._repository.deployment(deployment_id, lock=True)
        if deployment.active_rollout_id is None:
            return deployment, None
        return deployment, self._repository.rollout(deployment.active_rollout_id)

    def _refuse_in_test(self, deployment: DeploymentRow, *, ab_test_id: str | None = None) -> None:
        if deployment.ab_test_id is None or deployment.ab_test_id == ab_test_id:
            return
        raise ConflictError(
            f"{deployment.ab_test_by_name} tests arms at {deployment.name} in {deployment.environment}"
            f" ({deployment.ab_test_id})",
            hint="cancel the A/B test, and what served before has all traffic again:"
            f" mlops deployments ab-test cancel {deployment.ab_test_id}",
            extra={"ab_test_id": deployment.ab_test_id, "requested_by": deployment.ab_test_by_name},
        )

    def _refuse_second(self, deployment: DeploymentRow, *, ab_test_id: str | None = None) -> None:
        self._refuse_in_test(deployment, ab_test_id=ab_test_id)
        if deployment.active_rollout_id is None:
            return
        running = self._repository.rollout(deployment.active_rollout_id)
        raise ConflictError(
            f"{running.requested_by_name} is rolling {running.model_name}/{running.model_version} out to"
            f" {deployment.name} in {deployment.environment} ({running.id}, {running.status})",
            hint=f"wait for it, or cancel it: mlops deployments cancel {running.id}",
            extra={"rollout_id": running.id, "requested_by": running.requested_by_name},
        )

    def _blank(self, version: DeployableVersion, body: DeployRequest) -> DeploymentRow:
        now = self._work.clock()
        return DeploymentRow(
            id=new_id("dep"),
            team_id=self._work.team_id,
            team_name=self._work.actor.team_name,
            environment=body.environment.value,
            name=body.name or version.model_name,
            status=DeploymentStatus.DEPLOYING.value,
            replicas=body.replicas,
            auto_scale=body.auto_scale,
            max_replicas=body.max_replicas,
            active_rollout_id=None,
            last_rollout_id=None,
            created_by=self._work.actor.actor_id,
            created_by_name=self._work.actor.name,
            created_at=now,
            updated_at=now,
        )

    def _rollout(
        self, deployment: DeploymentRow, version: DeployableVersion, body: DeployRequest
    ) -> RolloutRow:
        canary = body.canary or CanaryPlan()
        return RolloutRow(
            id=new_id("rol"),
            team_id=self._work.team_id,
            team_name=self._work.actor.team_name,
            deployment_id=deployment.id,
            revision_id=new_id("rev"),
            model_name=version.model_name,
            model_version=version.version,
            environment=body.environment.value,
            config={
                "replicas": body.replicas,
                "auto_scale": body.auto_scale,
                "max_replicas": body.max_replicas,
                "canary": canary.model_dump(mode="json"),
                "resources": body.resources.model_dump(mode="json"),
                "features": body.features.model_dump(mode="json") if body.features is not None else None,
                "budget": body.budget.model_dump(mode="json"),
            },
            status=RolloutStatus.RUNNING.value,
            reason=None,
            requested_by=self._work.actor.actor_id,
            requested_by_name=self._work.actor.name,
            requested_key=self._work.actor.key_id,
            justification=body.justification,
            artifact_digest=None,
            approval_id=None,
            created_at=self._work.clock(),
            finished_at=None,
        )

    def _views(self, rows: list[DeploymentRow]) -> list[Deployment]:
        loaded = self._repository.loaded(*(row.id for row in rows))
        running = self._repository.running(rows)
        return [
            views.deployment(
                row,
                [item for item in loaded if item.deployment_id == row.id],
                running.get(row.id),
                self._endpoint(row),
            )
            for row in rows
        ]

    def _view(self, deployment: DeploymentRow) -> Deployment:
        self._work.session.flush()
        return self.get(deployment.id)

    def _endpoint(self, row: DeploymentRow) -> str:
        return views.endpoint(self._parts.inference_url(), row)


def _pending(rollout: RolloutRow, position: int, stage: StageName) -> RolloutStageRow:
    return RolloutStageRow(
        id=new_id("stg"),
        rollout_id=rollout.id,
        position=position,
        name=stage.value,
        status=StageStatus.PENDING.value,
        evidence={},
        reason=None,
        started_at=None,
        finished_at=None,
    )
