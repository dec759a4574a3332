"""What a server under comparison is: how it is started, asked and understood."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import payloads
from environments import Environment
from model import Model
from payloads import Form

Command = Callable[[Path, int, int], list]
"""From the server's home and two free ports, the second for gRPC, to the command."""


@dataclass(frozen=True)
class Grpc:
    """`ModelInfer` beside HTTP.

    `parameters` are hints for the request and for columns of a type; `typed` contents instead of raw ones.
    """

    parameters: dict = field(default_factory=dict)
    typed: bool = False


@dataclass(frozen=True)
class Contestant:
    """A server as it stands in the report.

    Attributes:
        kind: a floor is a bare program without routing, validation or log.
        engine: what computes the prediction, by the name under which the engines are timed.
        forms: the protocols in which it is asked, by their titles; the first is compared in the main table.
    """

    name: str
    title: str
    kind: Literal["peer", "floor", "ours"]
    engine: str | None
    environment: str | None
    command: Callable[[Environment | None, Model], Command]
    forms: Callable[[Model], dict[str, Form]]
    variables: Callable[[Model], dict[str, str]] = lambda _: {}
    grpc: Grpc | None = None


def v2_forms(model: Model) -> dict[str, Form]:
    columns, path = model.manifest(model.bundle).signature.inputs, "/v2/models/churn/infer"
    return {"V2 JSON": payloads.v2_json(path, columns), "V2 binary": payloads.v2_binary(path, columns)}
