"""`mlops deploy` and `mlops deployments`."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.context import (
    TIMES,
    Group,
    Limit,
    Output,
    Timeout,
    Yes,
    confirm,
    document,
    platform,
    show,
)
from ml_platform.cli.output import Format, plain, say, show_parts
from ml_platform.cli.planning import show_plan
from ml_platform.cli.trials import ab_test, shadow

if TYPE_CHECKING:
    from ml_platform.sdk.deployments import Deployment

deployments = Group("Endpoints, their rollouts and their traffic")
deployments.add_typer(shadow, name="shadow")
deployments.add_typer(ab_test, name="ab-test")

DeploymentId = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id, or environment/name")]
Moment = Annotated[datetime, typer.Option("--at", formats=TIMES, metavar="TIME", help="Local without a zone")]
RolloutId = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Id of a rollout")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until it is over; exit code 10 when it failed")
]
_COLUMNS = [
    "deployment_id", "name", "environment", "status", "serving_model_id", "rollout_status", "endpoint",
    "replicas", "updated_at",
]  # fmt: skip
_SHOWN = [
    *_COLUMNS,
    "rollout_model_id",
    "auto_scale",
    "max_replicas",
    "active_rollout_id",
    "last_rollout_id",
    "created_by",
]
_REVISIONS = {
    "revisions": ["revision_id", "model_name", "model_version", "status", "weight", "runtime", "created_at"]
}
_ROLLOUT = [
    "rollout_id", "deployment_id", "model_name", "model_version", "environment", "status", "reason",
    "requested_by", "approval_id", "created_at", "finished_at",
]  # fmt: skip
_STAGES = {
    "stages": ["name", "status", "reason", "started_at", "finished_at"],
    "canary": ["step", "percent", "status", "reason", "started_at", "finished_at"],
}
_TRAFFIC = {
    "revisions": [
        "revision_id", "model_version", "weight", "requests", "error_rate", "requests_per_second",
        "latency_ms_p50", "latency_ms_p95", "latency_ms_p99",
    ]
}  # fmt: skip

_QUALITY = ["deployment_id", "window_start", "window_end", "min_rows", "labels", "matched", "ambiguous"]
_LABELLED = {
    "revisions": [
        "revision_id", "model_version", "status", "reason", "predictions", "labelled", "unusable", "metrics",
    ]
}  # fmt: skip


def deploy(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A registered model; also name/version, name@alias")
    ],
    version: Annotated[int | None, typer.Option("--version", "-v", min=1, help="[the newest]")] = None,
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="dev, staging or production")
    ] = "staging",
    replicas: Annotated[int, typer.Option(min=1, help="How many copies serve")] = 1,
    name: Annotated[str | None, typer.Option(help="Of the endpoint [the model's name]")] = None,
    auto_scale: Annotated[bool, typer.Option("--auto-scale", help="Add copies under load")] = False,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="Most copies")] = None,
    justification: Annotated[str | None, typer.Option(help="Shown to the approvers")] = None,
    canary: Annotated[
        Path | None, typer.Option(help="YAML or JSON: steps, step_seconds, min_requests, ...")
    ] = None,
    cpu: Annotated[float | None, typer.Option(min=0.1, help="Cores of each copy [1]")] = None,
    memory_mb: Annotated[int | None, typer.Option(min=64, help="MiB of each copy [1024]")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of each copy [0]")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="YAML or JSON: on_store_failure (fail, default, last_known), deadline_ms, defaults"
        ),
    ] = None,
    budget_p95_ms: Annotated[
        float | None, typer.Option(help="Stop it when p95 of calls with one row is longer")
    ] = None,
    budget_memory_mb: Annotated[
        int | None, typer.Option(min=1, help="Stop it when the model itself takes more MiB")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would happen; 5 when a gate stops it")
    ] = False,
    wait: Wait = False,
    for_approval: Annotated[
        bool, typer.Option("--for-approval", help="With --wait: go on waiting while people decide")
    ] = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Deploy a model through the nine stages.

    They are validate, security, test, approval, build, deploy, smoke test, audit and notify. Returns when the
    rollout has started; --wait stays until it is over. Exit code 6: people must approve it.
    """
    if version is not None and ("/" in model or "@" in model):
        raise typer.BadParameter(f"{model!r} names a version already", param_hint="--version")
    model_id = f"{model}/{version}" if version is not None else model
    options: dict[str, Any] = {
        "replicas": replicas,
        "name": name,
        "auto_scale": auto_scale or None,
        "max_replicas": max_replicas,
        "justification": justification,
        "canary": document(canary, "--canary") if canary is not None else None,
        "resources": _given(cpu=cpu, memory_mb=memory_mb, gpus=gpus),
        "features": document(features, "--features") if features is not None else None,
        "budget": _given(p95_ms=budget_p95_ms, memory_mb=budget_memory_mb),
    }
    here = platform()
    if plan:
        found = here.deployments.plan(model_id, environment=environment, **options)
        show_plan(found, output)
        if found.stopped_by is not None:
            say(f"the {found.stopped_by.value} stage would stop it")
            raise typer.Exit(5)
        return
    started = here.deployments.deploy(model_id, environment=environment, **options)
    _finish(started, output, wait=wait, for_approval=for_approval, timeout=timeout)


