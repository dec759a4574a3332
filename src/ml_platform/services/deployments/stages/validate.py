"""validate: everything that must be there before anything is tried."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_platform.contracts.deployments import Environment
from ml_platform.contracts.governance import RiskLevel
from ml_platform.contracts.modelregister import ModelReviewVerdict
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.deployments.featurepolicies import policy_problem
from ml_platform.services.deployments.interfaces import DeployableVersion, FeatureSource, Inspection
from ml_platform.services.deployments.ledger import Outcome, failed, purpose_of
from ml_platform.services.deployments.permitting import training_of
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.sizes import Size
from ml_platform.services.deployments.stages.admission import Admission, admit
from ml_platform.services.deployments.stages.candidate import Candidate, Finding
from ml_platform.services.deployments.stages.context import RolloutParts, StageContext
from ml_platform.services.deployments.stages.personal_data import PERSONAL_DATA, personal_data
from ml_platform.services.deployments.stages.starter import starter_gate
from ml_platform.services.governance import GovernanceRepository, TrainedOn, risk_facts, risk_of_version

ARTIFACT_CHANGED = "artifact_changed"


def validate(context: StageContext) -> Outcome:
    """Who asked for it, the artifact's digest, signature and rows, the risk, what `admission` asks, the features."""
    version = context.resolve()
    inspection = context.parts.tools.inspect(version.source)
    known = _look(context, version)
    personal, unexplained = personal_data(known.trained, version, inspection, context.environment)
    evidence = _evidence(version, inspection, known) | personal
    if known.starter.problem is not None:
        return failed(known.starter.problem, code="forbidden", **evidence)
    problem = _problem(context, version, inspection, known)
    if problem is None and known.admission.problem is None and unexplained is not None:
        problem = PERSONAL_DATA, unexplained
    if problem is not None:
        code, reason = problem
        return failed(reason, code=code, **evidence)
    if known.admission.problem is not None:
        return failed(known.admission.problem, **evidence)
    request = None
    if version.feature_view is not None:
        try:
            request = features_of(context, version.feature_view, inspection).request
        except AppError as error:
            return failed(f"its features: {error.detail}", **evidence)
    unfit = policy_problem(context.config, inspection.inputs, request)
    if unfit is not None:
        return failed(unfit, **evidence)
    return Outcome(passed=True, evidence=evidence)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the platform's own rows say; `overdue` is why nothing may go out for the sake of a review.

    The lineage is followed once: the risk, the policies and the inputs all go by what is `trained` here.
    """

    trained: TrainedOn | None
    risk: dict[str, Any] | None
    overdue: str | None
    starter: Finding
    admission: Admission


def _look(context: StageContext, version: DeployableVersion) -> _Known:
    environment = Environment(context.environment)
    with context.parts.factory.begin(context.actor, write=False) as work:
        governance = GovernanceRepository(work.session, context.team_id)
        risk = governance.risk(context.model_name)
        trained = training_of(work, version, context.parts.personal_data)
        risk = trained.risk(risk) if trained is not None else risk
        rollout = DeploymentRepository(work.session, context.team_id).rollout(context.rollout_id)
        overdue = None
        if environment is Environment.PRODUCTION:
            overdue = review_problem(governance, context.model_name, work.clock())
        candidate = Candidate(
            version=version,
            environment=environment,
            endpoint=context.deployment_name,
            risk=RiskLevel(risk.level) if risk is not None else None,
            size=Size.of(context.config),
            purpose=purpose_of(rollout),
            rollout_id=context.rollout_id,
        )
        return _Known(
            trained=trained,
            risk=risk_facts(risk) if risk is not None else None,
            overdue=overdue,
            starter=starter_gate(work, context.parts.roles, rollout, version, trained),
            admission=admit(work, context.parts.quotas, candidate),
        )


def current_risk(context: StageContext) -> dict[str, Any] | None:
    """The risk as answered now, raised to what the version was trained on; None when nobody answered it."""
    check = context.parts.personal_data
    with context.parts.factory.begin(context.actor, write=False) as work:
        row = GovernanceRepository(work.session, context.team_id).risk(context.model_name)
        row = risk_of_version(check, work.session, row, context.model_version)
        return risk_facts(row) if row is not None else None


def review_problem(repository: GovernanceRepository, model_name: str, now: datetime) -> str | None:
    """A broken glass whose review is overdue, or a last review which says that the model is to go; or None."""
    last, _ = repository.last_reviews([model_name])[model_name]
    if last is not None and last.verdict == ModelReviewVerdict.RETIRE:
        return f"{model_name} is to be retired, says the review by {last.reviewed_by_name}: {last.findings[:300]}"
    row = repository.unreviewed(model_name, before=now)
    if row is None:
        return None
    return (
        f"the review of {row.model_name}/{row.model_version}, for which {row.glass_broken_by_name} broke the"
        f" glass, is overdue; somebody with a seat gives it: mlops approvals review {row.id}"
    )


def artifact_problem(version: DeployableVersion, inspection: Inspection) -> str | None:
    """Why a stored artifact is not the one that was registered, or None."""
    if inspection.digest == version.digest:
        return None
    return (
        f"the stored artifact of {version.model_name}/{version.version} is not the one that was registered:"
        f" its digest is {inspection.digest[:12]}, registered was {version.digest[:12]};"
        " register the model again"
    )


def signature_problem(parts: RolloutParts, version: DeployableVersion, inspection: Inspection) -> str | None:
    """Why the files are not those that this installation signed when the version was registered, or None."""
    name = f"{version.model_name}/{version.version}"
    return parts.signatures.problem(version.artifact_signature, name, inspection.files)


def _problem(
    context: StageContext, version: DeployableVersion, inspection: Inspection, known: _Known
) -> tuple[str, str] | None:
    changed = artifact_problem(version, inspection)
    if changed is not None:
        return ARTIFACT_CHANGED, changed
    if not inspection.has_signature:
        return "gate_failed", inspection.signature_problem or "the model has no signature"
    if not inspection.input_example and version.reference is None:
        return "gate_failed", "there are no rows to try it with: log the model with an input_example"
    if context.environment == Environment.PRODUCTION and known.risk is None:
        return "gate_failed", missing_risk(context.model_name)
    if known.overdue is not None:
        return "review_overdue", known.overdue
    if version.feature_view is not None and context.parts.features is None:
        return (
            "gate_failed",
            f"it declares the feature view {version.feature_view!r}, and there is no feature store",
        )
    return None


def missing_risk(model_name: str) -> str:
    return (
        f"the risk of model {model_name!r} is not answered; whoever may train models answers the five"
        f" assessments: mlops models risk assess {model_name}"
    )


def features_of(context: StageContext, view: str, inspection: Inspection) -> FeatureSource:
    """How a declared feature view fills the model's columns; raises AppError when it cannot."""
    if context.parts.features is None:
        raise UnavailableError(f"there is no feature store for its view {view!r}")
    return context.parts.features.lookup_for(context.team_id, view, inspection.columns)


def _evidence(version: DeployableVersion, inspection: Inspection, known: _Known) -> dict[str, Any]:
    return {
        "version_id": version.version_id,
        "model": f"{version.model_name}/{version.version}",
        "registered_by": version.created_by,
        "artifact_digest": inspection.digest,
        "registered_digest": version.digest,
        "signature": inspection.has_signature,
        "input_example": inspection.input_example,
        "reference_data": version.reference is not None,
        "flavours": list(inspection.flavours),
        "feature_view": version.feature_view,
        "risk": known.risk,
        **known.starter.evidence,
        **known.admission.evidence,
    }
