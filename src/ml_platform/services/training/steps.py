"""The steps of a job, each of which may be done twice and then has happened once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_platform.contracts.jobs import JobStatus, TrainRequest
from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import NotFoundError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Actor, Work, WorkFactory
from ml_platform.services.training.interfaces import (
    JobEnd,
    JobEngine,
    JobKeys,
    JobLaunch,
    JobRuns,
    Wake,
)
from ml_platform.services.training.outcomes import Registration, RegistrationResult
from ml_platform.services.training.queue import JobQueue
from ml_platform.services.training.repository import TrainingRepository
from ml_platform.services.training.settings import TrainingSettings
from ml_platform.services.training.tables import JobRow, SourceRow

_SLACK_SECONDS = 600.0
_RUN_STATUS = {
    JobStatus.SUCCEEDED.value: "FINISHED",
    JobStatus.CANCELLED.value: "KILLED",
}
_KEY_SECONDS_IN_QUEUE = 30 * 86400.0
_HOLDOUT = "holdout.parquet"
MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Team:
    team_id: str
    name: str


class JobSteps:
    """What the workflow of a job does to the world."""

    def __init__(
        self,
        *,
        factory: WorkFactory,
        settings: TrainingSettings,
        engine: JobEngine,
        keys: JobKeys,
        runs: JobRuns,
        storage: ObjectStorage,
        queue: JobQueue,
        registration: Registration,
        wake: Wake,
    ) -> None:
        self._factory = factory
        self._settings = settings
        self._engine = engine
        self._keys = keys
        self._runs = runs
        self._storage = storage
        self._queue = queue
        self._registration = registration
        self._wake = wake

    def prepare(self, team: Team, job_id: str) -> float:
        """Makes the job's run and its key, lays its files out, queues it; answers its longest life."""
        row, source = self._read(team, job_id)
        run_id = row.run_id or self._runs.ensure_run(
            team.name, row.experiment_id, job_id=job_id, name=job_id, user=row.created_by
        )
        seconds = row.timeout_seconds + self._settings.environment_seconds + _SLACK_SECONDS
        if self._engine.state(job_id).status == "unknown":
            with self._begin(team) as work:
                self._row(work, job_id).run_id = run_id
                token = self._keys.issue(work, job_id, seconds=seconds + _KEY_SECONDS_IN_QUEUE)
            self._engine.prepare(self._launch_of(row, source, run_id, token))
        # Asked before the script can have touched its files.
        fresh = row.status == JobStatus.SUBMITTED.value
        requirements = self._engine.requirements_digest(job_id) if fresh else None
        with self._begin(team) as work:
            row = self._row(work, job_id)
            if row.status == JobStatus.SUBMITTED.value:
                row.requirements_digest = requirements
                row.status = JobStatus.QUEUED.value
                row.queued_at = work.clock()
        return seconds

    def ask_for_slot(self, team: Team, job_id: str) -> str | None:
        """'granted', 'cancelled', or None while others are before this job."""
        answer = self._slot(team, job_id)
        if answer is None:
            granted = self._queue.dispatch()
            self._wake(other for other in granted if other != job_id)
            if job_id in granted:
                return "granted"
        return answer

    def launch(self, team: Team, job_id: str) -> None:
        self._engine.launch(job_id)
        with self._begin(team) as work:
            row = self._row(work, job_id)
            if row.status == JobStatus.QUEUED.value:
                row.status = JobStatus.PREPARING.value

    def look(self, team: Team, job_id: str, *, for_end: bool) -> dict[str, Any] | None:
        """How far the processes are: at their end, at the script's start, or None for neither yet."""
        row, _ = self._read(team, job_id)
        if row.cancel_requested_at is not None:
            self._engine.cancel(job_id)
        state = self._engine.state(job_id)
        if state.end is not None:
            return {"phase": "end", "end": self._ended(row, state.end)}
        if state.status == "unknown":
            raise NotFoundError("the job's files are gone from this machine", hint="retry the job")
        if state.status == "lost" and state.script_started:
            return {"phase": "end", "end": _lost()}
        if state.status in ("lost", "prepared"):
            self._engine.launch(job_id)
        if state.script_started and not for_end:
            return {"phase": "script"}
        return None

    def mark_running(self, team: Team, job_id: str) -> None:
        with self._begin(team) as work:
            row = self._row(work, job_id)
            if row.status == JobStatus.PREPARING.value:
                row.status = JobStatus.RUNNING.value
                row.started_at = work.clock()
                work.record("job.start", "job", job_id)

    def collect(self, team: Team, job_id: str, ended: Mapping[str, Any]) -> dict[str, float]:
        """Metrics from the run and from metrics.json, which wins; ends the run."""
        row, _ = self._read(team, job_id)
        given: Mapping[str, float] = {}
        if self._engine.state(job_id).status != "unknown":
            given = self._engine.outputs(job_id).metrics
        if row.run_id is None:
            return dict(given)
        status = _RUN_STATUS.get(ended["status"], "FAILED")
        self._runs.finish_run(team.name, row.run_id, status=status, metrics=given)
        return {**self._runs.run_metrics(team.name, row.run_id), **given}

    def register(self, team: Team, job_id: str) -> dict[str, Any]:
        """Registers the job's model if it asked for that and the gate lets it through."""
        row, _ = self._read(team, job_id)
        wanted = TrainRequest.model_validate(row.request).register_as
        outputs = self._engine.outputs(job_id)
        if wanted is None:
            return _problem(outputs.problem)
        holdout = outputs.directory / _HOLDOUT
        result = self._registration.register(
            team.team_id,
            team.name,
            job_id=job_id,
            run_id=row.run_id or "",
            created_by=row.created_by,
            wanted=wanted,
            holdout=holdout if _is_plain_file(holdout) else None,
        )
        return _registered(result, outputs.problem)

    def finish(self, team: Team, job_id: str, outcome: Mapping[str, Any]) -> None:
        """Says how the job ended, once; gives back its key and its slot; the next one may start."""
        self._engine.cancel(job_id)  # nothing, unless it outlived its time
        with self._begin(team) as work:
            row = self._row(work, job_id)
            if row.finished_at is None:
                self._keys.revoke(work, job_id)
                before = row.status
                _write_outcome(row, outcome, work.clock())
                work.record(
                    "job.finish",
                    "job",
                    job_id,
                    before={"status": before},
                    after={"status": row.status, "model_id": row.model_id, "reason": row.reason},
                )
        self._wake(self._queue.dispatch())

    def cancelled(self, team: Team, job_id: str) -> dict[str, Any]:
        """The end of a job that was cancelled before it got its turn."""
        return _cancelled(self._read(team, job_id)[0])

    def overdue(self) -> dict[str, Any]:
        """The end of a job that neither ended nor was ended in time."""
        return {
            "status": JobStatus.TIMED_OUT.value,
            "reason": "it did not end within its time, and its processes were given up",
            "hint": "retry the job; `mlops doctor` says whether this machine is well",
            "code": ErrorCode.JOB_FAILED.value,
        }

    def _ended(self, row: JobRow, end: JobEnd) -> dict[str, Any]:
        used = {
            "exit_code": end.exit_code,
            "cpu_seconds": end.cpu_seconds,
            "max_memory_bytes": end.max_memory_bytes,
            "started_at": end.started_at.isoformat(),
        }
        if end.state == "succeeded":
            return {"status": JobStatus.SUCCEEDED.value, "reason": None, "hint": None, "code": None, **used}
        if end.state == "cancelled":
            return {**_cancelled(row), **used}
        hint = f"read what it wrote: mlops jobs logs {row.id}"
        if end.state == "timed_out":
            hint = "have it do less, or ask for more time: --time-limit, or timeout_seconds in the API"
        return {
            "status": end.state,
            "reason": end.reason or f"it {end.state}",
            "hint": hint,
            "code": ErrorCode.JOB_FAILED.value,
            **used,
        }

    def _slot(self, team: Team, job_id: str) -> str | None:
        row, _ = self._read(team, job_id)
        if row.cancel_requested_at is not None:
            return "cancelled"
        return "granted" if row.slot_at is not None else None

    def _launch_of(self, row: JobRow, source: SourceRow, run_id: str, token: str) -> JobLaunch:
        request = TrainRequest.model_validate(row.request)
        return JobLaunch(
            job_id=row.id,
            source=self._storage.path(source.uri),
            source_sha256=source.sha256,
            script=request.script,
            requirements_file=row.requirements_file,
            args=tuple(request.args),
            env={
                "MLFLOW_TRACKING_URI": f"{self._settings.api_url}/mlflow",
                "MLFLOW_TRACKING_TOKEN": token,
                "MLFLOW_EXPERIMENT_ID": row.experiment_id,
                "MLFLOW_RUN_ID": run_id,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
                "MLOPS_API_URL": self._settings.api_url,
                "MLOPS_API_KEY": token,
            },
            config=request.config,
            inputs={name: Path(item["path"]) for name, item in row.inputs.items()},
            timeout_seconds=row.timeout_seconds,
            memory_bytes=row.memory_bytes,
            max_processes=self._settings.max_processes,
            log_bytes=self._settings.log_bytes,
        )

    @contextmanager
    def _begin(self, team: Team, *, write: bool = True) -> Iterator[Work]:
        actor = Actor.system("training", team_id=team.team_id, team_name=team.name)
        with self._factory.begin(actor, write=write) as work:
            yield work

    def _read(self, team: Team, job_id: str) -> tuple[JobRow, SourceRow]:
        with self._begin(team, write=False) as work:
            row = self._row(work, job_id)
            source = TrainingRepository(work.session, team.team_id).source(row.source_id)
            assert source is not None  # a foreign key holds it
            return row, source

    def _row(self, work: Work, job_id: str) -> JobRow:
        row = TrainingRepository(work.session, work.team_id).job(job_id)
        if row is None:
            raise NotFoundError.of("job", job_id)
        return row


