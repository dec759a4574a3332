"""Experiments: where jobs are sent and what came of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_platform.contracts.experiments import Experiment as ExperimentData
from ml_platform.contracts.experiments import Run
from ml_platform.contracts.jobs import JobSubmitted, Source
from ml_platform.contracts.models import ModelVersion
from ml_platform.sdk.deployments import Deployment, Deployments
from ml_platform.sdk.errors import ConflictError, InvalidInputError, NotFoundError
from ml_platform.sdk.jobs import Job, Jobs
from ml_platform.sdk.models import Model
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.sources import pack
from ml_platform.sdk.transport import Transport, at


class Experiment(PlatformObject[ExperimentData]):
    """A named place for runs."""

    _shown = ("experiment_id", "name", "description", "created_at")

    @property
    def experiment_id(self) -> str:
        return self._data.experiment_id

    @property
    def name(self) -> str:
        return self._data.name

    def train(
        self,
        script: str = "train.py",
        requirements: str | None = None,
        instance_type: str | None = None,
        num_gpus: int = 0,
        config: Mapping[str, Any] | None = None,
        *,
        source: str | Path | None = None,
        inputs: Mapping[str, str] | None = None,
        args: list[str] | None = None,
        register_as: str | Mapping[str, Any] | None = None,
        timeout_seconds: int | None = None,
        memory_bytes: int | None = None,
    ) -> Job:
        """Uploads a source folder, starts a job with it, and returns at once.

        Args:
            script: the Python file to run. With `source` it is relative to that folder; without, its own
                folder is uploaded.
            requirements: a requirements file in the folder; default: `requirements.txt` when there is one.
            instance_type: a machine size of the installation.
            num_gpus: how many GPUs the job needs.
            config: the script finds it as JSON in the file that `MLOPS_CONFIG` names.
            source: the folder to upload.
            inputs: `{name: "dataset:<name>@<version>" or "training_set:<id>"}`; the script finds
                `<name>.parquet` in the folder that `MLOPS_INPUTS` names.
            args: arguments of the script.
            register_as: a model's name, or `{name, label, gate: {metric, threshold}, feature_view}`; the
                model that the script logs is registered when it passes the gate.
            timeout_seconds: when to end it.
            memory_bytes: the most that its processes may use together.

        Raises:
            InvalidInputError: the script is not there, or something that it asks for cannot be given.
        """
        folder, name = locate_script(script, source, requirements)
        body: dict[str, Any] = {
            "script": name,
            "source": self._upload(folder).source_id,
            "config": dict(config or {}),
            "inputs": dict(inputs or {}),
            "args": list(args or []),
            "instance_type": instance_type,
            "num_gpus": num_gpus,
            "timeout_seconds": timeout_seconds,
            "memory_bytes": memory_bytes,
            "register_as": {"name": register_as} if isinstance(register_as, str) else register_as,
        }
        if requirements is not None:
            body["requirements"] = requirements
        return self.submit(body)

    def submit(self, body: Mapping[str, Any]) -> Job:
        """Starts a job from a request body as the REST API takes it."""
        path = at("experiments", self.experiment_id, "train")
        submitted = self._transport.post(path, JobSubmitted, dict(body))
        return Jobs(self._transport).get(submitted.job_id)

    def _upload(self, folder: Path) -> Source:
        answer = self._transport.request(
            "POST",
            "/sources",
            content=pack(folder),
            headers={"content-type": "application/gzip"},
            timeout=300,
        )
        return Source.model_validate(answer.json())

    def jobs(self, *, limit: int | None = None) -> list[Job]:
        """The experiment's jobs, newest first."""
        return Jobs(self._transport).list(experiment=self.experiment_id, limit=limit)

    def runs(self, *, limit: int | None = 100, sort_by: str | None = None, order: str = "desc") -> list[Run]:
        """The experiment's MLflow runs, newest first, or by a metric."""
        path = at("experiments", self.experiment_id, "runs")
        params = {"sort_by": sort_by, "order": order if sort_by else None}
        return list(self._transport.pages(path, Run, params, limit))

    def get_models(self, *, limit: int | None = None) -> list[Model]:
        """The versions that the experiment registered, newest first."""
        path = at("experiments", self.experiment_id, "models")
        return [Model(self._transport, v) for v in self._transport.pages(path, ModelVersion, limit=limit)]

    @property
    def best_model(self) -> Model:
        """The registered version with the best value of its gate's metric, else the newest.

        Raises:
            NotFoundError: no job of the experiment has registered a model yet.
        """
        found = self.get_models()
        if not found:
            raise self._no_model()
        judged = [model for model in found if model.quality is not None]
        return max(judged, key=lambda model: model.quality or 0.0) if judged else found[0]

    def deploy_latest(
        self,
        environment: str = "staging",
        replicas: int = 1,
        auto_scale: bool = False,
        max_replicas: int | None = None,
        **options: Any,
    ) -> Deployment:
        """Deploys the newest version that the experiment registered.

        Raises:
            NotFoundError: there is none yet.
        """
        found = self.get_models(limit=1)
        if not found:
            raise self._no_model()
        return Deployments(self._transport).deploy(
            found[0].model_id,
            environment=environment,
            replicas=replicas,
            auto_scale=auto_scale,
            max_replicas=max_replicas,
            **options,
        )

    def _no_model(self) -> NotFoundError:
        return NotFoundError(
            f"experiment {self.name!r} has no registered model yet",
            hint="a job registers its model when it has `register_as` and passes its gate",
        )


class Experiments:
    """`platform.experiments`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, description: str | None = None) -> Experiment:
        body = {"name": name, "description": description}
        return Experiment(self._transport, self._transport.post("/experiments", ExperimentData, body))

    def get(self, id_or_name: str) -> Experiment:
        return Experiment(self._transport, self._transport.get(at("experiments", id_or_name), ExperimentData))

    def get_or_create(self, name: str, description: str | None = None) -> tuple[Experiment, bool]:
        """The experiment, and whether it was made just now."""
        try:
            return self.get(name), False
        except NotFoundError:
            pass
        try:
            return self.create(name, description), True
        except ConflictError:  # somebody made it in between
            return self.get(name), False

    def list(self, *, limit: int | None = 100) -> list[Experiment]:
        found = self._transport.pages("/experiments", ExperimentData, limit=limit)
        return [Experiment(self._transport, item) for item in found]


def locate_script(
    script: str, source: str | Path | None, requirements: str | None = None
) -> tuple[Path, str]:
    """The folder to upload, and the script's path inside it.

    Raises:
        InvalidInputError: the script or its requirements are not there.
    """
    path = Path(script).expanduser()
    folder = Path(source).expanduser() if source is not None else path.parent
    inside = path if source is not None else Path(path.name)
    if inside.is_absolute() and inside.is_relative_to(folder.absolute()):
        inside = inside.relative_to(folder.absolute())
    if not (folder / inside).is_file():
        raise InvalidInputError(
            f"{folder / inside} is not there",
            hint="`script` is a file, relative to `source` when that is given",
        )
    if requirements is not None and not (folder / requirements).is_file():
        raise InvalidInputError(f"{folder / requirements} is not there")
    return folder, inside.as_posix()