@deployments.command("list")
def list_deployments(
    environment: Annotated[str | None, typer.Option("--environment", "-e")] = None,
    name: Annotated[str | None, typer.Option(help="Of the endpoint")] = None,
    limit: Limit = 50,
    output: Output = Format.TABLE,
) -> None:
    """List deployments, newest first."""
    show(platform().deployments.list(environment=environment, name=name, limit=limit), output, _COLUMNS)


@deployments.command("show")
def show_deployment(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """Show a deployment and the revisions that are loaded."""
    show_parts(platform().deployments.get(deployment), output, _SHOWN, _REVISIONS)


@deployments.command("metrics")
def metrics(
    deployment: DeploymentId,
    window: Annotated[str, typer.Option(help="Such as 30s, 15m or 1h")] = "1h",
    output: Output = Format.TABLE,
) -> None:
    """Show requests, errors and latencies of every revision."""
    columns = [
        "deployment_id",
        "window_seconds",
        "covered_seconds",
        "requests",
        "error_rate",
        "requests_per_second",
    ]
    show_parts(platform().deployments.get(deployment).metrics(window), output, columns, _TRAFFIC)


@deployments.command("ground-truth")
def ground_truth(
    deployment: DeploymentId,
    file: Annotated[
        Path,
        typer.Option(
            help="JSON, JSON Lines or CSV of label and request_id, or entity.KEY and time; - is stdin"
        ),
    ],
    output: Output = Format.TABLE,
) -> None:
    """Tell what happened after predictions; the same file once more changes nothing."""
    from ml_platform.cli.labels import read_labels

    records = read_labels(file, "--file")
    if not records:
        raise typer.BadParameter(f"{file} holds no records", param_hint="--file")
    show(platform().deployments.get(deployment).log_ground_truth(records), output)


@deployments.command("quality")
def quality(
    deployment: DeploymentId,
    window: Annotated[str, typer.Option(help="Such as 24h or 30d")] = "7d",
    min_rows: Annotated[
        int, typer.Option(min=1, help="Fewer labelled predictions are not enough data")
    ] = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show how good the predictions of every revision were, as far as labels have arrived."""
    found = platform().deployments.get(deployment).quality(window, min_rows=min_rows)
    show_parts(found, output, _QUALITY, _LABELLED)


@deployments.command("rollouts")
def rollouts(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """List the rollouts of a deployment, newest first."""
    here = platform()
    columns = ["rollout_id", "model_name", "model_version", "status", "reason", "requested_by", "created_at"]
    show(here.deployments.rollouts(here.deployments.get(deployment).deployment_id), output, columns)


@deployments.command("rollout")
def rollout(rollout: RolloutId, output: Output = Format.TABLE) -> None:
    """Show a rollout: its nine stages and its canary, and why it stopped."""
    show_parts(platform().deployments.rollout(rollout), output, _ROLLOUT, _STAGES)


@deployments.command("manifest")
def manifest(
    deployment: DeploymentId,
    rollout: Annotated[str | None, typer.Option(help="Id of a rollout [the newest that was built]")] = None,
    output: Output = Format.YAML,
) -> None:
    """Write the KServe InferenceService that serves it in a cluster, for `kubectl apply -f -`."""
    show(platform().deployments.get(deployment).manifest(rollout).manifest, output)


@deployments.command("wait")
def wait_for(
    deployment: DeploymentId,
    for_approval: Annotated[bool, typer.Option("--for-approval", help="Also while people decide")] = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Wait until the newest rollout is over.

    Exit code 6 when people must approve it, 9 when it is still under way, 10 when it failed.
    """
    found = platform().deployments.get(deployment)
    _finish(found, output, wait=True, for_approval=for_approval, timeout=timeout)


@deployments.command("promote")
def promote(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """End a canary now, with all traffic on the new revision."""
    show_parts(platform().deployments.get(deployment).promote(), output, _SHOWN, _REVISIONS)


@deployments.command("pause")
def pause(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """Hold a canary at its step; when it fails it is still rolled back."""
    show_parts(platform().deployments.get(deployment).pause(), output, _SHOWN, _REVISIONS)


@deployments.command("resume")
def resume(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """Let a canary go on that was paused."""
    show_parts(platform().deployments.get(deployment).resume(), output, _SHOWN, _REVISIONS)


@deployments.command("rollback")
def rollback(deployment: DeploymentId, output: Output = Format.TABLE) -> None:
    """Give all traffic back to the revision before, at once and without a question."""
    show_parts(platform().deployments.get(deployment).rollback(), output, _SHOWN, _REVISIONS)


@deployments.command("as-of")
def as_of(deployment: DeploymentId, at: Moment, output: Output = Format.TABLE) -> None:
    """Show what was live at a moment, since when, and on whose approval."""
    found = plain(platform().deployments.get(deployment).as_of(at))
    if output is Format.TABLE:
        found["revisions"] = [item | _approved(item["approval"]) for item in found["revisions"]]
    columns = ["name", "environment", "at", "since", "changed_by", "action", "audit_sequence"]
    live = [
        "model_name",
        "model_version",
        "weight",
        "requested_by",
        "approved_by",
        "approval_id",
        "rollout_id",
    ]
    show_parts(found, output, columns, {"revisions": live})


def _approved(approval: dict[str, Any] | None) -> dict[str, Any]:
    """Who answers for it, in a few words."""
    if approval is None:
        return {"approved_by": "nobody had to"}
    if approval["glass_broken_by"] is not None:
        by = f"nobody: {approval['glass_broken_by']} broke the glass"
    elif approval["automatic"]:
        by = f"by itself: {approval['reason']}"
    else:
        by = ", ".join(approval["approvers"])
    return {"approved_by": by, "approval_id": approval["approval_id"]}


@deployments.command("restore")
def restore(
    deployment: DeploymentId,
    at: Moment,
    justification: Annotated[str | None, typer.Option(help="Shown to the approvers")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the rollout is over")] = True,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Go back to what was live at a moment, through the same gates as any deployment."""
    found = platform().deployments.get(deployment).restore(at, justification=justification)
    _finish(found, output, wait=wait, for_approval=False, timeout=timeout)


@deployments.command("retire")
def retire(deployment: DeploymentId, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """Stop serving; the endpoint answers 404 from then on."""
    confirm(f"Stop serving {deployment}?", yes=yes)
    show_parts(platform().deployments.get(deployment).retire(), output, _SHOWN, _REVISIONS)


@deployments.command("cancel")
def cancel(rollout: RolloutId, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """End a rollout; what served before goes on serving."""
    confirm(f"End {rollout}?", yes=yes)
    show(platform().deployments.cancel(rollout), output, _ROLLOUT)


Instances = Annotated[
    list[str] | None,
    typer.Option("--instance", "-i", metavar="JSON", help="A row, an object or an entity's key; repeatable"),
]
InstancesFile = Annotated[
    Path | None, typer.Option("--file", help="JSON: a list of instances, or one; - is standard input")
]


@deployments.command("predict")
def predict(
    deployment: DeploymentId,
    instances: Instances = None,
    file: InstancesFile = None,
    request_id: Annotated[
        str | None, typer.Option(help="An id of your own, by which `mlops lineage prediction` finds it")
    ] = None,
    output: Output = Format.JSON,
) -> None:
    """Ask for predictions, e.g. --instance '{"customer_id": "7590-VHVEG"}'."""
    rows = _rows(instances, file, "predict for")
    headers = {"x-request-id": request_id} if request_id is not None else None
    show(platform().deployments.get(deployment).predict(rows, headers=headers), output)


@deployments.command("explain")
def explain(
    deployment: DeploymentId,
    instances: Instances = None,
    file: InstancesFile = None,
    timeout: Timeout = 90,
    output: Output = Format.JSON,
) -> None:
    """Ask why: each column's share (SHAP) in the predictions of a few instances.

    A base value, which is what the model predicts on average, and the shares add up to the prediction.
    """
    rows = _rows(instances, file, "explain")
    found = platform().deployments.get(deployment)
    show(found.explain(rows, timeout=timeout if timeout is not None else 90), output)


def _rows(instances: list[str] | None, file: Path | None, purpose: str) -> list[Any]:
    rows = [_json(text, "--instance") for text in instances or []]
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="--file") from None
        found = _json(text, "--file")
        found = found.get("instances", found) if isinstance(found, dict) else found
        rows += found if isinstance(found, list) else [found]
    if not rows:
        raise typer.BadParameter(f"there is nothing to {purpose}: give --instance or --file")
    return rows


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}", param_hint=option) from None


def _finish(
    started: "Deployment", output: Format, *, wait: bool, for_approval: bool, timeout: float | None
) -> None:
    if wait:
        from ml_platform.sdk.errors import DeploymentFailedError

        try:
            started.wait(timeout, for_approval=for_approval)
        except DeploymentFailedError:
            show_parts(started.rollout(), output, _ROLLOUT, _STAGES)
            raise
    show_parts(started, output, _SHOWN, _REVISIONS)
    if not wait and output is Format.TABLE:
        say(f"follow it: mlops deployments rollout {started.rollout_id}")


def _given(**options: Any) -> dict[str, Any] | None:
    """The options that were given; None when none was."""
    return {name: value for name, value in options.items() if value is not None} or None
