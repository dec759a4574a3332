"""The durable course of a job: prepare, wait for a slot, launch, follow, collect, register, finish.

Whatever happens on the way, the last step is `finish`: it says how the job ended and gives back what it
held (its slot, its key). Killed anywhere, the run goes on where it was; each step may be done twice.
"""

from collections.abc import Mapping
from typing import Any

from ml_platform.contracts.jobs import JobStatus
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.durable import JSON, Flow, Retry, StepFailedError
from ml_platform.services.training.service import WORKFLOW
from ml_platform.services.training.steps import JobSteps, Team

_QUEUE_SECONDS = 30 * 86400.0
_QUEUE_LOOK_SECONDS = 5.0
_AGAIN = Retry(attempts=3, first_wait=0.2, longest_wait=2.0)


class TrainingJob:
    """The workflow `training.job`; its id is the job's."""

    name = WORKFLOW

    def __init__(self, steps: JobSteps, *, poll_seconds: float = 0.5) -> None:
        self._steps = steps
        self._poll_seconds = poll_seconds

    def run(self, flow: Flow, *, job_id: str, team_id: str, team_name: str) -> JSON:
        steps, team = self._steps, Team(team_id, team_name)
        ended = self._until_end(flow, team, job_id)
        outcome: dict[str, Any] = dict(ended)
        try:
            outcome["metrics"] = flow.step("collect", steps.collect, team, job_id, ended, retry=_AGAIN)
            if outcome["status"] == JobStatus.SUCCEEDED.value:
                outcome |= flow.step("register", steps.register, team, job_id, retry=_AGAIN)
        except StepFailedError as error:
            outcome |= _not_registered(error)
        flow.step("finish", steps.finish, team, job_id, outcome, retry=_AGAIN)
        return {"status": outcome["status"], "model_id": outcome.get("model_id")}

    def _until_end(self, flow: Flow, team: Team, job_id: str) -> Mapping[str, Any]:
        """How the job's processes ended, or why there never were any."""
        steps = self._steps
        try:
            seconds = flow.step("prepare", steps.prepare, team, job_id, retry=_AGAIN)
            slot = flow.poll(
                "slot",
                lambda: steps.ask_for_slot(team, job_id),
                every=_QUEUE_LOOK_SECONDS,
                timeout=_QUEUE_SECONDS,
            )
            if slot == "cancelled":
                return steps.cancelled(team, job_id)
            if slot is None:
                return _waited_too_long()
            flow.step("launch", steps.launch, team, job_id)
            phase = flow.poll(
                "started",
                lambda: steps.look(team, job_id, for_end=False),
                every=self._poll_seconds,
                timeout=seconds,
            )
            if phase is not None and phase["phase"] == "script":
                flow.step("running", steps.mark_running, team, job_id)
            last = flow.poll(
                "ended",
                lambda: steps.look(team, job_id, for_end=True),
                every=self._poll_seconds,
                timeout=seconds,
            )
            return last["end"] if last is not None else steps.overdue()
        except StepFailedError as error:
            return {
                "status": JobStatus.FAILED.value,
                "reason": error.error.detail,
                "hint": error.error.hint or "retry the job: mlops jobs retry",
                "code": error.code,
            }


def _waited_too_long() -> Mapping[str, Any]:
    return {
        "status": JobStatus.TIMED_OUT.value,
        "reason": "it waited for 30 days and never got its turn",
        "hint": "retry the job, or have more jobs run at once: MLOPS_JOBS__MAX_RUNNING",
        "code": ErrorCode.QUOTA_EXCEEDED.value,
    }


def _not_registered(error: StepFailedError) -> dict[str, Any]:
    """The script's own result stands; what could not be collected or registered is said beside it."""
    return {
        "reason": f"the script ended, but its result could not be taken over: {error.error.detail}",
        "hint": error.error.hint or "register the run by hand: POST /models/{name}/versions",
        "code": error.code,
    }
