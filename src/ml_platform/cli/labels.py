"""Files of labels, as people have them: JSON, JSON Lines or CSV."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import typer

from ml_platform.cli.context import literal

_PLAIN = ("request_id", "instance", "time", "label")
_ENTITY = "entity."


def read_labels(path: Path, option: str) -> list[dict[str, Any]]:
    """The records of a file; `-` is standard input.

    In CSV the columns are `label` and `request_id` (with `instance`), or `label`, `time` and `entity.<key>`.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint=option) from None
    try:
        if path.suffix.lower() == ".csv":
            return _from_csv(text)
        found = _from_json(text)
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint=option) from None
    records = found.get("records", found) if isinstance(found, dict) else found
    return records if isinstance(records, list) else [records]


def _from_json(text: str) -> Any:
    """One document, or one record a line."""
    try:
        return json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]


def _from_csv(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    names = reader.fieldnames or []
    unknown = [name for name in names if name not in _PLAIN and not name.startswith(_ENTITY)]
    if unknown or "label" not in names:
        what = f"column {unknown[0]!r} is none of them" if unknown else "there is no column 'label'"
        raise ValueError(f"expected the columns {', '.join(_PLAIN)} and {_ENTITY}<key>; {what}")
    return [_record(row) for row in reader]


def _record(row: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {name: row[name] for name in ("request_id", "time") if row.get(name)}
    if row.get("instance"):
        record["instance"] = literal(row["instance"])
    record["label"] = literal(row["label"] or "")
    entity = {name.removeprefix(_ENTITY): v for name, v in row.items() if name and name.startswith(_ENTITY)}
    if any(entity.values()):
        record["entity"] = entity
    return record
