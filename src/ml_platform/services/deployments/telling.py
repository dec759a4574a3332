"""audit and notify: the evidence is bound by its digest, and people are told; neither stops a rollout."""

from typing import Any

from ml_platform.contracts.deployments import RolloutPurpose, RolloutStatus, StageName
from ml_platform.kit.clock import rfc3339
from ml_platform.kit.errors import AppError
from ml_platform.kit.strictjson import digest
from ml_platform.services.alerts import Message, send_later
from ml_platform.services.deployments.ledger import Outcome, purpose_of
from ml_platform.services.deployments.rolling import applies
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.deployments.stages import StageContext
from ml_platform.services.governance import ApprovalService

_BEGINS = {
    RolloutPurpose.TRAFFIC: "serves",
    RolloutPurpose.SHADOW: "is a shadow",
    RolloutPurpose.TRIAL: "is ready for its A/B test",
}


class Telling:
    """What a rollout leaves in the audit log, and whom it tells."""

    def __init__(self, runner: StageRunner) -> None:
        self._runner = runner

    def audit(self) -> bool:
        """One event that binds the whole evidence, in the chain, in the transaction of the stage."""
        with self._runner.work() as work:
            ledger = self._runner.ledger_of(work)
            rollout_id = self._runner.rollout_id
            begun = ledger.begin(rollout_id, StageName.AUDIT)
            if begun is not None:
                return begun
            rollout = ledger.repository.rollout(rollout_id)
            evidence = ledger.evidence(rollout)
            facts = {
                "evidence_sha256": digest({"evidence": evidence, "config": rollout.config}),
                "stages": sorted(evidence),
                "bundle_digest": evidence["build"]["bundle_digest"],
                "approval_id": rollout.approval_id,
                "requested_by": rollout.requested_by_name,
            }
            work.record("rollout.sealed", "rollout", rollout.id, after=facts)
            return ledger.settle(rollout_id, StageName.AUDIT, Outcome(passed=True, evidence=facts))

    def notify(self) -> bool:
        """A failed notification is written down, and never fails a deployment."""
        begun = self._runner.begin(StageName.NOTIFY)
        if begun is not None:
            return begun
        context = self._runner.context()
        with self._runner.ledger(write=False) as ledger:
            what = _BEGINS[purpose_of(ledger.repository.rollout(self._runner.rollout_id))]
            if applies(ledger, self._runner.rollout_id):
                what = "starts as a canary"
        sent = self._send(context, f"{what} in {context.environment}")
        return self._runner.settle(StageName.NOTIFY, Outcome(passed=True, evidence=sent))

    def approvers(self) -> dict[str, Any]:
        context = self._runner.context()
        return self._send(context, f"waits for approval in {context.environment}", severity="warning")

    def remind(self, number: int) -> dict[str, Any]:
        """Tells again whom a request waits for; nothing when it was decided meanwhile."""
        with self._runner.work() as work:
            reminder = ApprovalService(work, self._runner.parts.roles).remind(self._runner.rollout_id, number)
        if reminder is None:
            return {"delivered": 0}
        context = self._runner.context()
        body = f"missing: {', '.join(reminder.missing)}; it lapses at {rfc3339(reminder.expires_at)}"
        what = "is about to lapse without an approval" if reminder.last else "still waits for approval"
        severity = "failure" if reminder.last else "warning"
        return self._send(context, f"{what} in {context.environment}", body=body, severity=severity)

    def end(self) -> dict[str, Any]:
        """How it ended, unless its stage said all there is to say."""
        context = self._runner.context()
        with self._runner.ledger(write=False) as ledger:
            rollout = ledger.repository.rollout(self._runner.rollout_id)
            canary = ledger.repository.canary_steps(rollout)
        if rollout.status == RolloutStatus.SUCCEEDED and not canary:
            return {"delivered": 0}
        bad = rollout.status in (RolloutStatus.FAILED, RolloutStatus.ROLLED_BACK)
        what = f"{rollout.status.replace('_', ' ')} in {context.environment}"
        return self._send(context, what, body=rollout.reason, severity="failure" if bad else "success")

    def _send(
        self, context: StageContext, what: str, *, body: str | None = None, severity: str = "info"
    ) -> dict[str, Any]:
        title = f"{context.model_name}/{context.model_version} {what}"
        text = f"{body or title}\nteam {context.team_name}, rollout {context.rollout_id}"
        try:
            return {"delivered": self._runner.parts.notifier.send(title, text, severity=severity)}
        except AppError as error:
            with self._runner.work() as work:
                message = Message(title=title, body=text, severity=severity)
                again = send_later(work, f"{context.rollout_id}/{what}", message)
            return {"delivered": 0, "failed": error.detail, "tried_again_as": again}
