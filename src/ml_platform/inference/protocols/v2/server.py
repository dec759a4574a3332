"""What both transports say of the server and its models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from ml_platform.inference.dataplane import DataPlane
from ml_platform.inference.errors import Unavailable
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2.inputs import InputReader
from ml_platform.inference.protocols.v2.outputs import OutputWriter
from ml_platform.inference.routing import Route

Tensors = list[tuple[str, str, list[int]]]
_PLATFORMS = {"onnx": "onnx_onnxv1", "pyfunc": "mlflow_pyfunc"}


class ServerDescription(NamedTuple):
    name: str
    version: str
    extensions: list[str]


class ModelDescription(NamedTuple):
    """`inputs` and `outputs`: name, data type and shape of each tensor."""

    name: str
    versions: list[str]
    platform: str
    inputs: Tensors
    outputs: Tensors


@cache
def describe_server() -> ServerDescription:
    return ServerDescription("ml-platform", version("ml-platform"), ["binary_tensor_data"])


def is_ready(plane: DataPlane) -> bool:
    """Whether the server has a desired state to serve."""
    return plane.snapshot_version >= 0


def describe_model(route: Route, revisions: Sequence[LiveRevision]) -> ModelDescription:
    """The model as the last of the revisions has it; raises Unavailable when there are none."""
    if not revisions:
        raise Unavailable(route.unavailable, retry_after=2)
    revision = revisions[-1]
    versions = {live.spec.model_version for live in route.revisions.values() if not live.spec.shadow}
    return ModelDescription(
        route.address[2],
        sorted(versions),
        _PLATFORMS[revision.manifest.runtime],
        revision.once(InputReader).metadata(),
        revision.once(OutputWriter).metadata(),
    )
