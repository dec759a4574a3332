"""What a deployment would meet, found out without doing it."""

from collections.abc import Collection, Sequence

from ml_platform.contracts.deployments import (
    DeploymentPlan,
    DeployRequest,
    Environment,
    PlannedCost,
    PlannedGate,
    RevisionStatus,
    StageDeployAnswer,
    StageName,
)
from ml_platform.contracts.governance import RiskLevel
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.access import Work
from ml_platform.services.deployments.costs import planned_cost
from ml_platform.services.deployments.interfaces import DeployableVersion
from ml_platform.services.deployments.permitting import (
    DEPLOY,
    PERMISSIONS,
    decide,
    facts_of_version,
    training_of,
)
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.sizes import Size
from ml_platform.services.deployments.stages import RolloutParts
from ml_platform.services.deployments.stages.admission import Admission, admit
from ml_platform.services.deployments.stages.candidate import Candidate
from ml_platform.services.deployments.stages.personal_data import input_problem, input_warnings
from ml_platform.services.deployments.stages.security import security_problem
from ml_platform.services.deployments.stages.validate import (
    artifact_problem,
    missing_risk,
    review_problem,
    signature_problem,
)
from ml_platform.services.deployments.tables import RevisionRow
from ml_platform.services.governance import (
    RULES,
    GovernanceRepository,
    ModelRiskRow,
    TrainedOn,
)

_TRAFFIC_SECONDS = 3600.0
_MEASURED = "known when it has run"


class Planner:
    """Reads with transactions of its own, so that hashing a large artifact holds none open."""

    def __init__(self, work: Work, parts: RolloutParts) -> None:
        self._work = work
        self._parts = parts

    def plan(self, model_id: str, body: DeployRequest) -> DeploymentPlan:
        """Raises NotFoundError for an unknown model."""
        with self._parts.factory.begin(self._work.actor, write=False) as work:
            version = self._parts.catalogue.resolve(work, model_id)
            governance = GovernanceRepository(work.session, work.team_id)
            trained = training_of(work, version, self._parts.personal_data)
            risk = governance.risk(version.model_name)
            risk = trained.risk(risk) if trained is not None else risk
            overdue = review_problem(governance, version.model_name, work.clock())
            repository = DeploymentRepository(work.session, work.team_id)
            found = repository.find(body.environment.value, body.name or version.model_name)
            serves = [
                row
                for row in (repository.loaded(found.id) if found is not None else [])
                if row.status == RevisionStatus.SERVING
            ]
            serving = bool(serves)
            admission = admit(work, self._parts.quotas, _candidate(version, body, risk))
            running = (
                repository.rollout(found.active_rollout_id) if found and found.active_rollout_id else None
            )
        gates = [
            self._validate(version, body.environment, risk, admission, trained),
            self._security(version),
            self._test(version, champion=serving),
            _approval(body.environment, risk),
            PlannedGate(stage=StageName.BUILD, outcome="runs", detail=_MEASURED),
            PlannedGate(stage=StageName.DEPLOY, outcome="runs", detail="the inference server must load it"),
            PlannedGate(stage=StageName.SMOKE_TEST, outcome="runs", detail=_MEASURED),
        ]
        problem = self._refusal(version, body.environment, trained)
        if problem is None and body.environment is Environment.PRODUCTION:
            problem = overdue
        if running is not None:
            problem = f"{running.requested_by_name} has a rollout under way: {running.id}"
        elif found is not None and found.ab_test_id is not None:
            problem = f"{found.ab_test_by_name} has an A/B test under way: {found.ab_test_id}"
        if problem is not None:
            gates[0] = PlannedGate(stage=StageName.VALIDATE, outcome="stops", detail=problem)
        production = body.environment is Environment.PRODUCTION
        return DeploymentPlan(
            model_name=version.model_name,
            model_version=version.version,
            environment=body.environment,
            allowed=all(gate.outcome != "stops" for gate in gates),
            stopped_by=next((gate.stage for gate in gates if gate.outcome == "stops"), None),
            gates=gates,
            risk_level=RiskLevel(risk.level) if risk else None,
            risk_score=risk.score if risk else None,
            approval=RULES[RiskLevel(risk.level)].describe()
            if production and risk and not self._automatic(risk, version)
            else None,
            canary=production and serving,
            cost=self._cost(body, serves, canary=production and serving),
        )

    def answer(self, plan: DeploymentPlan) -> StageDeployAnswer | None:
        """The refusal of `POST /models/deploy`, with what is missing; None when it may begin."""
        stopped = next((gate for gate in plan.gates if gate.outcome == "stops"), None)
        if stopped is None:
            return None
        return StageDeployAnswer(status="rejected", message=f"{stopped.stage.value}: {stopped.detail}")

    def _cost(self, body: DeployRequest, serves: Sequence[RevisionRow], *, canary: bool) -> PlannedCost:
        replaced = [Size.of(row.config) for row in serves]
        prices, asked = self._parts.prices, None
        if prices.million_predictions is not None and serves:
            asked = self._predictions_per_hour({row.id for row in serves})
        return planned_cost(prices, Size.asked(body), replaced, canary=canary, predictions_per_hour=asked)

    def _predictions_per_hour(self, revisions: Collection[str]) -> float | None:
        """What these were asked lately; None when nobody can say."""
        try:
            found = self._parts.plane.metrics(_TRAFFIC_SECONDS)
        except UnavailableError:
            return None
        if found.covered_seconds <= 0:
            return None
        predictions = sum(row.predictions for row in found.revisions if row.revision_id in revisions)
        return predictions / found.covered_seconds * 3600

    def _automatic(self, risk: ModelRiskRow, version: DeployableVersion) -> bool:
        """Low risk needs nobody when every check can pass; without data, quality cannot be shown."""
        rule = RULES[RiskLevel(risk.level)]
        return rule.automatic and version.reference is not None and version.label is not None

    def _refusal(
        self, version: DeployableVersion, environment: Environment, trained: TrainedOn | None
    ) -> str | None:
        with self._parts.factory.begin(self._work.actor, write=False) as work:
            facts = facts_of_version(work, version, trained)
        decision = decide(self._work, environment.value, DEPLOY, facts)
        if decision.allowed:
            return None
        if decision.policies:
            return f"{self._work.actor.name} may not deploy it: {decision.reason}"
        return (
            f"{self._work.actor.name} lacks the permission {PERMISSIONS[environment].value}; an ml_engineer"
            " or the team lead has it, and a team lead gives roles"
        )

    def _validate(
        self,
        version: DeployableVersion,
        environment: Environment,
        risk: ModelRiskRow | None,
        admission: Admission,
        trained: TrainedOn | None,
    ) -> PlannedGate:
        try:
            inspection = self._parts.tools.inspect(version.source)
        except AppError as error:
            return _gate(StageName.VALIDATE, error.detail)
        problem = artifact_problem(version, inspection)
        if problem is None and not inspection.has_signature:
            problem = inspection.signature_problem or "the model has no signature"
        if problem is None and not inspection.input_example and version.reference is None:
            problem = "there are no rows to try it with: log the model with an input_example"
        if problem is None and environment is Environment.PRODUCTION and risk is None:
            problem = missing_risk(version.model_name)
        if problem is None and version.feature_view is not None and self._parts.features is None:
            problem = f"it declares the feature view {version.feature_view!r}, and there is no feature store"
        inputs = trained.inputs(inspection.columns, version.model_card) if trained is not None else []
        problem = problem or admission.problem or input_problem(inputs, environment.value)
        fine = ["version, digest, signature and rows are there", *input_warnings(inputs)]
        return _gate(StageName.VALIDATE, problem, "; ".join(fine))

    def _security(self, version: DeployableVersion) -> PlannedGate:
        tools, chain = self._parts.tools, self._parts.supply_chain
        try:
            inspection = tools.inspect(version.source)
            unsigned = signature_problem(self._parts, version, inspection)
            if unsigned is not None:
                return _gate(StageName.SECURITY, unsigned)
            findings = tools.scan(version.source)
            advisories = chain.check_advisories(inspection.requirements)
            secrets, _ = chain.find_secrets(version.source)
        except AppError as error:
            return _gate(StageName.SECURITY, error.detail)
        problem = security_problem(findings, advisories, secrets)
        fine = f"{len(findings)} findings, none that stops it; advisories: "
        fine += f"{len(advisories.found)} known" if advisories.scanned else "not scanned"
        return _gate(StageName.SECURITY, problem[1] if problem else None, fine)

    def _test(self, version: DeployableVersion, *, champion: bool) -> PlannedGate:
        if version.reference is None or version.label is None:
            detail = "not evaluated: there are no held-out data with labels"
            return PlannedGate(stage=StageName.TEST, outcome="passes", detail=detail)
        gate = f"{version.gate.metric} {version.gate.threshold}" if version.gate else "no threshold"
        against = ", and no worse than what serves now" if champion else ""
        return PlannedGate(stage=StageName.TEST, outcome="runs", detail=f"gate: {gate}{against}")


