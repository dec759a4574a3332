"""How results reach the terminal: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


errors = Console(stderr=True, highlight=False, soft_wrap=True)


def plain(value: Any) -> Any:
    """A result as JSON-able values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def show(value: Any, form: Format, columns: Sequence[str] | None = None) -> None:
    """Writes a result: an object as name and value, a list as one row an item."""
    data = plain(value)
    if form is Format.JSON:
        sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
    elif form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    elif isinstance(data, list):
        _rows(data, columns)
    elif isinstance(data, dict):
        _fields(data, columns)
    else:
        sys.stdout.write(f"{data}\n")


def say(text: str) -> None:
    """A remark for the person who waits; never data."""
    errors.print(text, markup=False)


def _rows(items: list[Any], columns: Sequence[str] | None) -> None:
    if not items:
        say("nothing there yet")
        return
    names = list(columns or items[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*[_cell(item.get(name)) for name in names])
    _stdout().print(table)


def _fields(item: dict[str, Any], columns: Sequence[str] | None) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name in columns or item:
        table.add_row(name.replace("_", " "), _cell(item.get(name)))
    _stdout().print(table)


def _stdout() -> Console:
    width = None if sys.stdout.isatty() else 200
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict | list):
        return json.dumps(value, allow_nan=False)
    return str(value)
