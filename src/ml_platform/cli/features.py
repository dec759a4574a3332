"""`mlops features`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ml_platform.cli.context import Group, Limit, Output, Yes, confirm, document, pairs, platform, show
from ml_platform.cli.output import Format, show_parts

features = Group("Feature views and training sets")

View = Annotated[str, typer.Argument(metavar="VIEW", help="Name of a feature view")]
_COLUMNS = [
    "name",
    "dataset",
    "dataset_version",
    "materialized_at",
    "online_entities",
    "created_by",
    "created_at",
]
_TRAINING_SET = ["training_set_id", "entities", "rows", "label", "digest", "created_by", "created_at"]


@features.command("create")
def create(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="YAML or JSON: name, dataset, entities, timestamp_field, features, ...; - is stdin",
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Instead of the file's own: name or name@version")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Define a feature view."""
    definition = document(file, "FILE")
    over = dataset or definition.pop("dataset", None)
    if over is None:
        raise typer.BadParameter("the file names no dataset: give one with --dataset", param_hint="FILE")
    show(platform().features.create(str(over), definition), output)


@features.command("list")
def list_views(output: Output = Format.TABLE) -> None:
    """List feature views."""
    show(platform().features.list(), output, _COLUMNS)


@features.command("show")
def show_view(view: View, output: Output = Format.TABLE) -> None:
    """Show a feature view and its features."""
    columns = [*_COLUMNS, "timestamp_field", "ttl_seconds", "description"]
    columns_shown = ["name", "type", "personal_data"]
    parts = {"entities": columns_shown, "features": columns_shown}
    show_parts(platform().features.get(view), output, columns, parts)


@features.command("delete")
def delete(view: View, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Delete a feature view and its online values."""
    confirm(f"Delete the feature view {view}?", yes=yes)
    show(platform().features.delete(view), output, _COLUMNS)


@features.command("materialize")
def materialize(
    view: View,
    dataset_version: Annotated[
        int | None, typer.Option(min=1, help="Move the view to this version first")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Longest wait")] = 600,
    output: Output = Format.TABLE,
) -> None:
    """Write the newest values online, and wait for it."""
    found = platform().features.get(view).materialize(dataset_version=dataset_version, timeout=timeout)
    show(found, output, _COLUMNS)


@features.command("push")
def push(
    view: View,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV, Parquet or JSON Lines: every entity, feature and the time"),
    ],
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or jsonl [by the file's ending]")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Write rows online at once; a later materialisation writes over them."""
    show(platform().features.push(view, file, format=file_format), output)


@features.command("online")
def online(
    view: View,
    keys: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="ENTITY=VALUE", help="Repeatable; an entity again is the next"),
    ],
    names: Annotated[
        list[str] | None, typer.Option("--feature", "-f", help="Only these features; repeatable")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the newest online values of some entities."""
    found = platform().features.get(view)
    numbers = {entity.name for entity in found.data.entities if entity.type.startswith("INT")}
    values = found.online(*_entities(keys, numbers), features=names)
    count = max((len(column) for column in values.values()), default=0)
    rows = [{name: column[i] for name, column in values.items()} for i in range(count)]
    show(rows if output is Format.TABLE else values, output)


@features.command("training-set")
def training_set(
    entities: Annotated[str, typer.Argument(help="Dataset with keys, times and label: name or name@version")],
    names: Annotated[list[str], typer.Option("--feature", "-f", metavar="VIEW[:FEATURE]", help="Repeatable")],
    label: Annotated[str | None, typer.Option(help="The label's column in the entities")] = None,
    timestamp_field: Annotated[str, typer.Option(help="Column with the times")] = "event_timestamp",
    output: Output = Format.TABLE,
) -> None:
    """Join features to entities as they were known at each entity's time."""
    made = platform().features.training_set(entities, names, label=label, timestamp_field=timestamp_field)
    show(made, output, [*_TRAINING_SET, "features", "columns"])


@features.command("training-sets")
def training_sets(limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List training sets, newest first."""
    show(platform().features.training_sets(limit=limit), output, _TRAINING_SET)


def _entities(given: list[str], numbers: set[str]) -> list[dict[str, Any]]:
    """`a=1 a=2` are two entities, `a=1 b=2` is one with two keys."""
    found: list[dict[str, Any]] = [{}]
    for item in given:
        ((name, text),) = pairs([item], "--key").items()
        if name in found[-1]:
            found.append({})
        try:
            found[-1][name] = int(text) if name in numbers else text
        except ValueError:
            raise typer.BadParameter(f"{name} is a whole number, not {text!r}", param_hint="--key") from None
    return found