def _candidate(version: DeployableVersion, body: DeployRequest, risk: ModelRiskRow | None) -> Candidate:
    return Candidate(
        version=version,
        environment=body.environment,
        endpoint=body.name or version.model_name,
        risk=RiskLevel(risk.level) if risk is not None else None,
        size=Size.asked(body),
    )


def _approval(environment: Environment, risk: ModelRiskRow | None) -> PlannedGate:
    stage = StageName.APPROVAL
    if environment is not Environment.PRODUCTION:
        return PlannedGate(stage=stage, outcome="passes", detail=f"{environment.value} needs none")
    if risk is None:
        return PlannedGate(stage=stage, outcome="waits", detail="depends on the risk, which is not answered")
    rule = RULES[RiskLevel(risk.level)]
    if rule.automatic:
        detail = "low risk: granted by itself when every check passes, else by a team lead"
        return PlannedGate(stage=stage, outcome="runs", detail=detail)
    mandatory = ", ".join(rule.mandatory)
    hours = rule.within.total_seconds() / 3600
    detail = (
        f"{risk.level} risk: {rule.quorum} of {', '.join(rule.seats)} (always {mandatory}) in {hours:.0f} h"
    )
    return PlannedGate(stage=stage, outcome="waits", detail=detail)


def _gate(stage: StageName, problem: str | None, fine: str = "") -> PlannedGate:
    return PlannedGate(stage=stage, outcome="stops" if problem else "passes", detail=problem or fine)
