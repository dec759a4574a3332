"""What both transports do: find the model, choose its revision, and say what the server and its models are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

from ml_platform.contracts.serving import PREDICT
from ml_platform.inference.dataplane import Call, DataPlane, Headers
from ml_platform.inference.errors import Unavailable
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2.inputs import InputReader, Tensor, first_value
from ml_platform.inference.protocols.v2.outputs import OutputWriter
from ml_platform.inference.routing import Key, Route

Tensors = list[tuple[str, str, list[int]]]
_PLATFORMS = {"onnx": "onnx_onnxv1", "pyfunc": "mlflow_pyfunc"}


class HasInputs(Protocol):
    """As much of a request as it takes to choose the revision that answers it."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...


class Model(NamedTuple):
    """A model that the caller may use, and the version that it wants, if any."""

    key: Key
    route: Route
    version: str | None


def find_model(
    plane: DataPlane, headers: Headers, address: tuple[str | None, str, str], version: str | None
) -> Model:
    """The model of a team (None for the key's own), an environment and a name; raises ServingError."""
    key = plane.authorise(headers.get(b"authorization"), PREDICT)
    return Model(key, plane.route(key, *address), version)


def choose(plane: DataPlane, headers: Headers, model: Model, request: HasInputs, call: Call) -> LiveRevision:
    """The revision of the version that is wanted, or as the traffic split has it; raises ServingError."""
    if model.version is not None:
        return plane.version(model.route, model.version)
    return plane.choose(model.key, model.route, headers, request, _entity_in, call)


class ServerDescription(NamedTuple):
    name: str
    version: str
    extensions: list[str]


class ModelDescription(NamedTuple):
    """`inputs` and `outputs`: name, data type and shape of each tensor; `parameters`: the model's, if it has some."""

    name: str
    versions: list[str]
    platform: str
    inputs: Tensors
    outputs: Tensors
    parameters: dict[str, dict[str, Any]] | None


def describe_server(plane: DataPlane, headers: Headers) -> ServerDescription:
    """For whoever may predict; raises ServingError for others."""
    plane.authorise(headers.get(b"authorization"), PREDICT)
    return _description()


@cache
def _description() -> ServerDescription:
    return ServerDescription("ml-platform", version("ml-platform"), ["binary_tensor_data"])


def is_ready(plane: DataPlane) -> bool:
    """Whether the server has a desired state to serve."""
    return plane.snapshot_version >= 0


def revisions_of(plane: DataPlane, model: Model) -> Sequence[LiveRevision]:
    """Those that answer now, or the one of the version; raises NotFound when that is not loaded."""
    return model.route.arms if model.version is None else (plane.version(model.route, model.version),)


def describe_model(plane: DataPlane, model: Model) -> ModelDescription:
    """The model as the last of its revisions has it; raises ServingError when there are none."""
    route, revisions = model.route, revisions_of(plane, model)
    if not revisions:
        raise Unavailable(route.unavailable, retry_after=2)
    revision = revisions[-1]
    params = revision.decoder.params
    versions = {live.spec.model_version for live in route.revisions.values() if not live.spec.shadow}
    return ModelDescription(
        route.address[2],
        sorted(versions),
        _PLATFORMS[revision.manifest.runtime],
        revision.once(InputReader).metadata(),
        revision.once(OutputWriter).metadata(),
        None if params is None else params.described(),
    )


def _entity_in(request: HasInputs, entity: str) -> str | None:
    return first_value(request.inputs, entity)
