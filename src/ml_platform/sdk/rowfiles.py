"""Rows of people's files and tables, as columns of JSON values, without a library for tables.

CSV has nothing but text: the declared types say what a text is. What is not one of its type stays text, so
that the platform refuses it by column and row.
"""

import csv
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_platform.contracts.datasets import UploadFormat
from ml_platform.sdk.data import format_of
from ml_platform.sdk.errors import InvalidInputError

Columns = dict[str, list[Any]]


def columns_of(rows: Any, types: Mapping[str, str], form: str | None = None) -> Columns:
    """A file, a table (pandas, Polars), columns by name, or rows, as columns.

    Raises:
        InvalidInputError: the file cannot be read, or the rows are none.
    """
    if isinstance(rows, str | Path):
        return _of_file(Path(rows).expanduser(), types, form)
    if isinstance(rows, Mapping):
        return {str(name): _values(values) for name, values in rows.items()}
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        return {str(name): _values(rows[name]) for name in rows.columns}
    return _of_rows(rows)


def _of_file(path: Path, types: Mapping[str, str], form: str | None) -> Columns:
    kind = format_of(path, form)
    try:
        if kind is UploadFormat.PARQUET:
            # The caller's own library: the SDK does not depend on it.
            return columns_of(importlib.import_module("pandas").read_parquet(path), types)
        text = path.read_text(encoding="utf-8-sig")
        return _of_csv(text, types) if kind is UploadFormat.CSV else _of_jsonl(text)
    except ImportError as error:
        raise InvalidInputError(
            f"{path.name} cannot be read: {error}",
            hint="install pandas and pyarrow, or give CSV or JSON Lines",
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInputError(f"{path.name} cannot be read: {error}") from None


def _of_csv(text: str, types: Mapping[str, str]) -> Columns:
    lines = csv.reader(text.splitlines(keepends=True), strict=True)
    names = next(lines, [])
    if not names or len(set(names)) != len(names):
        raise ValueError("the first line must name every column once")
    takes = [_FROM_TEXT.get(types.get(name, "STRING"), str) for name in names]
    rows = []
    for number, line in enumerate(lines):
        if not line:
            continue
        if len(line) != len(names):
            raise ValueError(f"row {number} has {len(line)} values, there are {len(names)} columns")
        rows.append([_taken(take, item) for take, item in zip(takes, line, strict=True)])
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _of_jsonl(text: str) -> Columns:
    return _of_rows(json.loads(line) for line in text.splitlines() if line.strip())


def _of_rows(rows: Iterable[Any]) -> Columns:
    """What a row lacks is null."""
    kept = list(rows)
    if not all(isinstance(row, Mapping) for row in kept):
        raise InvalidInputError("every row must be a mapping of columns to values")
    names = dict.fromkeys(str(name) for row in kept for name in row)
    return {name: [row.get(name) for row in kept] for name in names}


def _values(column: Any) -> list[Any]:
    """Plain values; what tables mark as missing is null."""
    if hasattr(column, "to_list"):
        return [None if item != item else item for item in column.to_list()]  # noqa: PLR0124 - NaN and NaT
    return list(column)


def _taken(take: Callable[[str], Any], text: str) -> Any:
    if text == "":
        return None
    try:
        return take(text)
    except ValueError:
        return text


def _number(text: str) -> float | str:
    number = float(text)
    return number if abs(number) < float("inf") else text


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "BOOL": lambda text: {"true": True, "false": False}.get(text.lower(), text),
    "DOUBLE": _number,
    "FLOAT": _number,
    "INT32": int,
    "INT64": int,
    **dict.fromkeys(
        ("BOOL_LIST", "DOUBLE_LIST", "FLOAT_LIST", "INT32_LIST", "INT64_LIST", "STRING_LIST"), json.loads
    ),
}
