"""Request bodies to typed rows: one decoder for each revision, compiled once from its signature.

A body is `{"instances": [...]}`; an instance is a row in the signature's order, an object by column name,
or, for a model that declares features, an object that holds the entity keys and leaves out the columns
that are looked up. Beside them stands `{"parameters": {...}}`, where the model declares some. A field that is given
twice counts with its last value, as JSON readers do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec

from ml_platform.contracts.bundles import ColumnType, FeatureRequest
from ml_platform.inference.errors import InvalidInput, TooLarge

Row = tuple[Any, ...]
UNSET = msgspec.UNSET

_INT_RANGE = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_FLOAT32_MAX = 3.4028234663852886e38
_SHOWN = 8
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_INDEXED = re.compile(r"^(?P<row>.*\[\d+\])\[(?P<column>\d+)\]$", re.DOTALL)
_ROW = re.compile(r"\[\d+\]$")
_FIELD = re.compile(r"^Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column as the decoder must enforce it; `narrow` floats must fit 32 bits."""

    name: str
    type: ColumnType
    nullable: bool = False
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """Typed rows in the signature's order; a value that must be looked up is UNSET.

    `keys` holds the entity keys of each row, when the model declares features and a row gave them all. `params`
    are the model's parameters as JSON, its defaults included, when it declares any.
    """

    rows: Sequence[Row]
    keys: Sequence[dict[str, Any] | None] | None = None
    params: str | None = None


class ParamReader(Protocol):
    """Checks what a caller says in `parameters` (`params.Params`)."""

    def read(self, given: Mapping[str, Any] | None, where: str) -> str: ...
    def described(self) -> dict[str, dict[str, Any]]: ...


class InputDecoder:
    """Decodes and checks `{"instances": [...]}`."""

    def __init__(
        self,
        columns: Sequence[InputColumn],
        features: FeatureRequest | None,
        max_rows: int,
        params: ParamReader | None = None,
    ) -> None:
        self.columns = tuple(columns)
        self.max_rows = max_rows
        self.params = params
        self._looked_up = frozenset(features.columns) if features else frozenset[str]()
        names = {column.name for column in columns}
        # An entity key may also be a column of the model; it is then read once, as the column.
        self._entities = tuple(e for e in features.entities if e.name not in names) if features else ()
        self._key_names = tuple(e.name for e in features.entities) if features else ()
        fields, renames = [], {}
        for index, column in enumerate((*self.columns, *self.entity_columns)):
            renames[f"c{index}"] = column.name
            fields.append(self.field(f"c{index}", column))
        self._row = msgspec.defstruct(
            "Instance", fields, rename=renames, forbid_unknown_fields=True, kw_only=True, gc=False
        )
        plain: Any = tuple.__class_getitem__(tuple(annotation(column) for column in self.columns))
        instance: Any = self._row | plain
        instances = Annotated[list[instance], msgspec.Meta(min_length=1)]
        parts: list[Any] = [("instances", instances)]
        if params is not None:
            parts.append(("parameters", dict[str, Any] | None, None))
        body = msgspec.defstruct("Body", parts, forbid_unknown_fields=True)
        self._decode = msgspec.json.Decoder(body).decode

    def decode(self, body: bytes | bytearray) -> Decoded:
        """The typed rows.

        Raises:
            InvalidInput: naming the field and what was expected.
            TooLarge: when there are more instances than allowed.
        """
        try:
            parsed: Any = self._decode(body)
        except msgspec.ValidationError as error:
            raise InvalidInput(explain(str(error), [column.name for column in self.columns])) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"the body is not valid JSON: {error}") from None
        instances = parsed.instances
        if len(instances) > self.max_rows:
            raise TooLarge(f"instances: at most {self.max_rows} in one request, got {len(instances)}")
        kind, as_tuple = self._row, msgspec.structs.astuple
        rows = [as_tuple(row) if type(row) is kind else row for row in instances]
        params = self.params.read(parsed.parameters, "parameters") if self.params is not None else None
        return self.complete(rows, "instances", params)

    def complete(self, given: list[Row], where: str, params: str | None = None) -> Decoded:
        """The typed rows out of values for `columns` and then `entity_columns`, UNSET where there are none.

        For protocols with bodies of their own form. A row may end after `columns`; `where` names the rows in
        an error. `params` are those that `self.params` has read, if the model declares any.

        Raises:
            InvalidInput: a column has to be looked up, and an entity key is missing.
        """
        return self._with_keys(given, where, params) if self._key_names else Decoded(given, None, params)

    @property
    def entity_columns(self) -> tuple[InputColumn, ...]:
        """The entity keys that are no columns of the model."""
        return tuple(InputColumn(entity.name, entity.type) for entity in self._entities)

    def field(self, name: str, column: InputColumn) -> tuple[str, Any] | tuple[str, Any, Any]:
        """A field of a struct that holds one row, as `msgspec.defstruct` takes it."""
        kind = annotation(column)
        optional_key = any(entity.name == column.name for entity in self._entities)
        if column.name in self._looked_up or optional_key:
            return name, kind | msgspec.UnsetType, UNSET
        return (name, kind, None) if column.nullable else (name, kind)

    def _with_keys(self, given: list[Row], where: str, params: str | None) -> Decoded:
        width = len(self.columns)
        positions = {c.name: i for i, c in enumerate((*self.columns, *self.entity_columns))}
        rows: list[Row] = []
        keys: list[dict[str, Any] | None] = []
        for index, values in enumerate(given):
            key = {n: values[positions[n]] if positions[n] < len(values) else UNSET for n in self._key_names}
            absent = [name for name, value in key.items() if value is UNSET or value is None]
            row = values[:width]
            if absent and UNSET in row:
                raise InvalidInput(
                    f"{where}[{index}].{absent[0]}: missing; give this entity key, or every column"
                )
            rows.append(row)
            keys.append(None if absent else key)
        return Decoded(rows, keys, params)


