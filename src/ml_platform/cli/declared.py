"""`mlops diff`, `mlops plan` and `mlops apply`: deployments as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.context import Output, Timeout, platform, show
from ml_platform.cli.output import Format, say
from ml_platform.cli.planning import difference

if TYPE_CHECKING:
    from ml_platform.contracts.declared import DeclaredComparison
    from ml_platform.contracts.deployments import DeploymentPlan

File = Annotated[
    Path,
    typer.Option("--file", "-f", help="deployment.yaml; its form is docs/reference/deployment.schema.json"),
]
_COLUMNS = ["deployment", "outcome", "model_id", "differences"]
_PLANNED = ["deployment", "outcome", "model_id", "allowed", "stopped_by", "why", "risk", "approval", "cost"]


def diff(file: File, output: Output = Format.TABLE) -> None:
    """Compare a file of deployments with what is live; exit code 1 when they differ."""
    from ml_platform.contracts.declared import DeclaredOutcome

    found = platform().compare(file)
    show(found, output, _COLUMNS)
    if any(item.outcome in (DeclaredOutcome.NEW, DeclaredOutcome.DIFFERENT) for item in found):
        raise typer.Exit(1)


def plan(
    file: File,
    summary: Annotated[
        Path | None, typer.Option(help="Also write it as Markdown to this file, for a pull request")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what applying a file of deployments would meet: which gate stops it, and who must approve.

    Exit code 10: a gate would stop one of them.
    """
    found = platform().plan(file)
    if summary is not None:
        summary.write_text(_markdown(found), encoding="utf-8")
    show([_line(comparison, planned) for comparison, planned in found], output, _PLANNED)
    if any(planned is not None and not planned.allowed for _, planned in found):
        raise typer.Exit(10)


def apply(
    file: File,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until every rollout is over")] = True,
    for_approval: Annotated[bool, typer.Option("--for-approval", help="Also while people decide")] = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Deploy what is not as a file of deployments says, each through the nine stages; again changes nothing.

    Exit code 6: people must approve one; 10: one failed.
    """
    started = platform().apply(file)
    show([comparison for comparison, _ in started], output, _COLUMNS)
    for comparison, rollout in started:
        if rollout is not None and wait:
            rollout.wait(timeout, for_approval=for_approval)
            say(f"{comparison.deployment}: {comparison.model_id} serves")


def _line(comparison: "DeclaredComparison", planned: "DeploymentPlan | None") -> dict[str, Any]:
    line: dict[str, Any] = {
        "deployment": comparison.deployment,
        "outcome": comparison.outcome.value,
        "model_id": comparison.model_id,
        "differences": [item.model_dump() for item in comparison.differences],
    }
    none = {"approval": None, "cost": None}
    if planned is None:
        return line | {"allowed": True, "stopped_by": None, "why": None, "risk": None} | none
    stopped = next((gate for gate in planned.gates if gate.stage is planned.stopped_by), None)
    approval = planned.approval
    return line | {
        "allowed": planned.allowed,
        "stopped_by": planned.stopped_by.value if planned.stopped_by else None,
        "why": stopped.detail if stopped is not None else None,
        "risk": planned.risk_level.value if planned.risk_level else None,
        "approval": f"{approval.quorum} of {', '.join(approval.seats)}" if approval else None,
        "cost": difference(planned.cost),
    }


def _markdown(found: "list[tuple[DeclaredComparison, DeploymentPlan | None]]") -> str:
    """A table for people who review the change; names and reasons are text, never markup."""
    lines = [
        "### Deployments",
        "",
        "| deployment | model | change | gates | approval | cost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for comparison, planned in found:
        line = _line(comparison, planned)
        changes = "; ".join(
            f"{item.field}: {item.live or 'none'} to {item.file}" for item in comparison.differences
        )
        gates = (
            "pass as far as is known"
            if line["allowed"]
            else f"**{line['stopped_by']}**: {_text(line['why'])}"
        )
        cells = [
            _text(line["deployment"]),
            _text(line["model_id"]),
            _text(changes or line["outcome"]),
            gates if planned is not None else "nothing to do",
            _text(line["approval"] or "nobody"),
            _text(line["cost"] or "-"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _text(value: str | None) -> str:
    kept = " ".join((value or "").split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#~@" else char for char in kept)
