"""Reads what somebody uploaded as a table, trusting nothing about it.

A file is looked at before it is parsed (size, text encoding, header, shape of every row; for Parquet the
footer), so that what is wrong is said in the file's own terms and a small file cannot become a huge table.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.contracts.problems import FieldProblem
from ml_platform.integrations.delta.errors import UnreadableUploadError
from ml_platform.integrations.delta.profile import profile
from ml_platform.integrations.delta.schema import TableSchema, infer_schema, type_of

UploadFormat = Literal["csv", "parquet", "jsonl"]
NULL_TEXTS: Final = ("", "NA", "NULL", "null")
_NAMED: Final = 5
_JSON_CHECKED_LINES: Final = 10_000


@dataclass(frozen=True, slots=True)
class UploadLimits:
    max_bytes: int = 512 * 1024 * 1024
    max_decoded_bytes: int = 2 * 1024 * 1024 * 1024
    max_rows: int = 50_000_000
    max_columns: int = 2_000
    max_name_length: int = 200
    max_field_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadProblem:
    """What is wrong: a stable code, a text that says where, and the column if one is to blame."""

    code: str
    message: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an upload holds. With `problems` there is no table, and the rest is empty."""

    problems: tuple[UploadProblem, ...] = ()
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    schema: TableSchema | None = None
    profile: dict[str, Any] | None = None

    def require(self) -> pl.DataFrame:
        """The table; raises `UnreadableUploadError` when there is none."""
        if self.problems:
            raise UnreadableUploadError(
                self.problems[0].message,
                fields=[FieldProblem(field=p.column or "file", message=p.message) for p in self.problems],
                extra={"problems": [p.code for p in self.problems]},
            )
        return self.frame


class _Refused(Exception):  # noqa: N818 - carries problems out of the parsing, never leaves this module
    def __init__(self, code: str, message: str, column: str | None = None) -> None:
        self.problems = (UploadProblem(code, message, column),)
        super().__init__(message)


def inspect_upload(path: Path, kind: UploadFormat, limits: UploadLimits = UploadLimits()) -> Inspection:
    """Reads the file, infers its schema and profiles it; never raises for what the file holds."""
    try:
        _check_size(path, limits)
        frame = {"csv": _read_csv, "parquet": _read_parquet, "jsonl": _read_json_lines}[kind](path, limits)
        frame = _storable(frame, limits)
    except _Refused as refused:
        return Inspection(problems=refused.problems)
    return Inspection(frame=frame, schema=infer_schema(frame), profile=profile(frame))


def _check_size(path: Path, limits: UploadLimits) -> None:
    size = path.stat().st_size
    if size == 0:
        raise _Refused("empty", "the file is empty")
    if size > limits.max_bytes:
        raise _Refused("too_large", f"the file has {size} bytes, at most {limits.max_bytes} are taken")


def _looks_like_parquet(path: Path) -> bool:
    """By its first and last bytes: a CSV's header alone could begin like that."""
    mark = b"PAR1"
    with path.open("rb") as file:
        if file.read(len(mark)) != mark:
            return False
        file.seek(-len(mark), 2)
        return file.read() == mark


def _read_csv(path: Path, limits: UploadLimits) -> pl.DataFrame:
    if _looks_like_parquet(path):
        raise _Refused("wrong_format", "this is a Parquet file, not CSV: say format=parquet")
    header, rows = _check_csv_rows(path, limits)
    if rows == 0:
        raise _Refused("no_rows", "the file holds a header and no rows")
    options: dict[str, Any] = {
        "null_values": list(NULL_TEXTS),
        "try_parse_dates": True,
        "new_columns": header,
    }
    try:
        return pl.read_csv(path, infer_schema_length=10_000, **options)
    except pl.exceptions.PolarsError:  # a later row has another type than the first ones
        pass
    try:
        return pl.read_csv(path, infer_schema_length=None, **options)
    except pl.exceptions.PolarsError as error:
        raise _Refused("unreadable", f"the file is no CSV table: {_first_line(error)}") from error


