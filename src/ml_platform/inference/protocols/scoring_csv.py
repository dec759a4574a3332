"""CSV as `pandas.DataFrame.to_csv` writes it and `read_csv` reads it, by the signature's types.

The same texts stand for a missing value as in pandas, quoted or not. A missing value is null where the column
may be, and an error elsewhere.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime

from ml_platform.inference.decoding import InputColumn
from ml_platform.inference.errors import InvalidInput

Cell = bool | int | float | str | datetime | None

_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_RANGES = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_FLOAT32_MAX = 3.4028234663852886e38
_EXACT = 2**53


def read_table(body: bytes) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header, and the lines below it with their numbers; empty lines are passed over, as in pandas.

    Raises:
        InvalidInput: it is no UTF-8, or no CSV (the latter while the lines are read, too).
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"csv: not UTF-8 at byte {error.start}") from None
    lines = _lines(text)
    _, header = next(lines, (0, []))
    if not header:
        raise InvalidInput("csv: the first line must name the columns")
    return header, lines


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for line in reader:
            if line and (len(line) > 1 or line[0].strip()):
                yield reader.line_num, line
    except csv.Error as error:
        raise InvalidInput(f"csv line {reader.line_num}: {error}") from None


def cell_reader(column: InputColumn) -> Callable[[str], Cell]:
    """A function from a cell's text to the column's value; it raises ValueError with the column's name."""
    name = column.name
    if column.type in _RANGES:
        parse = _integers(*_RANGES[column.type])
    elif column.type in {"float", "double"}:
        parse = _floats(_FLOAT32_MAX if column.type == "float" or column.narrow else math.inf)
    else:
        parse = _OTHERS[column.type]

    def read(text: str) -> Cell:
        if text in _MISSING:
            if column.nullable:
                return None
            raise ValueError(f"{name}: a value is missing ('{text}' stands for none)")
        try:
            return parse(text)
        except ValueError:
            raise ValueError(f"{name}: expected {column.type}, got '{text[:50]}'") from None

    return read


def _integers(low: int, high: int) -> Callable[[str], Cell]:
    def parse(text: str) -> int:
        text = text.strip()
        if _INTEGER.match(text):
            value = int(text)
        else:  # a column of integers that once held a missing value is written 1.0
            number = _number(text)
            value = int(number)
            if value != number or abs(value) > _EXACT:
                raise ValueError
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


def _floats(largest: float) -> Callable[[str], Cell]:
    def parse(text: str) -> float:
        value = _number(text.strip())
        if abs(value) > largest:
            raise ValueError
        return value

    return parse


def _number(text: str) -> float:
    if not _NUMBER.match(text):
        raise ValueError
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError from None


_OTHERS: dict[str, Callable[[str], Cell]] = {
    "boolean": _boolean,
    "datetime": datetime.fromisoformat,
    "string": str,
}
