"""The model builder as the registry asks for it: `ModelInspector` of the registry slice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.modelbuild.builder import ModelBuilder
from ml_platform.integrations.modelbuild.errors import ModelBuildError
from ml_platform.kit.environments import EnvironmentFailedError
from ml_platform.kit.errors import BadInputError
from ml_platform.services.registry import EvaluatedModel, InspectedModel


class BuilderInspector:
    """Inspects here, evaluates in children with the model's own environment."""

    def __init__(self, builder: ModelBuilder) -> None:
        self._builder = builder

    def inspect(self, directory: Path) -> InspectedModel:
        with _platform_errors():
            info = self._builder.inspect(directory)
        signature = msgspec.to_builtins(info.signature) if info.signature is not None else None
        return InspectedModel(
            info.digest, info.size_bytes, signature, info.signature_problem, dict(info.files)
        )

    def evaluate(self, directory: Path, data: Path, label: str) -> EvaluatedModel:
        with _platform_errors():
            found = self._builder.evaluate(directory, data, label)
        return EvaluatedModel(dict(found.metrics), found.task, found.rows)


@contextmanager
def _platform_errors() -> Iterator[None]:
    try:
        yield
    except ModelBuildError as error:
        raise BadInputError(error.detail, code=ErrorCode.INVALID_INPUT) from error
    except EnvironmentFailedError as error:
        last = error.log.strip().splitlines()[-1:]
        detail = ": ".join([f"the model's environment cannot be made: {error.detail}", *last])
        raise BadInputError(detail[:1000], code=ErrorCode.ENVIRONMENT_FAILED) from error
