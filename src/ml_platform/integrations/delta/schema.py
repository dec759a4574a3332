"""A table's schema as a document: inferred, kept as JSON or YAML, edited, and enforced by Pandera."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

import msgspec
import polars as pl
import yaml

from ml_platform.integrations.delta.errors import SchemaDocumentError

ColumnType = Literal[
    "boolean", "integer", "long", "float", "double", "string", "datetime", "date", "binary", "decimal"
]
Scalar = bool | int | float | str

MAX_ALLOWED_VALUES: Final = 20
MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
MAX_EXAMPLES: Final = 5
_EXAMPLE_LENGTH: Final = 100

_DTYPES: Final[dict[str, pl.DataType]] = {
    "boolean": pl.Boolean(), "integer": pl.Int32(), "long": pl.Int64(), "float": pl.Float32(),
    "double": pl.Float64(), "string": pl.String(), "date": pl.Date(), "binary": pl.Binary(),
}  # fmt: skip
_WIDER: Final[dict[str, tuple[str, ...]]] = {
    "long": ("integer",), "double": ("integer", "long", "float"), "float": ("integer",),
    "datetime": ("date",),
}  # fmt: skip


class ColumnSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column. Times in `minimum` and `maximum` are RFC 3339; checks that are null are not made."""

    name: str
    type: ColumnType
    nullable: bool = False
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    allowed: tuple[Scalar, ...] | None = None


class TableSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns of a table; others are refused unless `extra_columns`."""

    columns: tuple[ColumnSchema, ...]
    extra_columns: bool = False
    format: Literal[1] = 1

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def to_yaml(self) -> str:
        return yaml.safe_dump(msgspec.to_builtins(self), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> TableSchema:
        return _checked(lambda: msgspec.json.decode(text, type=TableSchema), len(text))

    @classmethod
    def from_yaml(cls, text: str | bytes) -> TableSchema:
        return _checked(lambda: msgspec.convert(_safe_yaml(text), type=TableSchema), len(text))


@dataclass(frozen=True, slots=True)
class Violation:
    """Rows that break one check of one column, with a few of the values."""

    column: str
    check: str
    count: int
    examples: tuple[Any, ...] = ()


def infer_schema(frame: pl.DataFrame) -> TableSchema:
    """Types, nullability, the range of numbers and times, and the values of columns that have few of them."""
    return TableSchema(columns=tuple(_infer_column(frame[name]) for name in frame.columns))


def conform(frame: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The frame with columns widened to the schema's types where that loses nothing, in the schema's order.

    A file of whole numbers reads as integers although the column holds doubles; that is no violation.
    """
    casts = []
    for column in schema.columns:
        if column.name not in frame.columns:
            continue
        have = type_of(frame.schema[column.name])
        if have in _WIDER.get(column.type, ()) or frame[column.name].null_count() == frame.height:
            casts.append(pl.col(column.name).cast(_dtype(column)))
    ordered = [c.name for c in schema.columns if c.name in frame.columns]
    rest = [name for name in frame.columns if name not in set(ordered)]
    return frame.with_columns(casts).select([*ordered, *rest])


def validate(frame: pl.DataFrame, schema: TableSchema) -> list[Violation]:
    """What breaks the schema, by column and check; empty when nothing does."""
    from pandera.errors import SchemaErrors

    frame = conform(frame, schema)
    try:
        to_pandera(schema, frame.schema).validate(frame, lazy=True)
    except SchemaErrors as errors:
        return _violations(errors.failure_cases)
    return []


def to_pandera(schema: TableSchema, have: pl.Schema | None = None) -> Any:
    """The schema as a Pandera `DataFrameSchema` (Polars back end).

    `have` gives the exact type of decimals and times, whose precision the document leaves open.
    """
    import pandera.polars as pa

    columns = {}
    for column in schema.columns:
        checks: list[Any] = []
        dtype = _dtype(column)
        if have is not None and column.name in have:
            if type_of(have[column.name]) != column.type:
                columns[column.name] = pa.Column(dtype, nullable=True)  # its values cannot be compared
                continue
            dtype = have[column.name]
        if column.minimum is not None:
            checks.append(pa.Check.ge(_bound(column, column.minimum), name="minimum", error="minimum"))
        if column.maximum is not None:
            checks.append(pa.Check.le(_bound(column, column.maximum), name="maximum", error="maximum"))
        if column.allowed is not None:
            checks.append(pa.Check.isin(list(column.allowed), name="allowed", error="allowed"))
        columns[column.name] = pa.Column(dtype, checks=checks, nullable=column.nullable)
    return pa.DataFrameSchema(columns, strict=not schema.extra_columns)


