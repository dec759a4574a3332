"""`mlops drift`."""

from typing import Annotated, Any

import typer

from ml_platform.cli.context import Group, Limit, Output, platform, show
from ml_platform.cli.output import Format, show_parts

drift = Group("Drift of deployments, and what it starts")

Deployment = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id, or environment/name")]
_COLUMNS = ["check_id", "status", "verdict", "rows", "drifted_features", "data_quality_score", "created_at"]
_REPORT = [
    "check_id", "status", "verdict", "reasons", "reason", "model_name", "model_version", "window_start",
    "window_end", "rows", "reference_rows", "data_quality_score", "drifted_features", "alert_id", "retraining",
    "notes",
]  # fmt: skip
_FEATURES = ["name", "verdict", "psi", "js_distance", "kl_divergence", "p_value", "missing_share", "reasons"]
_QUALITY = ["name", "score", "missing", "type_errors", "out_of_range", "unseen_categories", "present"]


@drift.command("check")
def check(
    deployment: Deployment,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the report")] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Longest wait")] = 300,
    output: Output = Format.TABLE,
) -> None:
    """Compare what was asked until now with the model's reference data."""
    here = platform()
    deployment_id = here.deployments.get(deployment).deployment_id
    accepted = here.drift.check(deployment_id)
    if not wait:
        show(accepted, output)
        return
    _report(here.drift.wait(deployment_id, accepted.check_id, timeout), output)


@drift.command("show")
def show_report(
    deployment: Deployment,
    check_id: Annotated[str | None, typer.Option("--check", help="Id of a check [the newest]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what a check found, feature by feature."""
    here = platform()
    _report(here.drift.report(here.deployments.get(deployment).deployment_id, check_id), output)


@drift.command("checks")
def checks(deployment: Deployment, limit: Limit = 20, output: Output = Format.TABLE) -> None:
    """List the checks of a deployment, newest first."""
    here = platform()
    found = here.drift.checks(here.deployments.get(deployment).deployment_id, limit=limit)
    show(found, output, _COLUMNS)


@drift.command("monitor")
def monitor(deployment: Deployment, output: Output = Format.TABLE) -> None:
    """Show when a deployment is checked, against which limits."""
    here = platform()
    show(here.drift.monitor(here.deployments.get(deployment).deployment_id), output)


@drift.command("configure")
def configure(
    deployment: Deployment,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Checks on schedule")] = None,
    window_hours: Annotated[float | None, typer.Option(help="How far back a check looks")] = None,
    min_rows: Annotated[int | None, typer.Option(help="Fewer predictions are not enough data")] = None,
    psi_warn: Annotated[float | None, typer.Option(help="PSI from which on a feature is a warning")] = None,
    psi_act: Annotated[float | None, typer.Option(help="PSI beyond which a feature has drifted")] = None,
    schedule_minutes: Annotated[float | None, typer.Option(help="Time between checks")] = None,
    retrain: Annotated[
        bool | None, typer.Option("--retrain/--no-retrain", help="Drift starts a retraining")
    ] = None,
    cooldown_hours: Annotated[float | None, typer.Option(help="Least time between two retrainings")] = None,
    max_per_week: Annotated[int | None, typer.Option(help="Most retrainings in seven days")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change settings of a deployment's monitor; the others stay as they are."""
    changes = _given(
        enabled=enabled,
        window_hours=window_hours,
        min_rows=min_rows,
        psi_warn=psi_warn,
        psi_act=psi_act,
        schedule_minutes=schedule_minutes,
    )
    retraining = _given(enabled=retrain, cooldown_hours=cooldown_hours, max_per_week=max_per_week)
    if not changes and not retraining:
        raise typer.BadParameter("nothing to change: name a setting")
    here = platform()
    deployment_id = here.deployments.get(deployment).deployment_id
    show(here.drift.configure(deployment_id, retrain=retraining, **changes), output)


@drift.command("retrainings")
def retrainings(deployment: Deployment, limit: Limit = 20, output: Output = Format.TABLE) -> None:
    """List the retrainings that drift has started, newest first."""
    here = platform()
    found = here.drift.retrainings(here.deployments.get(deployment).deployment_id, limit=limit)
    columns = [
        "retraining_id",
        "status",
        "reason",
        "check_id",
        "job_id",
        "model_id",
        "rollout_id",
        "created_at",
    ]
    show(found, output, columns)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _report(report: Any, output: Format) -> None:
    show_parts(report, output, _REPORT, {"features": _FEATURES, "quality": _QUALITY})
