"""`mlops models governed|set-owner|reviews|review|card`: who answers for a model, and what is said of it."""

from pathlib import Path
from typing import Annotated

import typer

from ml_platform.cli.context import Group, Output, document, platform, show
from ml_platform.cli.output import Format
from ml_platform.contracts.modelregister import ModelReviewVerdict

card = Group("The model card of a version")

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model")]
Version = Annotated[int, typer.Argument(min=1, help="Version of the model")]
_LINE = [
    "model_name", "owner", "risk_level", "risk_score", "serving", "review_due_at", "revalidation_due_at",
    "overdue", "retired",
]  # fmt: skip
_REVIEW = ["review_id", "verdict", "findings", "serving", "revalidation", "reviewed_by", "reviewed_at"]
_CARD = ["model_id", "revision", "written_by", "written_at", "missing", "card"]


def governed(output: Output = Format.TABLE) -> None:
    """List the models with owner, risk, what serves in production, and when it is reviewed."""
    show(platform().governance.models(), output, _LINE)


def set_owner(
    name: ModelName,
    user: Annotated[str, typer.Argument(help="Name of a member of the team")],
    output: Output = Format.TABLE,
) -> None:
    """Make a member of the team answer for a model."""
    show(platform().governance.set_owner(name, user), output, _LINE)


def reviews(name: ModelName, output: Output = Format.TABLE) -> None:
    """List the reviews of a model, newest first."""
    show(platform().governance.reviews(name), output, _REVIEW)


def review(
    name: ModelName,
    verdict: Annotated[ModelReviewVerdict, typer.Option(help="retire stops further deployments")],
    findings: Annotated[str, typer.Option(help="What was looked at, and what was found")],
    dataset: Annotated[
        str | None,
        typer.Option(help="Labelled rows on which what serves is judged anew: name or name@version"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Review what serves in production; never one's own model."""
    show(platform().governance.review(name, verdict.value, findings, dataset=dataset), output, _REVIEW)


@card.command("show")
def show_card(name: ModelName, version: Version, output: Output = Format.TABLE) -> None:
    """Show a card, and what is missing in it."""
    show(platform().governance.card(name, version), output, _CARD)


@card.command("set")
def set_card(
    name: ModelName,
    version: Version,
    file: Annotated[Path, typer.Option(help="YAML or JSON; - is standard input")],
    output: Output = Format.TABLE,
) -> None:
    """Replace a card as a whole; approvals that were given on the old one are void."""
    show(platform().governance.set_card(name, version, document(file, "--file")), output, _CARD)


@card.command("export")
def export_card(
    name: ModelName,
    version: Version,
    target: Annotated[Path, typer.Argument(help="A file that ends in .md or .html")],
) -> None:
    """Write a card with all that the platform knows to a file."""
    if target.suffix not in (".md", ".html"):
        raise typer.BadParameter("the file must end in .md or .html", param_hint="TARGET")
    form = "html" if target.suffix == ".html" else "markdown"
    written = platform().governance.export_card(name, version, target, form=form)
    typer.echo(f"Wrote {written}", err=True)
