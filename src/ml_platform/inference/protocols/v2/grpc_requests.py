"""A `ModelInferRequest` to tensors.

Looking at each field of each input costs more than the rest of the protocol. Raw contents are a message's last
fields, and callers repeat what stands before them: names, data types, shapes. So that part is remembered, and
tensors are made of what it says and of the raw contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from google.protobuf.message import DecodeError

from ml_platform.contracts.bundles import MAX_COLUMNS
from ml_platform.inference.decoding import Decoded
from ml_platform.inference.errors import InvalidInput
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2 import open_inference_pb2 as pb
from ml_platform.inference.protocols.v2.datatypes import BadTensorError, Datatype, shown, texts
from ml_platform.inference.protocols.v2.inputs import InputReader, RawTensor, Tensor
from ml_platform.inference.protocols.v2.layouts import Key, LayoutReader

_PLACE: Final = ".contents"
_MOST_DIMENSIONS: Final = 8  # two are the most that mean anything
_MOST_KEPT: Final = 64
_MOST_BYTES: Final = 16_384
_MOST_ROW_BYTES: Final = 65_536
_ONE_VALUE: Final = frozenset({(1,), (1, 1)})
_SHORT: Final = 0x80  # lengths below take one byte in a message


class Request(Protocol):
    """A request to infer; `outputs` are the names of those that are wanted, none for all."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...
    @property
    def outputs(self) -> Sequence[str]: ...

    def read(self, revision: LiveRevision) -> Decoded:
        """The typed rows; raises InvalidInput and TooLarge."""
        ...


class _Form(NamedTuple):
    """What stands before raw contents; `key` is there when each holds one value."""

    names: tuple[str, ...]
    datatypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...]
    parameters: dict[str, Any]
    key: Key | None


class Requests:
    """Reads requests; remembers the forms of those with raw contents."""

    def __init__(self) -> None:
        self._forms: dict[bytes, _Form] = {}

    def read(self, request: pb.ModelInferRequest, data: bytes) -> Request:
        """`data` are the bytes of the message. Raises InvalidInput."""
        raw = request.raw_input_contents
        if not raw:
            _check_counts(request)
            inputs = [_TypedTensor(message) for message in request.inputs]
            return _Typed(inputs, _outputs(request), _parameters(request))
        contents = list(raw)
        end = 0 if request.id else len(data) - _size(contents)  # what has a name of its own comes once
        form = self._forms.get(data[:end]) if 0 < end <= _MOST_BYTES else None
        if form is None or len(form.names) != len(contents):
            form = _form(request, len(contents))
            if 0 < end <= _MOST_BYTES:
                self._remember(data[:end], form)
        return _Raw(form, contents, len(data))

    def _remember(self, head: bytes, form: _Form) -> None:
        """Only a head that is a message of its own, without raw contents: what follows one is nothing else.

        Then all raw contents stand behind it, and take at least as many bytes as there are.
        """
        try:
            alone = pb.ModelInferRequest.FromString(head)
        except DecodeError:
            return
        if not alone.raw_input_contents and _form(alone, len(alone.inputs)) == form:
            if len(self._forms) >= _MOST_KEPT:
                self._forms.clear()
            self._forms[head] = form


class _Typed(NamedTuple):
    """A request with typed contents."""

    inputs: Sequence[Tensor]
    outputs: Sequence[str]
    parameters: dict[str, Any]

    def read(self, revision: LiveRevision) -> Decoded:
        return revision.once(InputReader).read(self.inputs, self.parameters)