def _cancelled(row: JobRow) -> dict[str, Any]:
    return {
        "status": JobStatus.CANCELLED.value,
        "reason": f"cancelled by {row.cancelled_by or 'the platform'}",
        "hint": "submit it again when it is wanted after all: mlops jobs retry",
        "code": None,
    }


def _lost() -> dict[str, Any]:
    return {
        "status": JobStatus.FAILED.value,
        "reason": "its processes were killed from outside while the script ran",
        "hint": "retry the job; a script is never started twice by itself",
        "code": ErrorCode.JOB_FAILED.value,
    }


def _problem(problem: str | None) -> dict[str, Any]:
    if problem is None:
        return {}
    return {"reason": problem, "hint": "write finite numbers by name into metrics.json", "code": None}


def _registered(result: RegistrationResult, problem: str | None) -> dict[str, Any]:
    answer = {**_problem(problem), "model_id": result.model_id, "gate": result.gate}
    if result.model_id is None:
        answer |= {"reason": result.reason, "hint": result.hint, "code": ErrorCode.GATE_FAILED.value}
    return answer


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _write_outcome(row: JobRow, outcome: Mapping[str, Any], now: datetime) -> None:
    reason = outcome.get("reason")
    row.status = outcome["status"]
    row.reason = reason[:MAX_REASON].replace("\x00", "") if reason else None
    row.hint = outcome.get("hint")
    row.code = outcome.get("code")
    row.metrics = dict(outcome.get("metrics") or {})
    row.model_id = outcome.get("model_id")
    row.gate = outcome.get("gate")
    row.exit_code = outcome.get("exit_code")
    row.cpu_seconds = outcome.get("cpu_seconds")
    row.max_memory_bytes = outcome.get("max_memory_bytes")
    if row.started_at is None and outcome.get("started_at"):  # it was over before anybody looked
        row.started_at = datetime.fromisoformat(outcome["started_at"])
    row.finished_at = now
