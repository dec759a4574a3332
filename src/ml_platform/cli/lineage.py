"""`mlops lineage`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml_platform.cli.context import TIMES, Output, platform, show
from ml_platform.cli.output import Format, draw, say
from ml_platform.contracts.lineage import DEFAULT_DEPTH, LineageDirection, LineageKind, LineageNode

if TYPE_CHECKING:
    from rich.tree import Tree

    from ml_platform.sdk.lineage import Lineage

_TOLD = {
    LineageKind.DATASET: ("rows",),
    LineageKind.FEATURE_VIEW: ("dataset", "materialized_at"),
    LineageKind.TRAINING_SET: ("rows", "label"),
    LineageKind.SOURCE: ("sha256",),
    LineageKind.ENVIRONMENT: ("jobs",),
    LineageKind.JOB: ("status", "experiment"),
    LineageKind.RUN: ("experiment",),
    LineageKind.MODEL: ("digest",),
    LineageKind.REVISION: ("model", "status", "weight"),
    LineageKind.DEPLOYMENT: ("name", "environment", "status"),
    LineageKind.PREDICTIONS: ("predictions", "failures", "first_at", "last_at"),
    LineageKind.PREDICTION: ("predictions", "failures", "last_at"),
    LineageKind.GROUND_TRUTH: ("records", "last_at"),
    LineageKind.DRIFT_CHECK: ("verdict",),
    LineageKind.RETRAINING: ("status",),
}


def lineage(
    kind: Annotated[LineageKind, typer.Argument(metavar="KIND", help=", ".join(LineageKind))],
    id: Annotated[  # noqa: A002 - as the API calls it
        str, typer.Argument(metavar="ID", help="Its id or name: churn/3, customers@2, a request's id")
    ],
    direction: Annotated[LineageDirection, typer.Option("--direction", "-d")] = LineageDirection.BOTH,
    depth: Annotated[int, typer.Option(min=0, help="Steps to go")] = DEFAULT_DEPTH,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most nodes")] = 500,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Count predictions in the prediction log")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, metavar="TIME", help="From when on the log is read [30 days ago]"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what something was made of, and what was made of it.

    A prediction is asked for by its request id: mlops lineage prediction <request id>.
    """
    found = platform().lineage(
        kind, id, direction=direction, depth=depth, limit=limit, predictions=predictions, since=since
    )
    if output is Format.TABLE:
        draw(_tree(found))
    else:
        show(found, output)
    for note in found.data.notes:
        say(note)


def _tree(found: "Lineage") -> "Tree":
    from rich.tree import Tree

    root = Tree(_text(found.root), guide_style="dim")
    for upstream, title in ((True, "made of"), (False, "used for")):
        branches = list(found.branches(upstream=upstream))
        path = [root.add(title)] if branches else []
        for depth, relation, node, again in branches:
            del path[depth:]
            label = f"{relation}: {_text(node)}{' (shown above)' if again else ''}"
            path.append(path[-1].add(label))
    return root


def _text(node: LineageNode) -> str:
    """A line of the tree; what people chose is shown as text, and controls nothing."""
    told: dict[str, Any] = {name: node.details.get(name) for name in _TOLD[node.kind]}
    if node.details.get("deleted"):
        told = {"deleted": node.details["name"]}
    parts = [f"{name}={value}" for name, value in told.items() if value is not None]
    line = "  ".join([f"{node.kind.value} {node.id}", *parts])
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
