"""What the parts of the rollout workflow share: opening a work, reading the facts, settling a stage."""

from collections.abc import Iterator
from contextlib import contextmanager

from ml_platform.contracts.deployments import StageName
from ml_platform.services.access import Actor, Work
from ml_platform.services.deployments.ledger import Outcome, RolloutLedger
from ml_platform.services.deployments.stages import RolloutParts, StageContext
from ml_platform.services.deployments.traffic import Traffic


class StageRunner:
    """One rollout, in short units of work of the system actor."""

    def __init__(self, parts: RolloutParts, rollout_id: str, actor: Actor) -> None:
        self.parts = parts
        self.rollout_id = rollout_id
        self.actor = actor

    @contextmanager
    def work(self, *, write: bool = True) -> Iterator[Work]:
        with self.parts.factory.begin(self.actor, write=write) as work:
            yield work

    @contextmanager
    def ledger(self, *, write: bool = True) -> Iterator[RolloutLedger]:
        with self.work(write=write) as work:
            yield self.ledger_of(work)

    def ledger_of(self, work: Work) -> RolloutLedger:
        return RolloutLedger(work, self.parts.roles, self.parts.catalogue)

    def begin(self, stage: StageName) -> bool | None:
        """See `RolloutLedger.begin`."""
        with self.ledger() as ledger:
            return ledger.begin(self.rollout_id, stage)

    def settle(self, stage: StageName, outcome: Outcome) -> bool:
        """See `RolloutLedger.settle`."""
        with self.ledger() as ledger:
            return ledger.settle(self.rollout_id, stage, outcome)

    def context(self) -> StageContext:
        """The facts of the rollout as they are now."""
        with self.work(write=False) as work:
            ledger = self.ledger_of(work)
            rollout = ledger.repository.rollout(self.rollout_id)
            deployment = ledger.repository.deployment(rollout.deployment_id)
            serving = sorted(Traffic(work, deployment).serving(), key=lambda row: -row.weight)
            return StageContext(
                parts=self.parts,
                rollout_id=rollout.id,
                team_id=rollout.team_id,
                team_name=rollout.team_name,
                deployment_id=deployment.id,
                deployment_name=deployment.name,
                revision_id=rollout.revision_id,
                model_name=rollout.model_name,
                model_version=rollout.model_version,
                environment=rollout.environment,
                config=rollout.config,
                evidence=ledger.evidence(rollout),
                artifact_digest=rollout.artifact_digest,
                serving=tuple(f"{row.model_name}/{row.model_version}" for row in serving),
            )
