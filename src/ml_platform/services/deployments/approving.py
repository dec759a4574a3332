"""approval: by risk in production, by nobody elsewhere; and the same question again before deploying."""

from typing import Any

from ml_platform.contracts.deployments import Environment, StageName, StageStatus
from ml_platform.contracts.governance import ApprovalStatus, RiskLevel
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.deployments.stages import StageContext
from ml_platform.services.deployments.stages.validate import current_risk, missing_risk
from ml_platform.services.governance import RULES, ApprovalRow, ApprovalService, Subject, subject_digest

_GRACE_SECONDS = 2.0
_STAGE = StageName.APPROVAL
ASK_AGAIN = "deploying it again asks for a new approval"


class ApprovalStage:
    """Asks for an approval, and takes the answer."""

    def __init__(self, runner: StageRunner) -> None:
        self._runner = runner

    def request(self) -> dict[str, Any]:
        """`{"seconds": n}` when people must decide within them, else `{}`."""
        if self._runner.begin(_STAGE) is not None:
            return {}
        context = self._runner.context()
        if context.environment != Environment.PRODUCTION:
            evidence = {"required": False, "why": f"{context.environment} needs none"}
            self._runner.settle(_STAGE, Outcome(passed=True, evidence=evidence))
            return {}
        risk = current_risk(context)
        if risk is None:
            self._runner.settle(_STAGE, failed(missing_risk(context.model_name)))
            return {}
        version = context.resolve()
        artifact = context.parts.tools.inspect(version.source).digest
        return self._ask(context, risk, artifact, version.model_card)

    def settle(self) -> bool:
        """Takes what was decided; nothing decided within the limit is a lapse, and ends the rollout."""
        with self._runner.work() as work:
            ledger = self._runner.ledger_of(work)
            held = ledger.active(self._runner.rollout_id)
            if held is None:
                return False
            if ledger.stage(held[1], _STAGE).status == StageStatus.PASSED:
                return True
            row = ApprovalService(work, self._runner.parts.roles).settle(self._runner.rollout_id)
            return ledger.settle(self._runner.rollout_id, _STAGE, _outcome(row))

    def _ask(
        self, context: StageContext, risk: dict[str, Any], artifact: str, card: dict[str, Any]
    ) -> dict[str, Any]:
        with self._runner.work() as work:
            ledger = self._runner.ledger_of(work)
            held = ledger.active(context.rollout_id)
            if held is None:
                return {}
            rollout = held[1]
            subject = Subject(
                subject_id=rollout.id,
                model_name=rollout.model_name,
                model_version=rollout.model_version,
                environment=rollout.environment,
                digest=subject_digest(artifact=artifact, config=rollout.config, risk=risk, card=card),
                risk_level=RiskLevel(risk["level"]),
                risk_score=risk["score"],
                requested_by=rollout.requested_by,
                requested_by_name=rollout.requested_by_name,
                justification=rollout.justification,
                evidence={
                    "stages": context.evidence,
                    "risk": risk,
                    "config": rollout.config,
                    "serving_now": list(context.serving),
                },
                checks_passed=checks_passed(context.evidence),
            )
            row = ApprovalService(work, self._runner.parts.roles).request(subject)
            work.session.flush()
            rollout.approval_id, rollout.artifact_digest = row.id, artifact
            if row.status != ApprovalStatus.PENDING:
                return {}
            ledger.wait(rollout.id, _STAGE, _evidence(row))
            return {"seconds": (row.expires_at - work.clock()).total_seconds() + _GRACE_SECONDS}


def checks_passed(evidence: dict[str, Any]) -> bool:
    """Whether the stages before found nothing open: all was readable, and quality was really measured."""
    return all(bool(evidence.get(stage, {}).get("complete")) for stage in ("security", "test"))


def _outcome(row: ApprovalRow) -> Outcome:
    if row.status == ApprovalStatus.APPROVED:
        return Outcome(passed=True, evidence=_evidence(row))
    reason = row.reason or "nobody decided within the time limit"
    answer = "" if row.status == ApprovalStatus.REJECTED else f"; {ASK_AGAIN}"
    return failed(f"{row.status}: {reason}{answer}", code="approval_required", **_evidence(row))


def _evidence(row: ApprovalRow) -> dict[str, Any]:
    return {
        "required": True,
        "approval_id": row.id,
        "status": row.status,
        "automatic": row.automatic,
        "glass_broken_by": row.glass_broken_by_name,
        "risk_level": row.risk_level,
        "risk_score": row.risk_score,
        "digest": row.digest,
        "requirement": RULES[RiskLevel(row.risk_level)].describe().model_dump(mode="json"),
        "decision": row.reason,
    }
