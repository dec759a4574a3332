"""What one can do with training jobs: submit, look, cancel, retry."""

from typing import Any

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.jobs import Job, JobInput, JobStatus, JobSubmitted, TrainRequest
from ml_platform.contracts.models import GateResult
from ml_platform.kit.errors import BadInputError, ConflictError, NotFoundError, TooManyError
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.experiments import ExperimentService, Tracking
from ml_platform.services.training.interfaces import InputSource
from ml_platform.services.training.repository import QueueRepository, TrainingRepository
from ml_platform.services.training.settings import TrainingSettings
from ml_platform.services.training.sources import SourceStore, check_file
from ml_platform.services.training.tables import JobRow, SourceRow

WORKFLOW = "training.job"
CANCEL_TOPIC = "training.cancel"
DEFAULT_REQUIREMENTS = "requirements.txt"


class TrainingService:
    """Jobs of one team, in one unit of work."""

    def __init__(
        self,
        work: Work,
        *,
        settings: TrainingSettings,
        tracking: Tracking,
        sources: SourceStore,
        inputs: InputSource,
    ) -> None:
        self._work = work
        self._settings = settings
        self._tracking = tracking
        self._sources = sources
        self._inputs = inputs

    def submit(self, experiment: str, request: TrainRequest) -> JobSubmitted:
        """Checks a request and queues it.

        Raises:
            NotFoundError: there is no such experiment, source or input.
            BadInputError: something in the request cannot be given here; the field is named.
            TooManyError: the team's queue is full.
        """
        found = ExperimentService(self._work, self._tracking).get_experiment(experiment)
        memory, timeout = self._settings.memory_for(request), self._settings.timeout_for(request)
        if not request.script.endswith(".py"):
            raise BadInputError.of("script", "must be a Python file, such as 'train.py'")
        if request.inputs:
            self._work.require(Permission.READ_DATA)
        source = self._source(found.experiment_id, request)
        check_file(source, "script", request.script)
        requirements = request.requirements
        if requirements is not None:
            check_file(source, "requirements", requirements)
        elif DEFAULT_REQUIREMENTS in source.files:
            requirements = DEFAULT_REQUIREMENTS
        stored = request.model_dump(mode="json", exclude={"source"})
        row = self._insert(
            experiment_id=found.experiment_id,
            experiment_name=found.name,
            source_id=source.id,
            request=stored,
            requirements_file=requirements,
            inputs=self._resolved(request),
            timeout_seconds=timeout,
            memory_bytes=memory,
            retry_of=None,
        )
        return _submitted(row)

    def retry(self, job_id: str) -> JobSubmitted:
        """Submits an ended job again, as it was; ConflictError while it is under way."""
        old = self._row(job_id)
        if not JobStatus(old.status).ended:
            raise ConflictError(f"job {job_id} is {old.status}", hint="wait until it has ended, or cancel it")
        row = self._insert(
            experiment_id=old.experiment_id,
            experiment_name=old.experiment_name,
            source_id=old.source_id,
            request=old.request,
            requirements_file=old.requirements_file,
            inputs=old.inputs,
            timeout_seconds=old.timeout_seconds,
            memory_bytes=old.memory_bytes,
            retry_of=old.id,
        )
        return _submitted(row)

    def get(self, job_id: str) -> Job:
        return job_of(self._row(job_id))

    def list_jobs(
        self, *, experiment: str | None, status: JobStatus | None, before: str | None, limit: int
    ) -> list[Job]:
        """Newest first."""
        experiment_id = None
        if experiment is not None:
            found = ExperimentService(self._work, self._tracking).get_experiment(experiment)
            experiment_id = found.experiment_id
        rows = self._repository.jobs(
            experiment_id=experiment_id, status=status.value if status else None, before=before, limit=limit
        )
        return [job_of(row) for row in rows]

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop; asking again changes nothing. ConflictError when it ended by itself."""
        row = self._row(job_id)
        if row.status == JobStatus.CANCELLED or (row.cancel_requested_at and not row.finished_at):
            return job_of(row)
        if JobStatus(row.status).ended:
            raise ConflictError(f"job {job_id} has ended already: it {row.status}")
        row.cancel_requested_at = self._work.clock()
        row.cancelled_by = self._work.actor.name
        self._work.record("job.cancel", "job", row.id, before={"status": row.status})
        self._work.emit(CANCEL_TOPIC, {"job_id": row.id})
        return job_of(row)

    @property
    def _repository(self) -> TrainingRepository:
        return TrainingRepository(self._work.session, self._work.team_id)

    def _row(self, job_id: str) -> JobRow:
        row = self._repository.job(job_id)
        if row is None:
            raise NotFoundError.of("job", job_id)
        return row

    def _source(self, experiment_id: str, request: TrainRequest) -> SourceRow:
        if isinstance(request.source, dict):
            return self._sources.add_inline(self._work, request.source)
        if request.source is not None:
            row = self._repository.source(request.source)
            if row is None:
                raise BadInputError.of("source", f"{request.source!r} is not an uploaded source of this team")
            return row
        row = self._repository.last_source_of(experiment_id)
        if row is None:
            raise BadInputError.of(
                "source",
                "is needed: this experiment has no source yet that holds the script",
                hint='upload the folder with POST /sources, or send {"source": {"train.py": "<text>"}}',
            )
        return row

    def _resolved(self, request: TrainRequest) -> dict[str, Any]:
        found = {}
        for name, reference in request.inputs.items():
            one = self._inputs.resolve(self._work, reference)
            found[name] = {
                "reference": one.reference,
                "uri": one.uri,
                "path": str(one.path),
                "digest": one.digest,
            }
        return found

    def _insert(self, **values: Any) -> JobRow:
        QueueRepository(self._work.session).lock()
        waiting = self._repository.count_waiting()
        if waiting >= self._settings.max_queued_per_team:
            raise TooManyError(
                f"{waiting} jobs of team {self._work.actor.team_name!r} are waiting already,"
                f" which is as many as may",
                hint="wait until one has started, or cancel one: mlops jobs list --status queued",
                retry_after=30,
            )
        actor, now = self._work.actor, self._work.clock()
        row = JobRow(
            id=new_id("job"),
            team_id=self._work.team_id,
            status=JobStatus.SUBMITTED.value,
            metrics={},
            created_by=actor.name,
            created_by_id=actor.actor_id,
            created_at=now,
            **values,
        )
        self._work.session.add(row)
        self._work.session.flush()
        self._work.record(
            "job.submit",
            "job",
            row.id,
            after={
                "experiment_id": row.experiment_id,
                "source_id": row.source_id,
                "script": row.request["script"],
                "inputs": {name: item["reference"] for name, item in row.inputs.items()},
                "retry_of": row.retry_of,
            },
        )
        self._work.start_workflow(
            WORKFLOW, row.id, job_id=row.id, team_id=row.team_id, team_name=actor.team_name
        )
        return row


def _submitted(row: JobRow) -> JobSubmitted:
    return JobSubmitted(job_id=row.id, status=JobStatus(row.status), experiment_id=row.experiment_id)


def job_of(row: JobRow) -> Job:
    request = TrainRequest.model_validate(row.request)
    return Job(
        job_id=row.id,
        status=JobStatus(row.status),
        model_id=row.model_id,
        metrics=row.metrics,
        reason=row.reason,
        hint=row.hint,
        code=row.code,
        gate=GateResult.model_validate(row.gate) if row.gate else None,
        experiment_id=row.experiment_id,
        experiment_name=row.experiment_name,
        run_id=row.run_id,
        script=request.script,
        source_id=row.source_id,
        inputs={name: JobInput.model_validate(item) for name, item in row.inputs.items()},
        config=request.config,
        register_as=request.register_as,
        retry_of=row.retry_of,
        created_by=row.created_by,
        created_at=row.created_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancel_requested_at=row.cancel_requested_at,
        exit_code=row.exit_code,
        cpu_seconds=row.cpu_seconds,
        max_memory_bytes=row.max_memory_bytes,
    )
