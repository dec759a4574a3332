"""Small requests read at once, by decoders compiled for the layouts that callers use.

A layout is the names and data types of a request's tensors, in their order. Callers repeat theirs, so a decoder
that knows one checks everything about a request in one step. The layout that the model's metadata shows is
compiled at the first request, others once they have come some times.

What is read here is certainly right. A request of another layout, or one with anything wrong in it, is left to
`inputs`, to read it or to refuse it in its words.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import compress
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec

from ml_platform.inference.decoding import UNSET, Decoded, InputColumn, Row, annotation
from ml_platform.inference.live import LiveRevision
from ml_platform.inference.protocols.v2.body import Form
from ml_platform.inference.protocols.v2.datatypes import DATATYPE_OF, DATATYPES, Datatype
from ml_platform.inference.protocols.v2.inputs import KINDS_OF, Tensor
from ml_platform.inference.protocols.v2.parameters import params_of

_MOST_BYTES = 64 * 1024  # long columns are better decoded each by itself
_MOST_COLUMNS = 256  # compiling takes about 0.1 ms for each, in which nothing else is answered
_MOST_LAYOUTS = 4
_MOST_COUNTED = 64
_MOST_HEAD_BYTES = 4096
_MOST_RAW_BYTES = 2**30  # of one input; `struct` does not take just any number
_MOST_FORMATS = 256
_OFTEN = 16
_INT64 = DATATYPES["INT64"]
_ID = re.compile(rb'\{"id": ?"([ !#-\[\]-~]{0,256})"')  # at the very beginning, and with nothing to unescape
_MAY_NAME_ID = re.compile(rb'\\|"id"\s*:')
_KIND: dict[str, Any] = {"bool": bool, "int": int, "float": float, "text": str}
_DUMMIES: dict[str, Any] = {"string": "", "boolean": False, "datetime": datetime(2000, 1, 1)}  # noqa: DTZ001

Key = tuple[tuple[str, str], ...]
"""The names and data types of tensors, in their order."""


class _NoSize(msgspec.Struct, gc=False):
    binary_data_size: None = None


class _Size(msgspec.Struct, gc=False):
    binary_data_size: Annotated[int, msgspec.Meta(ge=0, le=_MOST_RAW_BYTES)]


class LayoutReader:
    """Reads the small requests of one revision, in JSON and raw: `revision.once(LayoutReader)`."""

    def __init__(self, revision: LiveRevision) -> None:
        self._decoder = revision.decoder
        self._in_json = _Layouts(revision, binary=False)
        self._raw = _Layouts(revision, binary=True)
        self._heads: dict[bytes, tuple[Form, _Layout, _RowFormat]] = {}

    def read(self, body: bytes, length: int | None) -> tuple[Form, Decoded] | None:
        """A request and its typed rows, or None when it is not for here.

        `length` is that of the JSON, when raw tensors stand behind it.

        Raises:
            InvalidInput: a column has to be looked up, and an entity key is missing; or a parameter is wrong.
        """
        if (len(body) if length is None else length) > _MOST_BYTES:
            return None
        try:
            found = self._read_json(body) if length is None else self._read_raw(body[:length], body[length:])
        except ValueError:  # msgspec's are, too
            return None
        if found is None or len(found[1]) > self._decoder.max_rows:
            return None
        params = params_of(found[0].parameters, self._decoder.params)
        return found[0], self._decoder.complete(found[1], "inputs", params)

    def read_row(
        self, key: Key, contents: Sequence[bytes], parameters: Mapping[str, Any] | None = None
    ) -> Decoded | None:
        """The typed row of raw tensors of one value each, or None when it is not for here.

        Raises:
            InvalidInput: a column has to be looked up, and an entity key is missing; or a parameter is wrong.
        """
        layout = self._raw.known(key)
        if layout is None:
            return None
        try:
            row = layout.unpacked(layout.sized(tuple(map(len, contents))), b"".join(contents))
        except ValueError:
            return None
        return self._decoder.complete([row], "inputs", params_of(parameters, self._decoder.params))

    def notice(self, inputs: Sequence[Tensor], size: int, *, binary: bool) -> None:
        """That a request was right but not read here; `size` is that of its body."""
        if size <= _MOST_BYTES and len(inputs) <= _MOST_COLUMNS:
            key = tuple([(tensor.name, tensor.datatype) for tensor in inputs])
            (self._raw if binary else self._in_json).count(key)

    def _read_json(self, body: bytes) -> tuple[Form, list[Row]] | None:
        found = self._in_json.find(body)
        return (found[0], found[1].rows(found[0].inputs)) if found is not None else None

    def _read_raw(self, head: bytes, raw: bytes) -> tuple[Form, list[Row]] | None:
        """Requests of the same sizes have the same JSON but for the id: then it is not even decoded."""
        given = _ID.match(head)
        name, rest = (given[1].decode(), head[given.end() :]) if given is not None else (None, head)
        known = self._heads.get(rest)
        if known is None:
            found = self._raw.find(head)
            if found is None:
                return None
            request, layout = found
            known = request, layout, layout.format(request.inputs)
            if request.id == name and len(rest) <= _MOST_HEAD_BYTES and not _MAY_NAME_ID.search(rest):
                if len(self._heads) >= _MOST_FORMATS:
                    self._heads.clear()
                kept = Form(outputs=request.outputs, parameters=request.parameters)
                self._heads[rest] = kept, layout, known[2]
        elif name is not None:
            form = known[0]
            known = Form(id=name, outputs=form.outputs, parameters=form.parameters), known[1], known[2]
        return known[0], [known[1].unpacked(known[2], raw)]


class _Layouts:
    """The compiled layouts of one form, the one used last first, and how often others have come."""

    def __init__(self, revision: LiveRevision, *, binary: bool) -> None:
        decoder = revision.decoder
        self._binary = binary
        self._declared = decoder.columns
        self._columns = (*decoder.columns, *decoder.entity_columns)
        fields = [decoder.field("value", column) for column in self._columns]
        self._defaults = [tuple(field[2:]) for field in fields]
        types = [(f"c{index}", annotation(column)) for index, column in enumerate(self._columns)]
        self._row = msgspec.defstruct("Row", types, array_like=True, gc=False)
        self._compiled: list[_Layout] = []
        self._counts: dict[Key, int] = {}
        self._is_new = 0 < len(decoder.columns) <= _MOST_COLUMNS

    def find(self, head: bytes) -> tuple[Any, _Layout] | None:
        """The decoded request and its layout, if that is known."""
        self._compile_declared()
        for index, layout in enumerate(self._compiled):
            try:
                request = layout.decode(head)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # another layout, or it is wrong
            if index:
                self._compiled.insert(0, self._compiled.pop(index))
            return request, layout
        return None

    def known(self, key: Key) -> _Layout | None:
        """The layout of just these tensors, if it is compiled."""
        self._compile_declared()
        for layout in self._compiled:
            if layout.key == key:
                return layout
        return None

    def count(self, key: Key) -> None:
        """Compiles a layout once it has come often enough."""
        if len(self._counts) >= _MOST_COUNTED:
            self._counts.clear()
        self._counts[key] = count = self._counts.get(key, 0) + 1
        if count == _OFTEN and all(layout.key != key for layout in self._compiled):
            self._compile(key)

    def _compile_declared(self) -> None:
        if self._is_new:
            self._is_new = False
            self._compile(tuple([(column.name, DATATYPE_OF[column.type].name) for column in self._declared]))

    def _compile(self, key: Key) -> None:
        """Does nothing for a layout of which it is not certain what it means."""
        positions = {column.name: index for index, column in enumerate(self._columns)}
        order = [-1] * len(self._columns)
        tensors: list[tuple[InputColumn, Datatype]] = []
        for index, (name, given) in enumerate(key):
            position, datatype = positions.get(name, -1), DATATYPES.get(given)
            if position < 0 or order[position] >= 0 or datatype is None:
                return
            if datatype.kind not in KINDS_OF[self._columns[position].type]:
                return
            order[position] = index
            tensors.append((self._columns[position], datatype))
        if any(at < 0 and not default for at, default in zip(order, self._defaults, strict=True)):
            return
        filling = [
            None if at >= 0 or default[0] is None else _DUMMIES.get(column.type, 0)
            for column, at, default in zip(self._columns, order, self._defaults, strict=True)
        ]
        unset = [at < 0 and default[0] is UNSET for at, default in zip(order, self._defaults, strict=True)]
        self._compiled.insert(0, _Layout(key, tensors, order, filling, unset, self._row, binary=self._binary))
        del self._compiled[_MOST_LAYOUTS:]


class _Layout:
    """Reads the requests of one layout; its methods raise ValueError when something is not certainly right.

    Args:
        tensors: the column and the data type of each.
        order: the tensor of each column, -1 where there is none.
        filling: what stands for such columns meanwhile.
        unset: whether a column is to be looked up instead.
        row: the columns' own types.
    """

    def __init__(
        self,
        key: Key,
        tensors: Sequence[tuple[InputColumn, Datatype]],
        order: Sequence[int],
        filling: Sequence[Any],
        unset: Sequence[bool],
        row: type[msgspec.Struct],
        *,
        binary: bool,
    ) -> None:
        self.key = key
        self.decode = _decoder(tensors, binary=binary)
        self._datatypes = [datatype for _, datatype in tensors]
        self._order, self._filling, self._row = order, filling, row
        self._unset = unset if any(unset) else ()
        self._floats = [datatype.kind == "float" for datatype in self._datatypes]
        self._booleans = [i for i, datatype in enumerate(self._datatypes) if datatype.kind == "bool"]
        self._formats: dict[tuple[int, ...], _RowFormat] = {}
        natural = all(datatype is DATATYPE_OF[column.type] for column, datatype in tensors)
        self._in_order = list(order) == list(range(len(tensors)))
        self._is_plain = natural and self._in_order

    def rows(self, inputs: Sequence[Any]) -> list[Row]:
        """The rows of tensors in JSON."""
        count = len(inputs[0].data)
        _check_shapes(inputs, count)
        if count == 1:
            rows: list[Row] = [tuple([value for tensor in inputs for (value,) in (tensor.data,)])]
        else:
            rows = list(zip(*[tensor.data for tensor in inputs], strict=True))
        return rows if self._is_plain else [self._row_of(row) for row in rows]

    def format(self, inputs: Sequence[Any]) -> _RowFormat:
        """How the one row of raw tensors is unpacked."""
        _check_shapes(inputs, 1)
        return self.sized(tuple([tensor.parameters.binary_data_size for tensor in inputs]))

    def sized(self, sizes: tuple[int, ...]) -> _RowFormat:
        """The same for raw tensors of these sizes."""
        found = self._formats.get(sizes)
        if found is None:
            if len(self._formats) >= _MOST_FORMATS:
                self._formats.clear()
            found = self._formats[sizes] = _RowFormat(self._datatypes, sizes)
        return found

    def unpacked(self, form: _RowFormat, raw: bytes) -> Row:
        """The row of raw tensors."""
        values = form.unpack(raw)
        if not isfinite(sum(compress(values, self._floats))):
            raise ValueError
        for position in self._booleans:
            if values[position] > 1:
                raise ValueError
            values[position] = values[position] == 1
        return self._row_of(values)

    def _row_of(self, values: Sequence[Any]) -> Row:
        """The values of one row in the order, the ranges and the types of the columns."""
        if not self._in_order:
            given = zip(self._order, self._filling, strict=True)
            values = [values[index] if index >= 0 else filling for index, filling in given]
        row: Row = msgspec.structs.astuple(msgspec.convert(values, self._row))
        if self._unset:
            return tuple([UNSET if unset else v for unset, v in zip(self._unset, row, strict=True)])
        return row


class _RowFormat:
    """How one row of raw tensors of certain sizes is unpacked; each text has its length before it."""

    __slots__ = ("_lengths", "_prefixes", "_values")

    def __init__(self, datatypes: Sequence[Datatype], sizes: Sequence[int]) -> None:
        values, prefixes, lengths = ["<"], ["<"], []
        for datatype, size in zip(datatypes, sizes, strict=True):
            if size < 4 if datatype.kind == "text" else size != datatype.size:
                raise ValueError
            if datatype.kind == "text":
                values.append(f"4x{size - 4}s")
                prefixes.append(f"I{size - 4}x")
                lengths.append(size - 4)
            else:
                values.append("B" if datatype.kind == "bool" else datatype.code)
                prefixes.append(f"{size}x")
        self._values = struct.Struct("".join(values))
        self._prefixes = struct.Struct("".join(prefixes))
        self._lengths = tuple(lengths)

    def unpack(self, raw: bytes) -> list[Any]:
        if len(raw) != self._values.size or self._prefixes.unpack(raw) != self._lengths:
            raise ValueError
        values = self._values.unpack(raw)
        return [value.decode() if type(value) is bytes else value for value in values]


def _check_shapes(inputs: Sequence[Any], count: int) -> None:
    """Raises ValueError unless each is [count] or [count, 1]."""
    shapes = [tensor.shape for tensor in inputs]
    if not count or shapes.count([count, 1]) + shapes.count([count]) != len(shapes):
        raise ValueError


def _decoder(tensors: Sequence[tuple[InputColumn, Datatype]], *, binary: bool) -> Callable[[bytes], Any]:
    """Decodes a request of just these tensors; inputs have a `shape`, and `data` or `parameters`."""
    inputs = []
    for column, datatype in tensors:
        fields: list[Any] = [
            ("name", Literal.__getitem__(column.name)),
            ("datatype", Literal.__getitem__(datatype.name)),
            ("shape", list[int]),
        ]
        if binary:
            fields += [("parameters", _Size), ("data", msgspec.UnsetType, UNSET)]
        else:
            fields += [
                ("data", list.__class_getitem__(_annotation(column, datatype))),
                ("parameters", _NoSize | None, None),
            ]
        inputs.append(msgspec.defstruct("Input", fields, gc=False))
    together: Any = tuple.__class_getitem__(tuple(inputs))
    form = msgspec.defstruct("Request", [("inputs", together)], bases=(Form,), kw_only=True, gc=False)
    return msgspec.json.Decoder(form).decode


def _annotation(column: InputColumn, datatype: Datatype) -> Any:
    """What a tensor's data type takes for a column in JSON; no more than what it means."""
    if datatype is DATATYPE_OF[column.type]:
        return annotation(column)
    kind = _KIND[datatype.kind]
    if datatype.low is not None and datatype.high is not None:
        high = min(datatype.high, _INT64.high) if datatype.kind == "int" and _INT64.high else datatype.high
        kind = Annotated[kind, msgspec.Meta(ge=datatype.low, le=high)]
    return kind | None if column.nullable else kind
