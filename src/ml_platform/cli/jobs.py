"""`mlops jobs`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.context import (
    Group,
    Limit,
    Output,
    Timeout,
    Yes,
    confirm,
    document,
    literal,
    pairs,
    platform,
    show,
)
from ml_platform.cli.output import Format, say

if TYPE_CHECKING:
    from ml_platform.sdk.jobs import Job

jobs = Group("Training jobs")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit code 10 when it failed")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait, and show its log on stderr meanwhile")]
_COLUMNS = [
    "job_id",
    "status",
    "experiment_name",
    "script",
    "model_id",
    "metrics",
    "created_by",
    "created_at",
]
_SHOWN = [
    "job_id", "status", "experiment_name", "model_id", "metrics", "reason", "hint", "run_id", "script",
    "inputs", "config", "created_by", "created_at", "started_at", "finished_at", "exit_code",
    "max_memory_bytes", "cpu_seconds",
]  # fmt: skip


@jobs.command("submit")
def submit(
    script: Annotated[str, typer.Argument(help="The Python file to run")],
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="Name or id; made when it is not there")
    ],
    source: Annotated[
        Path | None, typer.Option(help="Folder to upload; SCRIPT is inside it [the script's own]")
    ] = None,
    requirements: Annotated[
        str | None, typer.Option(help="File inside the source [requirements.txt, when there is one]")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="NAME=REFERENCE", help="e.g. train=dataset:telco@1; repeatable"
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", metavar="NAME=VALUE", help="A setting of the script; repeatable"),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option(help="YAML or JSON with settings; --config wins over it")
    ] = None,
    argument: Annotated[
        list[str] | None, typer.Option("--arg", help="An argument of the script; repeatable")
    ] = None,
    register_as: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Register what the script logs as this model")
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(metavar="METRIC:THRESHOLD", help="What the model must reach, e.g. roc_auc:0.8"),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label's column in holdout.parquet; a gate needs it")
    ] = None,
    feature_view: Annotated[
        str | None, typer.Option(help="Features that are looked up online when predicting")
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON: the model card [that of the newest version before]"),
    ] = None,
    instance_type: Annotated[str | None, typer.Option(help="A machine size of the installation")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="How many GPUs it needs")] = 0,
    memory: Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="Most memory it may use")] = None,
    time_limit: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="When the job is ended")
    ] = None,
    wait: Wait = False,
    follow: Follow = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Upload a script with its folder and run it as a job.

    The script finds its settings in the file MLOPS_CONFIG, its inputs as MLOPS_INPUTS/NAME.parquet, and
    writes metrics.json and holdout.parquet to MLOPS_OUTPUTS.
    """
    settings = document(config_file, "--config-file") if config_file is not None else {}
    settings |= {name: literal(value) for name, value in pairs(config, "--config").items()}
    references = pairs(inputs, "--input")
    registration = _registration(register_as, gate, label, feature_view, card)
    from ml_platform.sdk.experiments import locate_script

    here = platform()
    locate_script(script, source, requirements)  # before an experiment is made for nothing
    found, made = here.experiments.get_or_create(experiment)
    if made:
        say(f"experiment {found.name} was made")
    job = found.train(
        script=script,
        source=source,
        requirements=requirements,
        inputs=references,
        config=settings,
        args=argument,
        register_as=registration,
        instance_type=instance_type,
        num_gpus=gpus,
        memory_bytes=memory,
        timeout_seconds=time_limit,
    )
    _finish(job, output, wait=wait, follow=follow, timeout=timeout)


@jobs.command("list")
def list_jobs(
    experiment: Annotated[str | None, typer.Option("--experiment", "-e", help="Name or id")] = None,
    status: Annotated[str | None, typer.Option(help="e.g. running, failed")] = None,
    limit: Limit = 20,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, newest first."""
    show(platform().jobs.list(experiment=experiment, status=status, limit=limit), output, _COLUMNS)


@jobs.command("show")
def show_job(job: JobId, output: Output = Format.TABLE) -> None:
    """Show how a job goes, or why it ended as it did."""
    show(platform().jobs.get(job), output, _SHOWN)


@jobs.command("logs")
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended")] = False,
) -> None:
    """Write a job's log to stdout."""
    found = platform().jobs.get(job)
    if not follow:
        sys.stdout.write(found.logs())
        return
    for piece in found.logs(follow=True):
        sys.stdout.write(piece)
        sys.stdout.flush()


@jobs.command("wait")
def wait_for(
    job: JobId, follow: Follow = False, timeout: Timeout = None, output: Output = Format.TABLE
) -> None:
    """Wait until a job has ended.

    Exit code 9 when it is still under way, 10 when it failed.
    """
    _finish(platform().jobs.get(job), output, wait=True, follow=follow, timeout=timeout)


@jobs.command("cancel")
def cancel(job: JobId, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """End a job."""
    confirm(f"End {job}?", yes=yes)
    show(platform().jobs.get(job).cancel(), output, _SHOWN)


@jobs.command("retry")
def retry(
    job: JobId,
    wait: Wait = False,
    follow: Follow = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Submit the same again, as a new job."""
    again = platform().jobs.get(job).retry()
    _finish(again, output, wait=wait, follow=follow, timeout=timeout)


def _registration(
    name: str | None, gate: str | None, label: str | None, feature_view: str | None, card: Path | None
) -> dict[str, Any] | None:
    if name is None:
        if gate or label or feature_view or card:
            raise typer.BadParameter(
                "is needed with --gate, --label, --feature-view or --card", param_hint="--register-as"
            )
        return None
    wanted: dict[str, Any] = {"name": name, "label": label, "feature_view": feature_view, "gate": None}
    if card is not None:
        wanted["model_card"] = document(card, "--card")
    if gate is not None:
        metric, colon, threshold = gate.partition(":")
        if not colon or not metric:
            raise typer.BadParameter(f"{gate!r} is not METRIC:THRESHOLD", param_hint="--gate")
        if label is None:
            raise typer.BadParameter(
                "needs --label, the label's column in holdout.parquet", param_hint="--gate"
            )
        try:
            wanted["gate"] = {"metric": metric, "threshold": float(threshold)}
        except ValueError:
            raise typer.BadParameter(f"{threshold!r} is not a number", param_hint="--gate") from None
    return wanted


def _finish(job: "Job", output: Format, *, wait: bool, follow: bool, timeout: float | None) -> None:
    """Shows the job, at once or when it has ended; a job that failed is shown before its error is raised."""
    if not wait and not follow:
        show(job, output, _SHOWN)
        return
    from ml_platform.sdk.errors import JobFailedError

    try:
        if follow:
            for piece in job.logs(follow=True):
                sys.stderr.write(piece)
                sys.stderr.flush()
        job.wait(timeout)
    except JobFailedError:
        show(job, output, _SHOWN)
        raise
    show(job, output, _SHOWN)
