"""`deployment.ab_test`: brings the arms, splits the traffic, looks now and then, decides, restores."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from ml_platform.contracts.deployments import RolloutPurpose, RolloutStatus
from ml_platform.contracts.trials import ABTestRequest, ABTestStatus
from ml_platform.kit.durable import JSON, Flow, Retry, StepFailedError
from ml_platform.kit.errors import AppError, UnavailableError
from ml_platform.services.access import Actor, Work
from ml_platform.services.alerts import Message, send_later
from ml_platform.services.deployments import DeploymentService, Requester, RolloutParts
from ml_platform.services.trials.ab_tests import AB_TEST, ABTestService
from ml_platform.services.trials.interfaces import TrialEvidence
from ml_platform.services.trials.judging import Arm, Judgement, Live, check_guardrails, judge, metrics_of
from ml_platform.services.trials.ledger import ABTestLedger
from ml_platform.services.trials.statistics import ArmsRead
from ml_platform.services.trials.tables import ABTestRow

_log = structlog.get_logger(__name__)
_AGAIN = Retry(attempts=4, first_wait=0.5)
_LONGEST_WAIT = 30 * 86_400.0
_GRACE = 600.0
_DAY = 86_400.0
_PATIENCE = 0.01
"""The log is read again after this part of the time that the test has run: one of a hundred."""
_LONGEST_PAUSE = 600.0
_WORTH = 10.0
"""And never for more than this part of the time: a reading that takes a second is made every ten."""


class ABTestWorkflow:
    """Moves a test on. Its state is in the rows, and whoever ends it there ends it here."""

    name = AB_TEST

    def __init__(self, parts: RolloutParts, evidence: TrialEvidence) -> None:
        self._parts = parts
        self._evidence = evidence

    def run(self, flow: Flow, *, team_id: str, team_name: str) -> JSON:
        actor = Actor.system("ab-test", team_id=team_id, team_name=team_name)
        run = _Run(flow, self._parts, self._evidence, actor)
        try:
            run.through()
        except StepFailedError as error:  # a fault that nobody planned for gives the traffic back as well
            flow.step("abandon", run.abandon, error.error.step or "", error.error.detail, retry=_AGAIN)
        flow.step("tell", run.tell)
        return {"ab_test_id": flow.workflow_id}


class _Run:
    """One run of one test."""

    def __init__(self, flow: Flow, parts: RolloutParts, evidence: TrialEvidence, actor: Actor) -> None:
        self._flow = flow
        self._id = flow.workflow_id
        self._parts = parts
        self._evidence = evidence
        self._actor = actor
        self._read_at = -_LONGEST_PAUSE
        self._took = 0.0

    def through(self) -> None:
        settings = self._parts.settings
        for number in range(self._flow.step("arms", self._count, retry=_AGAIN)):
            if not self._bring(number):
                return
        if not self._flow.step("begin", self._begin, retry=_AGAIN):
            return
        applied = self._flow.poll(
            "applied",
            self._applied,
            every=settings.ready_poll_seconds,
            timeout=settings.ready_timeout_seconds,
        )
        seconds = self._flow.step("measure", self._measure, bool(applied), retry=_AGAIN)
        if not seconds:
            return
        found = self._flow.poll(
            "look", self._look, every=settings.canary_poll_seconds, timeout=seconds + _GRACE
        )
        if self._flow.step("decide", self._decide, found, retry=_AGAIN):
            self._flow.step("promote", self._promote, retry=_AGAIN)

    # -- arms

    def _count(self) -> int:
        with self._ledger(write=False) as ledger:
            return len(ledger.repository.arms(self._id))

    def _bring(self, number: int) -> bool:
        """An arm that is not loaded comes through the stages, as any deployment to this environment."""
        begun = self._flow.step(f"arm.{number}.rollout", self._start_rollout, number, retry=_AGAIN)
        if begun is None:
            return False
        if not begun:
            return True
        status = self._flow.poll(
            f"arm.{number}.ready",
            lambda: self._rollout_status(number),
            every=self._parts.settings.canary_poll_seconds,
            timeout=_LONGEST_WAIT,
        )
        return self._flow.step(f"arm.{number}.settle", self._settle_arm, number, status, retry=_AGAIN)

    def _start_rollout(self, number: int) -> bool | None:
        """Whether there is one to wait for; None when the test is over."""
        with self._work() as work:
            ledger = ABTestLedger(work, self._parts)
            held = ledger.active(self._id)
            if held is None:
                return None
            deployment, row = held
            arm = ledger.repository.arms(self._id)[number]
            if arm.rollout_id is None and arm.revision_id is None:
                rollout = DeploymentService(work, self._parts).deploy_beside(
                    deployment.id,
                    f"{arm.model_name}/{arm.model_version}",
                    RolloutPurpose.TRIAL,
                    justification=row.plan["justification"] or f"{arm.name} of the A/B test {row.name}",
                    requester=Requester(row.started_by, row.started_by_name),
                    ab_test_id=row.id,
                    ab_test={"id": row.id, "arm": arm.name, "weight": arm.weight},
                )
                arm.rollout_id, arm.revision_id = rollout.id, rollout.revision_id
            return arm.rollout_id is not None

    def _rollout_status(self, number: int) -> str | None:
        try:
            with self._ledger(write=False) as ledger:
                arm = ledger.repository.arms(self._id)[number]
                status = RolloutStatus(ledger.deployments.rollout(str(arm.rollout_id)).status)
        except OperationalError:
            return None
        return status.value if status.finished else None

    def _settle_arm(self, number: int, status: str | None) -> bool:
        with self._ledger() as ledger:
            held = ledger.active(self._id)
            if held is None:
                return False
            if status == RolloutStatus.SUCCEEDED:
                return True
            arm = ledger.repository.arms(self._id)[number]
            rollout = ledger.deployments.rollout(str(arm.rollout_id))
            reason = (
                f"the rollout {rollout.id} of {arm.name} {rollout.status}: {rollout.reason or 'no reason'}"
            )
            ledger.finish(*held, ABTestStatus.FAILED, reason)
            return False

    # -- the split

    def _begin(self) -> bool:
        with self._ledger() as ledger:
            problem = ledger.begin(self._id)
            held = ledger.active(self._id)
            if problem is not None and held is not None:
                ledger.finish(*held, ABTestStatus.FAILED, problem)
                return False
            return held is not None

    def _applied(self) -> bool | None:
        """Whether every worker splits the traffic among arms that are all in memory."""
        try:
            with self._ledger(write=False) as ledger:
                row = ledger.repository.test(self._id)
                if ABTestStatus(row.status).finished:
                    return True
                revisions = [str(arm.revision_id) for arm in ledger.repository.arms(self._id)]
            if self._parts.plane.applied_version() < (row.snapshot_version or 0):
                return None
            ready = all(self._parts.plane.revision_state(item)[0] == "ready" for item in revisions)
        except (UnavailableError, OperationalError):
            return None
        return True if ready else None

    def _measure(self, applied: bool) -> float:
        """For how many seconds at most there is something to look at; 0 for none."""
        with self._ledger() as ledger:
            held = ledger.active(self._id)
            if held is None:
                return 0.0
            if not applied:
                limit = self._parts.settings.ready_timeout_seconds
                reason = f"the inference server did not take over the split within {limit:.0f} s"
                ledger.finish(*held, ABTestStatus.FAILED, reason)
                return 0.0
            ledger.measure_from_now(self._id)
            return float(held[1].plan["max_seconds"])

    # -- looking

    def _look(self) -> dict[str, Any] | None:
        """A decision, or None to look again. What cannot be read now decides nothing."""
        try:
            with self._ledger(write=False) as ledger:
                row = ledger.repository.test(self._id)
                if ABTestStatus(row.status).finished:
                    return {"status": "over"}
                arms = self._arms(ledger)
            return self._judged(row, arms)
        except (UnavailableError, OperationalError):
            return None

    def _judged(self, row: ABTestRow, arms: list[Arm]) -> dict[str, Any] | None:
        assert row.measured_from is not None
        plan = ABTestRequest.model_validate(row.plan)
        now = self._parts.clock()
        elapsed = (now - row.measured_from).total_seconds()
        live = self._live(elapsed)
        broken = any(item.broken for item in check_guardrails(plan, arms, ArmsRead({}, 0), live))
        over = elapsed >= plan.max_seconds
        if not (broken or over or self._is_due(elapsed)):
            return None
        read = self._read(row, plan, arms, row.measured_from, now, necessary=not (broken or over))
        judgement = judge(plan, arms, read, live, elapsed=elapsed, now=now)
        if judgement.status is None:
            with self._ledger() as ledger:
                ledger.note(self._id, judgement.report)
            return None
        return _decision(judgement)

    def _live(self, elapsed: float) -> Live:
        """What the inference plane counted; nothing while it does not answer."""
        try:
            metrics = self._parts.plane.metrics(min(_DAY, max(1.0, elapsed)))
        except UnavailableError:
            return {}
        return {item.revision_id: item for item in metrics.revisions}

    def _is_due(self, elapsed: float) -> bool:
        pause = min(_LONGEST_PAUSE, max(_PATIENCE * elapsed, _WORTH * self._took))
        return time.monotonic() - self._read_at >= pause

    def _read(
        self,
        row: ABTestRow,
        plan: ABTestRequest,
        arms: list[Arm],
        since: datetime,
        until: datetime,
        *,
        necessary: bool,
    ) -> ArmsRead:
        """What the log says; where the test is to end anyhow it ends without, if the log cannot be read."""
        began = time.monotonic()
        try:
            with self._work(write=False) as work:
                return self._evidence.arms(
                    work,
                    row.deployment_id,
                    revisions=[arm.revision_id for arm in arms],
                    since=since,
                    until=until,
                    metrics=metrics_of(plan),
                    positive=plan.positive,
                )
        except UnavailableError:
            if necessary:
                raise
            return ArmsRead({}, 0)
        finally:
            self._read_at = time.monotonic()
            self._took = self._read_at - began

    def _arms(self, ledger: ABTestLedger) -> list[Arm]:
        rows = ledger.repository.arms(self._id)
        return [Arm(row.name, str(row.revision_id), row.weight, row.control) for row in rows]

    # -- the end

    def _decide(self, found: dict[str, Any] | None) -> bool:
        """Writes the decision and gives the traffic back; whether a winner is to be promoted now."""
        if found is None:
            reason = "its time is over, and its log or the inference server could not be read"
            found = {"status": ABTestStatus.EXPIRED.value, "winner": None, "reason": reason, "report": None}
        with self._ledger() as ledger:
            held = ledger.active(self._id)
            if held is not None and found["status"] != "over":
                status = ABTestStatus(found["status"])
                ledger.finish(*held, status, found["reason"], winner=found["winner"], report=found["report"])
            # By the rows: run again after a crash, what was decided then is to be promoted all the same.
            row, arms = ledger.repository.test(self._id), ledger.repository.arms(self._id)
            challenger = any(arm.name == row.winner and not arm.control for arm in arms)
            return bool(row.plan["promote_winner"]) and challenger

    def _promote(self) -> str | None:
        """In the name of who asked for it when the test was started; they cannot approve it."""
        with self._work() as work:
            ledger = ABTestLedger(work, self._parts)
            row = ledger.repository.test(self._id)
            deployment = ledger.deployments.deployment(row.deployment_id, lock=True)
            if row.promoted_rollout_id is not None:
                return row.promoted_rollout_id
            requester = Requester(row.started_by, row.started_by_name)
            try:
                service = ABTestService(work, self._parts)
                return service.start_promotion(deployment, row, requester=requester).rollout_id
            except AppError as error:
                _log.warning("ab_test.not_promoted", ab_test=self._id, reason=error.detail)
                work.record("ab_test.not_promoted", "ab_test", row.id, after={"reason": error.detail})
                return None

    def abandon(self, step: str, detail: str) -> bool:
        with self._ledger() as ledger:
            held = ledger.active(self._id)
            if held is not None:
                reason = f"{step}: {detail}, also when it was tried again; `mlops logs api` says more"
                ledger.finish(*held, ABTestStatus.FAILED, reason)
        return False

    def tell(self) -> dict[str, Any]:
        with self._ledger(write=False) as ledger:
            row = ledger.repository.test(self._id)
        bad = row.status in (ABTestStatus.STOPPED_BY_GUARDRAIL, ABTestStatus.FAILED)
        title = f"A/B test {row.name}: {row.status.replace('_', ' ')}"
        text = f"{row.reason or title}\nteam {self._actor.team_name}, {row.id}"
        severity = "failure" if bad else "success"
        try:
            return {"delivered": self._parts.notifier.send(title, text, severity=severity)}
        except AppError as error:
            with self._work() as work:
                again = send_later(work, f"{row.id}/end", Message(title=title, body=text, severity=severity))
            return {"delivered": 0, "failed": error.detail, "tried_again_as": again}

    @contextmanager
    def _work(self, *, write: bool = True) -> Iterator[Work]:
        with self._parts.factory.begin(self._actor, write=write) as work:
            yield work

    @contextmanager
    def _ledger(self, *, write: bool = True) -> Iterator[ABTestLedger]:
        with self._work(write=write) as work:
            yield ABTestLedger(work, self._parts)


def _decision(judgement: Judgement) -> dict[str, Any]:
    assert judgement.status is not None
    return {
        "status": judgement.status.value,
        "winner": judgement.winner,
        "reason": judgement.reason,
        "report": judgement.report.model_dump(mode="json"),
    }
