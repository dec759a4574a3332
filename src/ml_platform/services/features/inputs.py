"""What a training job can read: versions of datasets, and training sets."""

import hashlib
from pathlib import Path

from ml_platform.kit.errors import BadInputError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Work
from ml_platform.services.datasets import DatasetStore
from ml_platform.services.datasets.service import parse_reference
from ml_platform.services.features.interfaces import FeatureEngine
from ml_platform.services.features.service import FeatureService
from ml_platform.services.training import ResolvedInput


class TableInputs:
    """Implements `InputSource`: `dataset:<name>[@<version>]` and `training_set:<id>`.

    A reference without a version means the newest one; the answer says which that was.
    """

    def __init__(self, engine: FeatureEngine, datasets: DatasetStore, storage: ObjectStorage) -> None:
        self._engine = engine
        self._datasets = datasets
        self._storage = storage

    def resolve(self, work: Work, reference: str) -> ResolvedInput:
        kind, _, name = reference.partition(":")
        service = FeatureService(work, self._engine, self._datasets, self._storage)
        if kind == "training_set":
            found, path = service.training_set_file(name)
            return ResolvedInput(reference=reference, uri=path.as_uri(), path=path, digest=found.digest)
        if kind == "dataset":
            dataset, version = parse_reference(name)
            number, path = service.dataset_file(dataset, version)
            return ResolvedInput(
                reference=f"dataset:{dataset}@{number}", uri=path.as_uri(), path=path, digest=_sha256(path)
            )
        raise BadInputError.of(
            "inputs", f"{reference[:100]!r} is neither 'dataset:<name>@<version>' nor 'training_set:<id>'"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