def explain(message: str, columns: Sequence[str], root: str = "") -> str:
    """Msgspec's message with the field first, a row's position written as its column's name.

    `columns` are those of a row that came as an array; `root` is where the decoded text stood in the body.
    """
    found = _WHERE.match(message)
    if found is None:
        return message
    what, path = found["what"], found["path"] or ""
    path = root + path if path.startswith("[") or not path or not root else f"{root}.{path}"
    position = _INDEXED.match(path)
    if position and int(position["column"]) < len(columns):
        path = f"{position['row']}.{columns[int(position['column'])]}"
    field = _FIELD.match(what)
    if field:
        unknown = field["how"] == "contains unknown"
        what = "missing" if not unknown else _unknown(columns if _ROW.search(path) else ())
        path = f"{path}.{field['name']}" if path else field["name"]
    elif what.startswith("Expected `array` of length") and _ROW.search(path):
        what = f"{what.replace('`', '')}: one value for each column"
    return f"{path or 'body'}: {what[:1].lower()}{what[1:]}".replace("`", "")


def _unknown(columns: Sequence[str]) -> str:
    if not columns:
        return "unknown field"
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return f"unknown field; the model has {', '.join(columns[:_SHOWN])}{more}"


def annotation(column: InputColumn, *, bounded: bool = True) -> Any:
    """The type of a column's values, for msgspec; without its range unless it is `bounded`."""
    kind: Any
    if column.type in _INT_RANGE:
        low, high = _INT_RANGE[column.type]
        kind = Annotated[int, msgspec.Meta(ge=low, le=high)] if bounded else int
    elif bounded and (column.type == "float" or (column.type == "double" and column.narrow)):
        kind = Annotated[float, msgspec.Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]
    else:
        kind = {"boolean": bool, "float": float, "double": float, "string": str, "datetime": datetime}[
            column.type
        ]
    return kind | None if column.nullable else kind
