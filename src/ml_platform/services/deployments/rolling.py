"""The canary: a share of the traffic at a time, decided by what the inference plane measured."""

from datetime import datetime
from typing import Any

from sqlalchemy.exc import OperationalError

from ml_platform.contracts.deployments import (
    CanaryPlan,
    Environment,
    RevisionStatus,
    RolloutPurpose,
    RolloutStatus,
)
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.deployments.canary import (
    FEWEST_REQUESTS,
    RECENT_SECONDS,
    Judgement,
    judge,
    judge_recent,
    measured,
    weigh,
)
from ml_platform.services.deployments.ledger import RolloutLedger, purpose_of
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.deployments.tables import RolloutRow

_QUICKEST_LOOK = 0.2
_SHORTEST_WINDOW = 1.0
_AFTER_THE_SMOKE_TEST = 1.0
"""The first calls of a cold revision are the smoke test's, and are counted up to a second late."""


class CanarySteps:
    """The effects of a canary; the workflow gives them their order and their waits."""

    def __init__(self, runner: StageRunner) -> None:
        self._runner = runner

    def plan(self) -> dict[str, Any]:
        """The steps below 100 percent (none without a canary), and how often to look."""
        with self._runner.ledger(write=False) as ledger:
            rollout = ledger.repository.rollout(self._runner.rollout_id)
            plan = CanaryPlan(**rollout.config["canary"])
            steps = [percent for percent in plan.steps if percent < 100]
            if not applies(ledger, self._runner.rollout_id):
                steps = []
        longest = self._runner.parts.settings.canary_poll_seconds
        return {
            "steps": steps,
            "every": min(longest, max(_QUICKEST_LOOK, plan.step_seconds / 4)),
            "hold_seconds": plan.hold_seconds + plan.step_seconds,
        }

    def shift(self, step: int, percent: int) -> bool:
        with self._runner.ledger() as ledger:
            return ledger.shift(self._runner.rollout_id, step, percent)

    def watch(self, step: int) -> dict[str, Any] | None:
        """A decision, or None to look again. While the inference plane is away nothing is decided."""
        try:
            with self._runner.ledger(write=False) as ledger:
                rollout = ledger.repository.rollout(self._runner.rollout_id)
                if RolloutStatus(rollout.status).finished:
                    return {"verdict": "over"}
                loaded = ledger.repository.loaded(rollout.deployment_id)
                paused = rollout.paused_at is not None
                row = next(row for row in ledger.repository.canary_steps(rollout) if row.step == step)
            state, why = self._runner.parts.plane.revision_state(rollout.revision_id)
            if state == "failed":
                return {"verdict": "rollback", "reason": f"the revision failed: {why}", "evidence": {}}
            assert row.started_at is not None
            elapsed = (self._runner.parts.clock() - row.started_at).total_seconds()
            window = elapsed - (_AFTER_THE_SMOKE_TEST if step == 0 else 0.0)
            if step == 0 and window < _SHORTEST_WINDOW:
                return None
            plane = self._runner.parts.plane
            metrics = plane.metrics(max(_SHORTEST_WINDOW, window))
            recent = plane.metrics(RECENT_SECONDS) if elapsed > 2 * RECENT_SECONDS else None
        except (UnavailableError, OperationalError):
            return None
        old = {row.id for row in loaded if row.status == RevisionStatus.SERVING}
        new, baseline = measured(metrics, rollout.revision_id, old)
        plan = CanaryPlan(**rollout.config["canary"])
        judgement = judge(plan, elapsed=elapsed, new=new, old=baseline)
        if recent is not None:
            last, beside = measured(recent, rollout.revision_id, old)
            judgement = judge_recent(plan, judgement, new=last, old=beside)
        if judgement.verdict != "rollback" and min(new.requests, baseline.requests) >= FEWEST_REQUESTS:
            judgement = self._weighed(plan, judgement, rollout, old, row.started_at)
        if judgement.verdict == "wait" or (paused and judgement.verdict == "promote"):
            return None
        return {"verdict": judgement.verdict, "reason": judgement.reason, "evidence": judgement.evidence}

    def paused(self) -> bool:
        """Whether somebody holds the canary, so that no decision is none."""
        with self._runner.ledger(write=False) as ledger:
            rollout = ledger.repository.rollout(self._runner.rollout_id)
            return rollout.paused_at is not None and not RolloutStatus(rollout.status).finished

    def _weighed(
        self, plan: CanaryPlan, judgement: Judgement, rollout: RolloutRow, old: set[str], since: datetime
    ) -> Judgement:
        comparison = self._runner.parts.comparison
        if comparison is None:
            return judgement
        with self._runner.work(write=False) as work:
            try:
                found = comparison.compare(work, rollout.deployment_id, rollout.revision_id, old, since)
            except AppError as error:  # traffic alone decides, and the evidence says so
                evidence = judgement.evidence | {"answers": {"not_compared": error.detail}}
                return Judgement(judgement.verdict, judgement.reason, evidence)
        return weigh(plan, judgement, found)

    def settle(self, step: int, found: dict[str, Any] | None) -> bool:
        """No decision within the time limit is a decision: back to what served."""
        if found is None:
            reason = "no decision within the time limit: too little traffic, or no metrics"
            found = {"verdict": "rollback", "reason": reason, "evidence": {}}
        if found["verdict"] == "over":
            return False
        with self._runner.ledger() as ledger:
            return ledger.settle_step(
                self._runner.rollout_id,
                step,
                promote=found["verdict"] == "promote",
                reason=found["reason"],
                evidence=found["evidence"],
            )

    def finish(self) -> bool:
        """All traffic to the new revision; what served stays warm behind it."""
        with self._runner.ledger() as ledger:
            held = ledger.active(self._runner.rollout_id)
            if held is not None:
                ledger.finish(*held, RolloutStatus.SUCCEEDED, None)
            return held is not None


def applies(ledger: RolloutLedger, rollout_id: str) -> bool:
    """In production, with steps below 100 percent, when another revision serves."""
    rollout = ledger.repository.rollout(rollout_id)
    if rollout.environment != Environment.PRODUCTION or rollout.config["canary"]["steps"] == [100]:
        return False
    if purpose_of(rollout) is not RolloutPurpose.TRAFFIC:
        return False
    loaded = ledger.repository.loaded(rollout.deployment_id)
    serving = any(row.status == RevisionStatus.SERVING and row.id != rollout.revision_id for row in loaded)
    return serving and ledger.candidate(rollout) is not None
