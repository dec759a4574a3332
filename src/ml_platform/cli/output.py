"""How results reach the terminal: data on stdout, everything else on stderr.

What draws tables is imported when a table is drawn: help and errors need none of it.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def plain(value: Any) -> Any:
    """A result as values that strict JSON can hold."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(value: Any, form: Format, columns: Sequence[str] | None = None) -> None:
    """Writes a result: an object as name and value, a list as one row an item."""
    data = plain(value)
    if form is Format.JSON:
        sys.stdout.write(json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    elif form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    elif isinstance(data, list):
        _rows(data, columns)
    elif isinstance(data, dict):
        _fields(data, columns)
    else:
        sys.stdout.write(f"{data}\n")


def show_parts(value: Any, form: Format, columns: Sequence[str], parts: Mapping[str, Sequence[str]]) -> None:
    """Writes an object; as a table, the lists that it holds follow as tables of their own."""
    if form is not Format.TABLE:
        show(value, form)
        return
    data = plain(value)
    _fields(data, columns)
    for name, part_columns in parts.items():
        if data.get(name):
            sys.stdout.write(f"\n{name.replace('_', ' ')}\n")
            _rows(data[name], part_columns)


def draw(picture: Any) -> None:
    """Writes something that Rich draws."""
    _stdout().print(picture)


def say(text: str) -> None:
    """A remark for the person who waits; never data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _rows(items: list[Any], columns: Sequence[str] | None) -> None:
    from rich.table import Table

    if not items:
        say("nothing there yet")
        return
    if not isinstance(items[0], dict):
        sys.stdout.writelines(f"{_cell(item)}\n" for item in items)
        return
    names = list(columns or items[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for item in items:
        table.add_row(*[_cell(item.get(name)) for name in names])
    _stdout().print(table)


def _fields(item: dict[str, Any], columns: Sequence[str] | None) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in columns or item:
        table.add_row(name, _cell(item.get(name)))
    _stdout().print(table)


def _stdout() -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict) and value and all(_is_plain(item) for item in value.values()):
        return ", ".join(f"{name}={_cell(item)}" for name, item in value.items())
    if isinstance(value, dict | list):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def _is_plain(value: Any) -> bool:
    """Whether it reads well inside one cell."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, str | int | float)
