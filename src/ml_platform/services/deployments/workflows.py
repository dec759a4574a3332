"""`deployment.rollout`: the nine stages, then the canary, durable from the first row to the last."""

import itertools
from collections.abc import Callable

from ml_platform.contracts.deployments import RolloutPurpose, RolloutStatus, StageName
from ml_platform.kit.durable import JSON, Flow, Retry, StepFailedError
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.access import Actor
from ml_platform.services.deployments import stages
from ml_platform.services.deployments.approving import ApprovalStage
from ml_platform.services.deployments.ledger import Outcome, failed, purpose_of
from ml_platform.services.deployments.placing import PlacingStage
from ml_platform.services.deployments.rolling import CanarySteps, applies
from ml_platform.services.deployments.runner import StageRunner
from ml_platform.services.deployments.stages import RolloutParts, StageContext
from ml_platform.services.deployments.telling import Telling
from ml_platform.services.governance import DECIDED, REMINDERS

ROLLOUT = "deployment.rollout"
_AGAIN = Retry(attempts=4, first_wait=0.5)


class RolloutWorkflow:
    """Moves a rollout on. Its state is in the rows, and whoever ends it there ends it here.

    A stage is one step: it is marked as running, does its slow work outside any transaction, and writes
    what it found, once. Run again after a crash it does its work again, under the same names.
    """

    name = ROLLOUT

    def __init__(self, parts: RolloutParts) -> None:
        self._parts = parts

    def run(self, flow: Flow, *, team_id: str, team_name: str) -> JSON:
        actor = Actor.system("rollout", team_id=team_id, team_name=team_name)
        run = _Run(flow, StageRunner(self._parts, flow.workflow_id, actor))
        try:
            run.through()
        except StepFailedError as error:  # a fault that nobody planned for ends the rollout as well
            flow.step("abandon", run.abandon, error.error.step or "", error.error.detail, retry=_AGAIN)
        flow.step("notify.end", run.telling.end)
        return {"rollout_id": flow.workflow_id}


class _Run:
    """One run of one rollout; every method answers whether the rollout goes on."""

    def __init__(self, flow: Flow, runner: StageRunner) -> None:
        self._flow = flow
        self._runner = runner
        self._approval = ApprovalStage(runner)
        self._placing = PlacingStage(runner)
        self._canary = CanarySteps(runner)
        self.telling = Telling(runner)

    def through(self) -> bool:
        return (
            self._stage(StageName.VALIDATE, stages.validate)
            and self._stage(StageName.SECURITY, stages.security)
            and self._stage(StageName.TEST, stages.test)
            and self._approve()
            and self._stage(StageName.BUILD, stages.build)
            and self._deploy()
            and self._stage(StageName.SMOKE_TEST, stages.smoke_test)
            and self._flow.step("release", self._release, retry=_AGAIN)
            and self._flow.step(StageName.AUDIT.value, self.telling.audit, retry=_AGAIN)
            and self._flow.step(StageName.NOTIFY.value, self.telling.notify, retry=_AGAIN)
            and self._roll()
        )

    def abandon(self, step: str, detail: str) -> bool:
        """Ends the rollout as failed; what served before serves on."""
        with self._runner.ledger() as ledger:
            held = ledger.active(self._runner.rollout_id)
            if held is not None:
                reason = f"{step}: {detail}, also when it was tried again; `mlops logs api` says more"
                ledger.finish(*held, RolloutStatus.FAILED, reason)
        return False

    def _stage(self, name: StageName, stage: Callable[[StageContext], Outcome]) -> bool:
        return self._flow.step(name.value, self._run_stage, name, stage, retry=_AGAIN)

    def _run_stage(self, name: StageName, stage: Callable[[StageContext], Outcome]) -> bool:
        begun = self._runner.begin(name)
        if begun is not None:
            return begun
        try:
            outcome = stage(self._runner.context())
        except UnavailableError:
            raise  # tried again
        except AppError as error:
            outcome = failed(error.detail, code=str(error.code))
        return self._runner.settle(name, outcome)

    def _approve(self) -> bool:
        asked = self._flow.step("approval", self._approval.request, retry=_AGAIN)
        if asked:
            self._flow.step("approval.notify", self.telling.approvers)
            self._await_decision(asked["seconds"])
        return self._flow.step("approval.settle", self._approval.settle, retry=_AGAIN)

    def _await_decision(self, seconds: float) -> None:
        """Waits until people decided or the time is over, and reminds those who are missing."""
        begun = 0.0
        for number, part in enumerate(REMINDERS, start=1):
            if self._flow.receive(DECIDED, seconds * (part - begun)) is not None:
                return
            begun = part
            self._flow.step(f"approval.remind.{number}", self.telling.remind, number, retry=_AGAIN)
        self._flow.receive(DECIDED, seconds * (1 - begun))

    def _deploy(self) -> bool:
        if not self._flow.step("deploy", self._placing.place, retry=_AGAIN):
            return False
        settings = self._runner.parts.settings
        found = self._flow.poll(
            "deploy.ready",
            self._placing.look,
            every=settings.ready_poll_seconds,
            timeout=settings.ready_timeout_seconds,
        )
        return self._flow.step("deploy.settle", self._placing.settle, found, retry=_AGAIN)

    def _release(self) -> bool:
        """Without a canary the revision takes all traffic now, before it is audited and announced."""
        with self._runner.ledger() as ledger:
            held = ledger.active(self._runner.rollout_id)
            if held is None:
                return False
            ledger.end_shadow(*held)
            if purpose_of(held[1]) is not RolloutPurpose.TRAFFIC:
                ledger.set_aside(*held)
            elif not applies(ledger, self._runner.rollout_id):
                ledger.release(*held)
            return held is not None

    def _roll(self) -> bool:
        """Step by step; 100 percent ends it. The old revision stays warm throughout."""
        plan = self._flow.step("canary.plan", self._canary.plan, retry=_AGAIN)
        for number, percent in enumerate(plan["steps"]):
            if not self._step(number, percent, plan["every"], plan["hold_seconds"]):
                return False
        return self._flow.step("finish", self._canary.finish, retry=_AGAIN)

    def _step(self, number: int, percent: int, every: float, hold: float) -> bool:
        if not self._flow.step(f"canary.{number}.shift", self._canary.shift, number, percent, retry=_AGAIN):
            return False
        found = None
        for again in itertools.count():
            name = f"canary.{number}.watch" + (f".{again}" if again else "")
            found = self._flow.poll(name, lambda: self._canary.watch(number), every=every, timeout=hold)
            if found is not None or not self._flow.step(f"{name}.paused", self._canary.paused):
                break
        return self._flow.step(f"canary.{number}.settle", self._canary.settle, number, found, retry=_AGAIN)
