"""`mlops deployments shadow` and `mlops deployments ab-test`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.context import Group, Limit, Output, Timeout, Yes, confirm, document, platform, show
from ml_platform.cli.output import Format, say, show_parts

if TYPE_CHECKING:
    from pydantic import BaseModel

shadow = Group("Versions that answer copies of the requests, unseen")
ab_test = Group("Tests of versions that share the traffic")

DeploymentId = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id, or environment/name")]
ShadowId = Annotated[str, typer.Argument(metavar="SHADOW", help="Id of a shadow")]
TestId = Annotated[str, typer.Argument(metavar="AB_TEST", help="Id of an A/B test")]
Justification = Annotated[str | None, typer.Option(help="Shown to the approvers")]
CanaryFile = Annotated[Path | None, typer.Option(help="YAML or JSON: steps, step_seconds, min_requests, ...")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait for it")]

_SHADOW = [
    "shadow_id", "deployment_id", "model_name", "model_version", "share", "status", "reason", "rollout_id",
    "started_by", "created_at", "stopped_by", "promoted_rollout_id",
]  # fmt: skip
_REPORT = [
    "status", "reason", "since", "until", "compared", "agreement_rate", "agreement_means", "mean_difference",
    "mean_absolute_difference", "largest_difference", "psi", "js_distance", "failed", "failure_rate", "dropped",
    "shadow", "serving", "quality",
]  # fmt: skip
_TESTS = [
    "ab_test_id",
    "name",
    "status",
    "winner",
    "metric",
    "reason",
    "started_by",
    "created_at",
    "finished_at",
]
_TEST = [*_TESTS, "deployment_id", "measured_from", "finished_by", "promoted_rollout_id"]
_ARMS = {"arms": ["name", "control", "weight", "model_name", "model_version", "revision_id", "rollout_id"]}
_LOOK = ["looked_at", "elapsed_seconds", "decision", "sample_ratio", "crossed_units"]
_SEEN = {
    "arms": ["name", "units", "requests", "errors", "measured_units", "value", "latency_ms_p95"],
    "comparisons": ["arm", "difference", "low", "high", "p_value", "level"],
    "guardrails": ["arm", "metric", "value", "relation", "limit", "broken"],
}


@shadow.command("start")
def start_shadow(
    deployment: DeploymentId,
    model: Annotated[str, typer.Option("--model", "-m", help="A registered model; also name/version")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the requests that it gets copies of")] = 1.0,
    justification: Justification = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Bring a version through the stages, to answer copies of the requests unseen."""
    found = platform().deployments.get(deployment).shadow(model, share=share, justification=justification)
    show(found.wait(timeout) if wait else found, output, _SHADOW)


@shadow.command("list")
def list_shadows(deployment: DeploymentId, limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List the shadows that a deployment has had, newest first."""
    show(platform().deployments.get(deployment).shadows(limit=limit), output, _SHADOW[:6])


@shadow.command("show")
def show_shadow(shadow: ShadowId, output: Output = Format.TABLE) -> None:
    """Show a shadow, and why it could not start."""
    show(platform().trials.shadow(shadow), output, _SHADOW)


@shadow.command("report")
def report_shadow(
    shadow: ShadowId,
    min_rows: Annotated[int, typer.Option(min=1, help="Fewer common answers are not enough data")] = 100,
    output: Output = Format.TABLE,
) -> None:
    """Compare a shadow with what served, on the same requests."""
    show(platform().trials.shadow(shadow).report(min_rows=min_rows), output, _REPORT)


@shadow.command("stop")
def stop_shadow(shadow: ShadowId, output: Output = Format.TABLE) -> None:
    """End a shadow; what serves is not touched."""
    show(platform().trials.shadow(shadow).stop(), output, _SHADOW)


@shadow.command("promote")
def promote_shadow(
    shadow: ShadowId,
    justification: Justification = None,
    canary: CanaryFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Roll its version out, through all gates and with a canary."""
    accepted = platform().trials.shadow(shadow).promote(justification=justification, canary=_canary(canary))
    _started(accepted, output)


@ab_test.command("start")
def start_ab_test(
    deployment: DeploymentId,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="YAML or JSON: name, arms, metric, ...; - is stdin")
    ],
    promote_winner: Annotated[
        bool, typer.Option("--promote-winner", help="Roll a winner out, through all gates, when it is over")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Start a test of versions that share the traffic.

    The file holds what `POST /deployments/{id}/ab-tests` takes; arms that are not loaded come through the stages.
    """
    from ml_platform.contracts.trials import ABTestRequest

    plan = document(file, "--file") | ({"promote_winner": True} if promote_winner else {})
    _checked(ABTestRequest, plan, "--file")
    found = platform().deployments.get(deployment).ab_test(**plan)
    show_parts(found.wait(timeout) if wait else found, output, _TEST, _ARMS)


@ab_test.command("list")
def list_ab_tests(deployment: DeploymentId, limit: Limit = 50, output: Output = Format.TABLE) -> None:
    """List the A/B tests that a deployment has had, newest first."""
    show(platform().deployments.get(deployment).ab_tests(limit=limit), output, _TESTS)


@ab_test.command("show")
def show_ab_test(ab_test: TestId, output: Output = Format.TABLE) -> None:
    """Show a test: what was decided and why, or what the newest look saw."""
    found = platform().trials.ab_test(ab_test).detail()
    show_parts(found, output, _TEST, _ARMS)
    if output is Format.TABLE and found.report is not None:
        show_parts(found.report, output, _LOOK, _SEEN)


@ab_test.command("wait")
def wait_ab_test(ab_test: TestId, timeout: Timeout = None, output: Output = Format.TABLE) -> None:
    """Wait until a test is over; exit code 9 when it is still under way."""
    show_parts(platform().trials.ab_test(ab_test).wait(timeout), output, _TEST, _ARMS)


@ab_test.command("cancel")
def cancel_ab_test(ab_test: TestId, yes: Yes = False, output: Output = Format.TABLE) -> None:
    """End a test; what served before has all traffic again."""
    confirm(f"End {ab_test}?", yes=yes)
    show_parts(platform().trials.ab_test(ab_test).cancel(), output, _TEST, _ARMS)


@ab_test.command("promote")
def promote_ab_test(
    ab_test: TestId,
    justification: Justification = None,
    canary: CanaryFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Roll the version that won out, through all gates and with a canary."""
    found = platform().trials.ab_test(ab_test)
    _started(found.promote_winner(justification=justification, canary=_canary(canary)), output)


def _canary(path: Path | None) -> Any:
    if path is None:
        return None
    from ml_platform.contracts.deployments import CanaryPlan

    return _checked(CanaryPlan, document(path, "--canary"), "--canary")


def _checked(kind: type["BaseModel"], given: dict[str, Any], option: str) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, item['loc'])) or 'the object'}: {item['msg']}" for item in error.errors()[:5]
        ]
        raise typer.BadParameter("; ".join(faults), param_hint=option) from None


def _started(accepted: Any, output: Format) -> None:
    show(accepted, output)
    if output is Format.TABLE:
        say(f"follow it: mlops deployments rollout {accepted.rollout_id}")
