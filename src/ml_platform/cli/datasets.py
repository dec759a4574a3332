"""`mlops datasets`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ml_platform.cli.context import Group, Output, document, platform, show
from ml_platform.cli.output import Format, say, show_parts

datasets = Group("Versioned, validated tables")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset")]
Reference = Annotated[
    str, typer.Argument(metavar="DATASET", help="name (its newest version) or name@version")
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet or JSON Lines")]
FileFormat = Annotated[
    str | None, typer.Option("--format", help="csv, parquet or jsonl [by the file's ending]")
]
_FINDING = [
    "column",
    "kind",
    "group",
    "status",
    "found_by",
    "share",
    "confidence",
    "counts",
    "detail",
    "reason",
]
_VERSION = ["dataset", "version", "rows", "columns", "digest", "created_by", "created_at"]


@datasets.command("create")
def create(
    name: Name,
    description: Annotated[str | None, typer.Option(help="What it holds")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an empty dataset."""
    show(platform().data.create(name, description), output)


@datasets.command("upload")
def upload(
    name: Name,
    file: File,
    file_format: FileFormat = None,
    must_exist: Annotated[
        bool, typer.Option("--must-exist", help="Fail when there is no such dataset, instead of making it")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a file the next version of a dataset; one that breaks the schema is refused whole."""
    made = platform().data.upload(name, file, format=file_format, create=not must_exist)
    show(made, output, _VERSION)


@datasets.command("list")
def list_datasets(output: Output = Format.TABLE) -> None:
    """List datasets."""
    show(
        platform().data.list(), output, ["name", "latest_version", "description", "created_by", "created_at"]
    )


@datasets.command("show")
def show_dataset(dataset: Reference, output: Output = Format.TABLE) -> None:
    """Show a version with its schema, its profile and what it holds of personal data."""
    found = platform().data.load(dataset)
    show_parts(found, output, [*_VERSION, "schema"], {"personal_data": _FINDING})


@datasets.command("personal-data")
def personal_data(dataset: Reference, output: Output = Format.TABLE) -> None:
    """Show which columns hold personal data, how sure that is, and what people say of it."""
    report = platform().data.personal_data(dataset)
    show_parts(report, output, ["dataset", "version", "sampled_rows", "complete"], {"findings": _FINDING})


@datasets.command("mark")
def mark(
    dataset: Reference,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Of that version")],
    kind: Annotated[str, typer.Option(help="email, phone, national_id, person_name, ...")],
    verdict: Annotated[str, typer.Option(help="wrong, personal, or as_found to take back what was said")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Kept in the audit log")],
    output: Output = Format.TABLE,
) -> None:
    """Say that a finding of personal data is wrong, or that a column holds some."""
    report = platform().data.mark_personal_data(dataset, column, kind, verdict, reason)
    show_parts(report, output, ["dataset", "version"], {"findings": _FINDING})


@datasets.command("versions")
def versions(name: Name, output: Output = Format.TABLE) -> None:
    """List the versions of a dataset, newest first."""
    show(platform().data.versions(name), output, _VERSION)


@datasets.command("head")
def head(
    dataset: Reference,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=1000)] = 10,
    columns: Annotated[list[str] | None, typer.Option("--column", "-c", help="Repeatable [all]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the first rows."""
    show(platform().data.load(dataset).head(rows, columns), output)


@datasets.command("validate")
def validate(
    dataset: Reference,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="What to check [the version itself]")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="YAML or JSON with another schema")] = None,
    file_format: FileFormat = None,
    output: Output = Format.TABLE,
) -> None:
    """Check a file against a dataset's schema and keep nothing; exit code 1 when it does not fit."""
    rules = document(schema, "--schema") if schema is not None else None
    report = platform().data.validate(dataset, rules, file=file, format=file_format)
    show_parts(report, output, ["valid", "rows"], {"violations": ["column", "check", "count", "examples"]})
    if not report.valid:
        say(f"{len(report.violations)} checks failed")
        raise typer.Exit(1)


@datasets.command("schema")
def schema(name: Name, output: Output = Format.YAML) -> None:
    """Show the schema that the next version must keep, ready to be edited."""
    show(platform().data.schema(name), output)


@datasets.command("set-schema")
def set_schema(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; - is standard input")],
    output: Output = Format.YAML,
) -> None:
    """Replace the schema that the next version must keep."""
    show(platform().data.set_schema(name, document(file, "FILE")), output)


@datasets.command("download")
def download(
    dataset: Reference,
    to: Annotated[
        Path | None, typer.Option("--to", help="Parquet file to write [NAME-vVERSION.parquet]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file when it is there")] = False,
) -> None:
    """Write a version to a Parquet file, and the file's path to stdout."""
    found = platform().data.load(dataset)
    target = (to or Path(f"{found.name}-v{found.version}.parquet")).expanduser()
    if target.exists() and not overwrite:
        raise typer.BadParameter(
            f"{target} is there already: say --overwrite to replace it", param_hint="--to"
        )
    sys.stdout.write(f"{found.download(target)}\n")
