"""The `parameters` of a request: those that the protocol knows, and the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from ml_platform.inference.decoding import ParamReader
from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.params import refuse
from ml_platform.inference.protocols.v2.datatypes import shown

BINARY_OUTPUT = "binary_data_output"
PROTOCOLS = frozenset(
    {BINARY_OUTPUT, "sequence_id", "sequence_start", "sequence_end", "priority", "timeout"}
    | {"triton_enable_empty_final_response", "content_type", "headers"}
)
"""What clients of Triton and MLServer send of themselves: no model's own, unless it declares one of that name."""

_WHERE = "parameters"


def wants_binary(parameters: Mapping[str, Any] | None) -> bool:
    """Whether raw outputs are asked for; raises InvalidInput when that is not said as it must be."""
    wanted = parameters.get(BINARY_OUTPUT) if parameters else None
    if wanted is not None and not isinstance(wanted, bool):
        raise InvalidInput(f"{_WHERE}.{BINARY_OUTPUT}: expected bool | null, got {type(wanted).__name__}")
    return bool(wanted)


def params_of(parameters: Mapping[str, Any] | None, params: ParamReader | None) -> str | None:
    """The model's params as JSON, None when it declares none; raises InvalidInput and TooLarge."""
    if params is None:
        if parameters:
            refuse({name: value for name, value in parameters.items() if name not in PROTOCOLS}, _WHERE)
        return None
    known = params.described()
    given = {}
    for name, value in (parameters or {}).items():
        if name in known:
            given[name] = _list(name, value) if known[name]["shape"] else value
        elif name not in PROTOCOLS:
            given[name] = value
        if isinstance(value, float) and not isfinite(value):  # which gRPC can say, and JSON cannot
            raise InvalidInput(f"{_WHERE}.{shown(name)}: expected a finite number, got {value}")
    return params.read(given, _WHERE)


def _list(name: str, value: Any) -> Any:
    """A list, which gRPC's parameters cannot hold, may come as its JSON."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"{_WHERE}.{shown(name)}: expected an array as JSON ({error})") from None