def type_of(dtype: pl.DataType) -> ColumnType | None:
    """The document's name of a Polars type; None for one that a dataset cannot hold."""
    if isinstance(dtype, pl.Datetime):
        return "datetime"
    if isinstance(dtype, pl.Decimal):
        return "decimal"
    for name, known in _DTYPES.items():
        if dtype == known:
            return name  # type: ignore[return-value]
    return None


def _infer_column(values: pl.Series) -> ColumnSchema:
    kind = type_of(values.dtype)
    if kind is None:
        raise SchemaDocumentError.of(values.name[:100], f"a dataset cannot hold {values.dtype}")
    minimum = maximum = None
    allowed: tuple[Scalar, ...] | None = None
    if kind in {"integer", "long", "float", "double", "datetime", "date"}:
        minimum, maximum = _document(values.min()), _document(values.max())
    elif kind == "string":
        allowed = _few_values(values)
    return ColumnSchema(
        name=values.name,
        type=kind,
        nullable=values.null_count() > 0,
        minimum=minimum,
        maximum=maximum,
        allowed=allowed,
    )


def _few_values(values: pl.Series) -> tuple[str, ...] | None:
    """All values of a column that plainly holds categories: few, short, and each seen several times."""
    few: list[str] = values.drop_nulls().unique().to_list()
    if not 0 < len(few) <= MAX_ALLOWED_VALUES or len(few) * 5 > len(values) or max(map(len, few)) > 200:
        return None
    return tuple(sorted(few))


def _document(value: Any) -> Scalar | None:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float)) else None


def _bound(column: ColumnSchema, value: Scalar) -> Any:
    try:
        if column.type == "datetime":
            parsed = datetime.fromisoformat(str(value))
            return pl.lit(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
        return date.fromisoformat(str(value)) if column.type == "date" else value
    except ValueError as error:
        raise SchemaDocumentError.of(column.name[:100], f"{value!r} is no {column.type}") from error


def _dtype(column: ColumnSchema) -> pl.DataType:
    if column.type == "datetime":
        return pl.Datetime("us", "UTC")
    return pl.Decimal(38, 9) if column.type == "decimal" else _DTYPES[column.type]


def _checked(decode: Callable[[], TableSchema], size: int) -> TableSchema:
    if size > MAX_DOCUMENT_BYTES:
        raise SchemaDocumentError(f"the schema is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        schema = decode()
    except (msgspec.MsgspecError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaDocumentError(f"the schema cannot be read: {str(error)[:300]}") from error
    names = [column.name for column in schema.columns]
    if not names or len(set(names)) != len(names):
        raise SchemaDocumentError("the schema needs columns, each with a name of its own")
    for column in schema.columns:
        _check_checks(column)
    return schema


_ALLOWED_OF: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
}


def _check_checks(column: ColumnSchema) -> None:
    ordered = column.type in {"integer", "long", "float", "double", "decimal"}
    for value in (column.minimum, column.maximum):
        if value is None:
            continue
        if column.type in {"datetime", "date"}:
            _bound(column, value)
        elif not ordered or isinstance(value, (str, bool)) or not math.isfinite(value):
            raise SchemaDocumentError.of(column.name[:100], f"{value!r} is no bound of a {column.type}")
    for value in column.allowed or ():
        if not isinstance(value, _ALLOWED_OF.get(column.type, (int, float, str))):
            raise SchemaDocumentError.of(column.name[:100], f"{value!r} is no {column.type}")


def _safe_yaml(text: str | bytes) -> Any:
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise SchemaDocumentError("aliases are not taken in a schema")  # a few lines of them make gigabytes
    return yaml.safe_load(text)


def _violations(cases: pl.DataFrame) -> list[Violation]:
    """Pandera's list of failures, one row a value, as one entry for each column and check."""
    found: dict[tuple[str, str], list[Any]] = {}
    for case in cases.select("column", "check", "failure_case").iter_rows(named=True):
        check, column, value = _check_name(str(case["check"])), str(case["column"]), case["failure_case"]
        if check in _OF_COLUMNS:
            column, value = str(value), None
        found.setdefault((column, check), []).append(value)
    return [
        Violation(column, check, len(values), _examples(values)) for (column, check), values in found.items()
    ]


_OF_COLUMNS: Final = frozenset({"missing_column", "unknown_column"})
_CHECK_NAMES: Final = {
    "column_in_dataframe": "missing_column",
    "column_in_schema": "unknown_column",
    "not_nullable": "nullable",
}


def _check_name(check: str) -> str:
    return "type" if check.startswith("dtype(") else _CHECK_NAMES.get(check, check)


def _examples(values: Sequence[Any]) -> tuple[str, ...]:
    """A few different values, as texts; a null needs no example."""
    texts = dict.fromkeys(str(value)[:_EXAMPLE_LENGTH] for value in values if value is not None)
    return tuple(text for text in list(texts)[:MAX_EXAMPLES] if text != "None")