class _Raw:
    """A request with raw contents."""

    __slots__ = ("_contents", "_form", "_size", "outputs")

    def __init__(self, form: _Form, contents: list[bytes], size: int) -> None:
        self._form = form
        self._contents = contents
        self._size = size
        self.outputs: Sequence[str] = form.outputs

    @property
    def inputs(self) -> Sequence[Tensor]:
        form = self._form
        return list(map(RawTensor, form.names, form.datatypes, form.shapes, self._contents))

    def read(self, revision: LiveRevision) -> Decoded:
        """One row is read at once when its layout is known, as REST reads it."""
        parameters = self._form.parameters
        if self._form.key is None or self._size > _MOST_ROW_BYTES:
            return revision.once(InputReader).read(self.inputs, parameters)
        layouts = revision.once(LayoutReader)
        found = layouts.read_row(self._form.key, self._contents, parameters)
        if found is None:
            inputs = self.inputs
            found = revision.once(InputReader).read(inputs, parameters)
            layouts.notice(inputs, self._size, binary=True)
        return found


class _TypedTensor:
    """An input whose values stand in the field of its data type."""

    __slots__ = ("_contents", "datatype", "name", "shape")

    def __init__(self, message: pb.ModelInferRequest.InferInputTensor) -> None:
        self.name = message.name
        self.datatype = message.datatype
        self.shape = message.shape[:_MOST_DIMENSIONS]
        self._contents = message.contents

    def values(self, datatype: Datatype, count: int, *, nullable: bool) -> Sequence[Any]:
        del nullable  # typed contents have no null
        if datatype.contents is None:
            raise BadTensorError(_PLACE, f"{datatype.name} can only be given in raw_input_contents")
        found = getattr(self._contents, datatype.contents)
        if len(found) != count:
            raise BadTensorError(
                _PLACE, f"the shape says {count} values, {datatype.contents} has {len(found)}"
            )
        values = list(found)
        if datatype.kind == "text":
            return texts(values, _PLACE)
        if datatype.kind == "int" and datatype.size < 4:
            for index, value in enumerate(values):
                if not datatype.low <= value <= datatype.high:
                    raise BadTensorError(f"{_PLACE}[{index}]", f"{value} is no {datatype.name}")
        return values


def _size(contents: list[bytes]) -> int:
    """How many bytes raw contents take in a message, if each is written as short as it can be."""
    size = 2 * len(contents)  # a byte for the field, and one for the length
    for data in contents:
        length = len(data)
        size += length
        while length >= _SHORT:
            length >>= 7
            size += 1
    return size


def _form(request: Any, raw: int) -> _Form:
    """Raises InvalidInput unless the inputs fit so many raw contents."""
    _check_counts(request)
    inputs = request.inputs
    if raw != len(inputs):
        raise InvalidInput(f"raw_input_contents: expected one for each of {len(inputs)} inputs, got {raw}")
    for message in inputs:
        if message.HasField("contents"):
            raise InvalidInput(f"inputs.{shown(message.name)}: has contents beside raw_input_contents")
    names = tuple([message.name for message in inputs])
    datatypes = tuple([message.datatype for message in inputs])
    shapes = tuple([tuple(message.shape[:_MOST_DIMENSIONS]) for message in inputs])
    key = tuple(zip(names, datatypes, strict=True)) if _ONE_VALUE.issuperset(shapes) else None
    return _Form(names, datatypes, shapes, _outputs(request), _parameters(request), key)


def _check_counts(request: pb.ModelInferRequest) -> None:
    if not request.inputs:
        raise InvalidInput("inputs: missing")
    if max(len(request.inputs), len(request.outputs)) > MAX_COLUMNS:
        raise InvalidInput(f"inputs, outputs: at most {MAX_COLUMNS} of them")


def _parameters(request: pb.ModelInferRequest) -> dict[str, Any]:
    """By name; None where one has no value, which nothing takes."""
    if not request.parameters:
        return {}
    return {
        name: getattr(value, kind) if (kind := value.WhichOneof("parameter_choice")) else None
        for name, value in request.parameters.items()
    }


def _outputs(request: pb.ModelInferRequest) -> tuple[str, ...]:
    """The names of those that are wanted, each once."""
    for output in request.outputs:
        if "classification" in output.parameters:
            raise InvalidInput(f"outputs.{shown(output.name)}.parameters.classification: is not supported")
    return tuple(dict.fromkeys([output.name for output in request.outputs]))
