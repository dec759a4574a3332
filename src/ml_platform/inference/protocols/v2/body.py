"""Bodies of V2 over HTTP: JSON, and JSON with raw tensors behind it (the binary tensor extension).

With the header `Inference-Header-Content-Length` the body is so many bytes of JSON, then the raw values of
each input whose parameter `binary_data_size` says how many bytes are its own. Outputs come back in that
form when `binary_data` of an output, or `binary_data_output` of the request, asks for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import msgspec

from ml_platform.contracts.bundles import MAX_COLUMNS
from ml_platform.inference.dataplane import Headers
from ml_platform.inference.decoding import explain
from ml_platform.inference.errors import InvalidInput, WrongMediaType
from ml_platform.inference.protocols.http import encode_json
from ml_platform.inference.protocols.v2.datatypes import BadTensorError, Datatype, shown
from ml_platform.inference.protocols.v2.inputs import RawTensor, Tensor
from ml_platform.inference.protocols.v2.json_values import decode_values
from ml_platform.inference.protocols.v2.outputs import OutputTensor
from ml_platform.inference.protocols.v2.parameters import wants_binary

JSON_LENGTH = b"inference-header-content-length"
BINARY = (b"content-type", b"application/octet-stream")
_MEDIA = frozenset({b"", b"application/json", b"application/octet-stream"})
_NO_DATA = msgspec.Raw()


class _Parameters(msgspec.Struct, gc=False):
    """Those of a tensor that mean something here; a client may send others."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    binary_data: bool | None = None
    classification: int | None = None


class JsonTensor(msgspec.Struct):
    """An input as it stands in the body; its data is decoded once the data type that it must have is known."""

    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters | None = None
    data: msgspec.Raw = _NO_DATA

    def values(self, datatype: Datatype, count: int, *, nullable: bool) -> Sequence[Any]:
        if not self.data:
            raise BadTensorError(".data", "missing")
        values = decode_values(self.data, datatype, self.shape, nullable=nullable)
        if len(values) != count:
            raise BadTensorError(".data", f"the shape says {count} values, got {len(values)}")
        return values


class RequestedOutput(msgspec.Struct):
    name: str
    parameters: _Parameters | None = None


class Form(msgspec.Struct, kw_only=True, gc=False):
    """What a request says beside its inputs."""

    id: str | None = None
    outputs: Annotated[list[RequestedOutput], msgspec.Meta(max_length=MAX_COLUMNS)] | None = None
    parameters: dict[str, Any] | None = None


class _Body(Form):
    inputs: Annotated[list[JsonTensor], msgspec.Meta(min_length=1, max_length=MAX_COLUMNS)]


_NONE: dict[str, bool | None] = {}


class InferRequest:
    """A request to infer, in parts; the values of its inputs are still as they came."""

    __slots__ = ("_binary", "_binary_outputs", "id", "inputs", "outputs", "parameters")

    def __init__(self, body: Form, inputs: Sequence[Tensor] = ()) -> None:
        self.id = body.id
        self.inputs = inputs
        self.outputs: Collection[str] = ()
        self.parameters = body.parameters
        self._binary = wants_binary(body.parameters)
        self._binary_outputs = _NONE
        if body.outputs:
            self._binary_outputs = {output.name: _is_binary(output) for output in body.outputs}
            self.outputs = self._binary_outputs.keys()

    def is_binary(self, output: str) -> bool:
        chosen = self._binary_outputs.get(output)
        return self._binary if chosen is None else chosen


class _Output(msgspec.Struct, gc=False):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | msgspec.UnsetType
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct, gc=False):
    model_name: str
    model_version: str
    outputs: list[_Output]
    id: str | msgspec.UnsetType


_decode = msgspec.json.Decoder(_Body).decode


def check_media(headers: Headers) -> None:
    """Raises WrongMediaType for a body that declares itself as something else, or compressed."""
    given = headers.get(b"content-type", b"")
    media = given if given in _MEDIA else given.split(b";", 1)[0].strip().lower()
    if media not in _MEDIA and not media.endswith(b"+json"):
        raise WrongMediaType(
            "content-type: expected application/json or application/octet-stream, "
            f"got '{media.decode('latin-1')[:100]}'"
        )
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise WrongMediaType("content-encoding: compressed bodies are not accepted")


def decode_request(body: bytes, headers: Headers) -> InferRequest:
    """The request in a body.

    Raises:
        InvalidInput: naming the part that is wrong.
    """
    length = json_length(body, headers)
    if length is None:
        parsed = _parse(body)
        for tensor in parsed.inputs:
            if tensor.parameters is not None and tensor.parameters.binary_data_size is not None:
                raise InvalidInput(
                    f"inputs.{shown(tensor.name)}: binary data needs the header Inference-Header-Content-Length"
                )
        return InferRequest(parsed, parsed.inputs)
    parsed = _parse(memoryview(body)[:length])
    return InferRequest(parsed, _with_raw(parsed.inputs, memoryview(body)[length:]))


def json_length(body: bytes, headers: Headers) -> int | None:
    """How much of a body is JSON, None when no raw tensors stand behind it; raises InvalidInput."""
    length = headers.get(JSON_LENGTH)
    if length is None:
        return None
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        raise InvalidInput("Inference-Header-Content-Length: expected the length of the JSON in the body")
    return int(length)


def encode_answer(
    model: str, version: str, request: InferRequest, outputs: Sequence[OutputTensor]
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON when raw tensors stand behind it."""
    tensors: list[_Output] = []
    raw: list[bytes] = []
    for output in outputs:
        name, datatype, shape = output.name, output.datatype.name, output.shape
        if request.is_binary(name):
            raw.append(output.raw())
            tensors.append(_Output(name, datatype, shape, {"binary_data_size": len(raw[-1])}))
        else:
            tensors.append(_Output(name, datatype, shape, msgspec.UNSET, output.values))
    head = encode_json(_Answer(model, version, tensors, msgspec.UNSET if request.id is None else request.id))
    return (b"".join((head, *raw)), len(head)) if raw else (head, None)


def _parse(body: bytes | memoryview) -> _Body:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(explain(str(error), ())) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None


def _with_raw(inputs: Sequence[JsonTensor], rest: memoryview) -> list[Tensor]:
    tensors: list[Tensor] = []
    position = 0
    for tensor in inputs:
        size = tensor.parameters.binary_data_size if tensor.parameters is not None else None
        if size is None:
            tensors.append(tensor)
            continue
        if tensor.data:
            raise InvalidInput(f"inputs.{shown(tensor.name)}: has data and binary data")
        if position + size > len(rest):
            raise InvalidInput(
                f"inputs.{shown(tensor.name)}.parameters.binary_data_size: {size} bytes are more than are left"
            )
        data = rest[position : position + size]
        tensors.append(RawTensor(tensor.name, tensor.datatype, tensor.shape, data))
        position += size
    if position != len(rest):
        raise InvalidInput(f"the body has {len(rest) - position} bytes that belong to no input")
    return tensors


def _is_binary(output: RequestedOutput) -> bool | None:
    if output.parameters is None:
        return None
    if output.parameters.classification:
        raise InvalidInput(f"outputs.{shown(output.name)}.parameters.classification: is not supported")
    return output.parameters.binary_data
