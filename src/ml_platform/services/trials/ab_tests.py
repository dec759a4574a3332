"""What people do with A/B tests: start, look, cancel, promote the winner."""

from ml_platform.contracts.deployments import (
    CanaryPlan,
    DeploymentAccepted,
    DeployRequest,
    Environment,
    RevisionStatus,
)
from ml_platform.contracts.trials import (
    ABTest,
    ABTestDetail,
    ABTestRequest,
    ABTestStatus,
    TrialArm,
    TrialPromotion,
)
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.deployments import DeploymentService, Requester, RolloutParts
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.deployments.traffic import Traffic
from ml_platform.services.trials import views
from ml_platform.services.trials.ledger import ABTestLedger
from ml_platform.services.trials.tables import ABTestArmRow, ABTestRow

AB_TEST = "deployment.ab_test"
_TAKES_TRAFFIC = (RevisionStatus.SERVING, RevisionStatus.STANDBY)


class ABTestService:
    """A/B tests of the team of `work`."""

    def __init__(self, work: Work, parts: RolloutParts) -> None:
        self._work = work
        self._parts = parts
        self._deployments = DeploymentService(work, parts)
        self._ledger = ABTestLedger(work, parts)
        self._repository = self._ledger.repository

    def start(self, deployment_id: str, body: ABTestRequest) -> ABTest:
        """Reserves the deployment and starts the test's workflow, which brings the arms that are not loaded.

        Raises:
            ForbiddenError, NotFoundError: as a deployment does.
            ConflictError: a rollout or a test is under way there, or nothing serves; it says whose.
            BadInputError: the arms are not what serves and something else.
        """
        ab_test_id = new_id("abt")
        deployment = self._deployments.reserve(deployment_id, ab_test_id)
        row = ABTestRow(
            id=ab_test_id,
            team_id=self._work.team_id,
            team_name=self._work.actor.team_name,
            deployment_id=deployment.id,
            name=body.name,
            plan=body.model_dump(mode="json"),
            status=ABTestStatus.PREPARING.value,
            started_by=self._work.actor.actor_id,
            started_by_name=self._work.actor.name,
            created_at=self._work.clock(),
        )
        arms = self._arms(deployment, row, body.arms)
        self._work.session.add(row)
        self._work.session.flush()
        self._work.session.add_all(arms)
        self._work.record(
            "ab_test.start",
            "ab_test",
            row.id,
            after={
                "name": row.name,
                "plan": row.plan,
                "arms": {arm.name: f"{arm.model_name}/{arm.model_version}" for arm in arms},
            },
            deployment_id=deployment.id,
        )
        self._work.start_workflow(
            AB_TEST, row.id, team_id=self._work.team_id, team_name=self._work.actor.team_name
        )
        self._work.session.flush()
        return views.ab_test(row, arms)

    def get(self, ab_test_id: str) -> ABTestDetail:
        row = self._repository.test(ab_test_id)
        return views.ab_test_detail(row, self._repository.arms(row.id))

    def list_tests(self, deployment_id: str, *, before: str | None, limit: int) -> list[ABTest]:
        self._ledger.deployments.deployment(deployment_id)
        rows = self._repository.tests(deployment_id, before=before, limit=limit)
        arms = self._repository.arms(*(row.id for row in rows))
        return [views.ab_test(row, [arm for arm in arms if arm.ab_test_id == row.id]) for row in rows]

    def cancel(self, ab_test_id: str) -> ABTestDetail:
        """Ends a test wherever it is: what served before it has all traffic again. Again changes nothing.

        Raises:
            ConflictError: it is over, in another way.
        """
        row = self._repository.test(ab_test_id)
        self._deployments.hold(row.deployment_id, "cancel")
        held = self._ledger.active(ab_test_id)
        if held is not None:
            self._ledger.finish(*held, ABTestStatus.CANCELLED, f"cancelled by {self._work.actor.name}")
            self._work.session.flush()
        elif self._repository.test(ab_test_id).status != ABTestStatus.CANCELLED:
            raise ConflictError(f"the A/B test is over: {row.status}")
        return self.get(ab_test_id)

    def promote(self, ab_test_id: str, body: TrialPromotion) -> DeploymentAccepted:
        """Starts a rollout of the version that won, through all gates.

        Raises:
            ForbiddenError: the caller may not deploy there.
            ConflictError: there is no winner to be promoted, or a rollout or a test is under way.
        """
        row = self._repository.test(ab_test_id)
        deployment = self._deployments.hold(row.deployment_id, "promote")
        return self.start_promotion(
            deployment, self._repository.test(ab_test_id), body.justification, body.canary
        )

    def start_promotion(
        self,
        deployment: DeploymentRow,
        row: ABTestRow,
        justification: str | None = None,
        canary: CanaryPlan | None = None,
        *,
        requester: Requester | None = None,
    ) -> DeploymentAccepted:
        """As `promote`; the deployment's row is locked."""
        arm = next((a for a in self._repository.arms(row.id) if a.name == row.winner), None)
        if arm is None:
            raise ConflictError(
                f"the A/B test has no winner: {row.status}: {row.reason or 'it is under way'}"
            )
        if arm.control:
            raise ConflictError(f"{arm.name} won, and {arm.model_name}/{arm.model_version} serves already")
        model_id = f"{arm.model_name}/{arm.model_version}"
        accepted = self._deployments.deploy(
            model_id,
            DeployRequest(
                environment=Environment(deployment.environment),
                name=deployment.name,
                replicas=deployment.replicas,
                auto_scale=deployment.auto_scale,
                max_replicas=deployment.max_replicas,
                justification=justification or f"{arm.name} won the A/B test {row.id}",
                canary=canary,
                **self._deployments.like_serving(deployment, model_id),
            ),
            requester=requester,
        )
        row.promoted_rollout_id = accepted.rollout_id
        self._work.record(
            "ab_test.promote",
            "ab_test",
            row.id,
            after={"arm": arm.name, "rollout": accepted.rollout_id},
            deployment_id=deployment.id,
        )
        return accepted

    # -- parts

    def _arms(self, deployment: DeploymentRow, row: ABTestRow, asked: list[TrialArm]) -> list[ABTestArmRow]:
        loaded = {item.id: item for item in Traffic(self._work, deployment).loaded()}
        arms = [self._arm(row, number, arm, loaded) for number, arm in enumerate(asked)]
        controls = [arm for arm in arms if arm.control]
        serving = next(r for r in loaded.values() if r.status == RevisionStatus.SERVING)
        if len(controls) != 1:
            now = f"{serving.model_name}/{serving.model_version}"
            raise BadInputError.of("arms", f"one arm, and only one, must be what serves now: {now}")
        if len({(arm.model_name, arm.model_version) for arm in arms}) != len(arms):
            raise BadInputError.of("arms", "two are the same version")
        return arms

    def _arm(
        self, row: ABTestRow, position: int, arm: TrialArm, loaded: dict[str, RevisionRow]
    ) -> ABTestArmRow:
        revision = self._revision(arm, position, loaded)
        if revision is not None:
            model, version = revision.model_name, revision.model_version
        else:
            found = self._parts.catalogue.resolve(self._work, str(arm.model_id))
            model, version = found.model_name, found.version
            revision = next(
                (
                    item
                    for item in loaded.values()
                    if (item.model_name, item.model_version, item.status)
                    == (model, version, RevisionStatus.SERVING)
                ),
                None,
            )
        return ABTestArmRow(
            id=new_id("arm"),
            ab_test_id=row.id,
            position=position,
            name=arm.name,
            weight=arm.weight,
            control=revision is not None and revision.status == RevisionStatus.SERVING,
            model_name=model,
            model_version=version,
            revision_id=revision.id if revision is not None else None,
        )

    def _revision(self, arm: TrialArm, position: int, loaded: dict[str, RevisionRow]) -> RevisionRow | None:
        """One that had the traffic of this endpoint, and so its approval; a shadow's is for less."""
        if arm.revision_id is None:
            return None
        found = loaded.get(arm.revision_id)
        if found is None:
            raise NotFoundError.of("revision", arm.revision_id)
        if found.status not in _TAKES_TRAFFIC:
            raise BadInputError.of(
                f"arms.{position}.revision_id", f"it is a {found.status}: give its model_id, for the gates"
            )
        return found