def _check_csv_rows(path: Path, limits: UploadLimits) -> tuple[list[str], int]:
    previous = csv.field_size_limit(limits.max_field_bytes)
    try:
        reader = csv.reader(_text_lines(path, limits), strict=True)
        header = next(reader, [])
        if not any(name.strip() for name in header):
            raise _Refused("empty", "the file holds no header")
        header = _check_names(header, limits)
        width, rows = len(header), 0
        ragged: list[str] = []
        for row in reader:
            if not row:
                continue
            rows += 1
            if rows > limits.max_rows:
                raise _Refused("too_many_rows", f"more than {limits.max_rows} rows")
            if len(row) != width and len(ragged) < _NAMED:
                ragged.append(f"line {reader.line_num} has {len(row)}")
        if ragged:
            raise _Refused("ragged_rows", f"the header names {width} columns, but {', '.join(ragged)}")
    except csv.Error as error:
        raise _Refused("unreadable", f"line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(previous)
    return header, rows


def _text_lines(path: Path, limits: UploadLimits) -> Iterator[str]:
    """Lines of UTF-8 text, each bounded; what is not text says at which byte."""
    longest = limits.max_field_bytes * 4
    seen = 0
    with path.open("rb") as file:
        while raw := file.readline(longest + 1):
            if len(raw) > longest:
                raise _Refused("line_too_long", f"a line at byte {seen} is longer than {longest} bytes")
            body = raw.removeprefix(codecs.BOM_UTF8) if seen == 0 else raw
            if b"\x00" in body:
                raise _Refused("wrong_encoding", f"byte {seen + body.index(0)} is null: no UTF-8 text")
            try:
                yield body.decode()
            except UnicodeDecodeError as error:
                raise _Refused(
                    "wrong_encoding", f"byte {seen + error.start} is not UTF-8: save the file as UTF-8"
                ) from error
            seen += len(raw)


def _check_names(names: Sequence[str], limits: UploadLimits) -> list[str]:
    if len(names) > limits.max_columns:
        raise _Refused("too_many_columns", f"{len(names)} columns, at most {limits.max_columns} are taken")
    cleaned = [name.strip() for name in names]
    for index, name in enumerate(cleaned):
        if not name:
            raise _Refused("unnamed_column", f"column {index + 1} has no name")
        if len(name) > limits.max_name_length or not name.isprintable():
            raise _Refused("bad_column_name", f"column {index + 1} has a name too long or not printable")
    folded = [name.casefold() for name in cleaned]  # many engines do not tell upper from lower case
    doubled = sorted({name for name in cleaned if folded.count(name.casefold()) > 1})
    if doubled:
        raise _Refused("doubled_columns", f"columns stand twice: {', '.join(doubled[:_NAMED])}", doubled[0])
    return cleaned


def _read_parquet(path: Path, limits: UploadLimits) -> pl.DataFrame:
    try:
        footer = pq.ParquetFile(path).metadata
    except (pa.ArrowException, OSError) as error:
        raise _Refused("unreadable", f"the file is no Parquet table: {_first_line(error)}") from error
    if footer.num_rows > limits.max_rows:
        raise _Refused("too_many_rows", f"{footer.num_rows} rows, at most {limits.max_rows} are taken")
    _check_names(footer.schema.to_arrow_schema().names, limits)
    decoded = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
    if decoded > limits.max_decoded_bytes:
        raise _Refused("too_large", f"unpacked, the file has {decoded} bytes")
    if footer.num_rows == 0:
        raise _Refused("no_rows", "the file holds columns and no rows")
    if footer.num_rows * footer.num_columns * 8 > limits.max_decoded_bytes * 2:
        raise _Refused("too_large", f"{footer.num_rows} rows of {footer.num_columns} columns are too much")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _Refused("unreadable", f"the file cannot be read: {_first_line(error)}") from error


def _read_json_lines(path: Path, limits: UploadLimits) -> pl.DataFrame:
    rows = 0
    for number, line in enumerate(_text_lines(path, limits), start=1):
        if not line.strip():
            continue
        rows += 1
        if rows > limits.max_rows:
            raise _Refused("too_many_rows", f"more than {limits.max_rows} rows")
        if rows <= _JSON_CHECKED_LINES:
            _check_json_row(line, number, limits)
    if rows == 0:
        raise _Refused("empty", "the file holds no rows")
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise _Refused("unreadable", f"the file is no table of JSON lines: {_first_line(error)}") from error


def _check_json_row(line: str, number: int, limits: UploadLimits) -> None:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        _check_names(names, limits)
        return dict(pairs)

    try:
        row = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _Refused("unreadable", f"line {number} is not JSON: {_first_line(error)}") from error
    if not isinstance(row, dict):
        raise _Refused("unreadable", f"line {number} is not an object")
    nested = [name for name, value in row.items() if isinstance(value, (dict, list))]
    if nested:
        raise _Refused(
            "nested_values", f"line {number} holds an object or a list in {nested[0]!r}", nested[0]
        )


def _storable(frame: pl.DataFrame, limits: UploadLimits) -> pl.DataFrame:
    """The table in types that Delta has; refuses what it has none for, and tables that unpacked too large."""
    _check_names(frame.columns, limits)
    casts, texts = [], []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype in {pl.Int8, pl.Int16, pl.UInt8, pl.UInt16}:
            casts.append(column.cast(pl.Int32))
        elif dtype == pl.UInt32:
            casts.append(column.cast(pl.Int64))
        elif isinstance(dtype, (pl.Null, pl.Categorical, pl.Enum)):
            casts.append(column.cast(pl.String))
        elif isinstance(dtype, pl.Datetime):
            zoned = (
                column.dt.convert_time_zone("UTC") if dtype.time_zone else column.dt.replace_time_zone("UTC")
            )
            casts.append(zoned.dt.cast_time_unit("us"))
        elif type_of(dtype) is None:
            raise _Refused("unsupported_type", f"the column {name!r} holds {dtype}: a dataset cannot", name)
        if dtype == pl.String:
            texts.append(column.str.len_bytes().sum().cast(pl.UInt64))
        elif dtype == pl.Binary:
            texts.append(column.bin.size().sum().cast(pl.UInt64))
    # Repeated texts of a dictionary take no room until they are written out.
    unpacked = sum(frame.select(texts).row(0)) if texts else 0
    if unpacked > limits.max_decoded_bytes:
        raise _Refused("too_large", f"unpacked, the texts of the file have {unpacked} bytes")
    return frame.with_columns(casts)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
