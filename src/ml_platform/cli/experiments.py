"""`mlops experiments`."""

from typing import Annotated

import typer

from ml_platform.cli.context import Group, Limit, Output, platform, show
from ml_platform.cli.output import Format, plain

experiments = Group("Experiments and their runs")

Experiment = Annotated[str, typer.Argument(help="Name or id of an experiment")]
_COLUMNS = ["experiment_id", "name", "description", "created_at"]


@experiments.command("create")
def create(
    name: str,
    description: Annotated[str | None, typer.Option(help="What it is for")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an experiment."""
    show(platform().create_experiment(name, description), output)


@experiments.command("list")
def list_experiments(limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List experiments, newest first."""
    show(platform().experiments.list(limit=limit), output, _COLUMNS)


@experiments.command("show")
def show_experiment(experiment: Experiment, output: Output = Format.TABLE) -> None:
    """Show an experiment."""
    show(platform().get_experiment(experiment), output)


@experiments.command("runs")
def runs(
    experiment: Experiment,
    sort_by: Annotated[str | None, typer.Option(help="A metric; default: newest first")] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest metric first")] = False,
    limit: Limit = 50,
    output: Output = Format.TABLE,
) -> None:
    """List the runs of an experiment with their metrics."""
    found = platform().get_experiment(experiment)
    rows = found.runs(limit=limit, sort_by=sort_by, order="asc" if ascending else "desc")
    show(rows, output, ["run_id", "name", "status", "user", "job_id", "started_at", "metrics"])


@experiments.command("models")
def models(experiment: Experiment, limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List the model versions that came out of an experiment, newest first."""
    found = platform().get_experiment(experiment).get_models(limit=limit)
    show([plain(item) for item in found], output, ["model_id", "aliases", "metrics", "job_id", "created_at"])
