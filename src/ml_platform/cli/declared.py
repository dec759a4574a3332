"""`mlops diff` and `mlops apply`: deployments as a file."""

from pathlib import Path
from typing import Annotated

import typer

from ml_platform.cli.context import Output, Timeout, platform, show
from ml_platform.cli.output import Format, say

File = Annotated[
    Path,
    typer.Option("--file", "-f", help="deployment.yaml; its form is docs/reference/deployment.schema.json"),
]
_COLUMNS = ["deployment", "outcome", "model_id", "differences"]


def diff(file: File, output: Output = Format.TABLE) -> None:
    """Compare a file of deployments with what is live; exit code 1 when they differ."""
    from ml_platform.contracts.declared import DeclaredOutcome

    found = platform().compare(file)
    show(found, output, _COLUMNS)
    if any(item.outcome in (DeclaredOutcome.NEW, DeclaredOutcome.DIFFERENT) for item in found):
        raise typer.Exit(1)


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
